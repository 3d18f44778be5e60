"""Second derivatives, and derivatives of many results, from reverse mode alone.

A Hessian times a vector is the gradient of a number, H v = d<g(x), v>/dx with g the gradient, and costs a few times
what g does, however many inputs there are. Jacobians and Hessians are built row by row, one walk along the tape for
each; that is the obvious way, and the reference for any faster one.

Source: Pearlmutter 1994, Fast Exact Multiplication by the Hessian (there by forward mode); Griewank and Walther 2008,
Evaluating Derivatives, section 5.2 (reverse over reverse).
"""

import math
from collections.abc import Callable
from typing import Any

from kb.autograd import backend, ops
from kb.autograd.backend import Array
from kb.autograd.backward import grad
from kb.autograd.recording import enable_grad
from kb.autograd.tape import Variable
from kb.autograd.tensor import Tensor

Function = Callable[..., Any]


def hvp(function: Function, inputs: Any, vectors: Any) -> Any:
    """The Hessian of a function of tensors, times vectors: the sum over j of d²f/dx_i dx_j v_j for each input i.

    Args:
        function: Of as many tensors as there are inputs, to a tensor of one number.
        inputs: A tensor or an array, or a tuple or list of them; floating, of any shapes. Where they came from does not
            matter: what is computed is not remembered.
        vectors: One for each input, of its shape; a tensor or an array if ``inputs`` is one.

    Returns:
        A tensor for each input, of its shape, in a tuple if ``inputs`` is a tuple or list.

    Raises:
        TypeError: an input is neither a tensor nor an array, or the function's result is not a tensor.
        ValueError: inputs and vectors differ in number or shape, or the result is not one number.
    """
    several = isinstance(inputs, list | tuple)
    if several != isinstance(vectors, list | tuple):
        raise ValueError("inputs and vectors must both be single tensors, or both tuples or lists of them")
    points = [_array("inputs", x) for x in (inputs if several else (inputs,))]
    directions = [_array("vectors", v) for v in (vectors if several else (vectors,))]
    shapes, wanted = [tuple(v.shape) for v in directions], [tuple(x.shape) for x in points]
    if shapes != wanted:
        raise ValueError(f"vectors must be of the inputs' shapes, {wanted}, got {shapes}")
    with enable_grad():
        leaves = [Tensor(x, requires_grad=True) for x in points]
        value = _one_number(function(*leaves))
        slopes = _grad_or_zeros([value], leaves, None, create_graph=True)
        products = _grad_or_zeros(slopes, leaves, [Tensor(v) for v in directions])
    return tuple(products) if several else products[0]


def jacobian(function: Function, x: Any) -> Tensor:
    """All derivatives of all results, d f(x)[i...] / d x[j...], row by row.

    Args:
        function: Of a tensor, to a tensor of any shape.
        x: A tensor or an array, floating.

    Returns:
        Of the shape of the result followed by that of ``x``.

    Raises:
        TypeError: ``x`` is neither a tensor nor an array, or the function's result is not a tensor.
    """
    with enable_grad():
        leaf = Tensor(_array("x", x), requires_grad=True)
        return _rows(_tensor(function(leaf)), leaf)


def hessian(function: Function, x: Any) -> Tensor:
    """All second derivatives of a number, d²f(x) / dx[i...] dx[j...]: the Jacobian of the gradient.

    Args:
        function: Of a tensor, to a tensor of one number.
        x: A tensor or an array, floating.

    Returns:
        Of the shape of ``x`` twice.

    Raises:
        TypeError: ``x`` is neither a tensor nor an array, or the function's result is not a tensor.
        ValueError: the result is not one number.
    """
    with enable_grad():
        leaf = Tensor(_array("x", x), requires_grad=True)
        (slope,) = _grad_or_zeros([_one_number(function(leaf))], [leaf], None, create_graph=True)
        return _rows(slope, leaf)


def _rows(out: Any, leaf: Tensor) -> Tensor:
    """The gradients of each number of ``out``, stacked."""
    xp, shape = backend.namespace(leaf.data), (*out.shape, *leaf.shape)
    flat = ops.reshape(out, to=(math.prod(out.shape),))
    rows = [_grad_or_zeros([flat[i]], [leaf], None)[0].data for i in range(flat.shape[0])]
    if not rows:
        return Tensor(xp.zeros(shape, dtype=leaf.dtype, device=leaf.device))
    return Tensor(xp.reshape(xp.stack(rows), shape))


def _grad_or_zeros(
    outputs: list[Any], leaves: list[Tensor], vectors: list[Tensor] | None, *, create_graph: bool = False
) -> list[Any]:
    """As ``grad``, with the tape kept, and zeros where nothing depends on a leaf."""
    places = [i for i, out in enumerate(outputs) if out.requires_grad]
    found: tuple[Any, ...] = (None,) * len(leaves)
    if places:
        chosen = None if vectors is None else [vectors[i] for i in places]
        found = grad(
            [outputs[i] for i in places],
            leaves,
            chosen,
            retain_graph=True,
            create_graph=create_graph,
            allow_unused=True,
        )
    return [
        Tensor(backend.namespace(x.data).zeros_like(x.data)) if one is None else one
        for x, one in zip(leaves, found, strict=True)
    ]


def _array(name: str, value: Any) -> Array:
    array = value.data if isinstance(value, Variable) else value
    if not backend.is_array(array):
        raise TypeError(f"{name} must be tensors or arrays, got {type(value).__name__}")
    return array


def _tensor(out: Any) -> Any:
    if not isinstance(out, Variable):
        raise TypeError(f"the function must give a tensor, got {type(out).__name__}")
    return out


def _one_number(out: Any) -> Any:
    shape = tuple(_tensor(out).data.shape)
    if math.prod(shape) != 1:
        raise ValueError(f"the function must give one number, got shape {shape}")
    return ops.reshape(out, to=())
