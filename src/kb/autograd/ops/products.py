"""Sums of products: matrix products, einsum, and the windows that make a convolution one of them.

The gradient of a product is a product, with the gradient of the result in the place of one factor. Windows and their
sum back into the picture are each other's gradient, so that a convolution needs no rule of its own.

Source: Chellapilla, Puri and Simard 2006, section 2 (convolution as a matrix product).
Shapes: B pictures, C channels, H rows, W columns, I x J places of the kernel in the picture, R x S kernel, D inputs and
F outputs of a linear map.
"""

import math
import string
from collections.abc import Sequence
from typing import Any

from kb.autograd import backend
from kb.autograd.backend import Array, Namespace
from kb.autograd.ops.indexing import getitem
from kb.autograd.ops.shaping import broadcast_to, permute, reshape, transposed, unsqueezed
from kb.autograd.tape import Op, Variable

_product: Op = Op(
    "matmul",
    lambda a, b: a @ b,
    a=lambda g, b: matmul(g, transposed(b, -2, -1)),
    b=lambda g, a: matmul(transposed(a, -2, -1), g),
)


def matmul(a: Any, b: Any) -> Any:
    """The matrix product over the last two axes; axes before them are broadcast.

    A vector is a row on the left and a column on the right.

    Raises:
        TypeError: an operand is no array.
        ValueError: an operand is a single number, or the sizes do not fit.
    """
    try:
        left, right = tuple(a.shape), tuple(b.shape)
    except AttributeError as error:
        raise TypeError(f"matmul of a {type(a).__name__} and a {type(b).__name__}: wanted arrays or tensors") from error
    if len(left) == 2 == len(right) and left[1] == right[0]:
        return _product(a, b)
    if not left or not right or left[-1] != right[-2 if len(right) > 1 else 0]:
        raise ValueError(
            f"matmul of {left} and {right}: the last size on the left must be the last but one on the right"
        )
    if len(left) == 1:
        out = matmul(unsqueezed(a, 0), b)
        return reshape(out, to=(*right[:-2], right[-1]) if len(right) > 1 else ())
    if len(right) == 1:
        out = matmul(a, unsqueezed(b, 1))
        return reshape(out, to=tuple(out.shape[:-1]))
    if len(left) > 2 and len(right) == 2:  # one large product, and a gradient of b that is summed within it
        out = _product(reshape(a, to=(math.prod(left[:-1]), left[-1])), b)
        return reshape(out, to=(*left[:-1], right[-1]))
    return _product(a, b)


# What each row x_B of x_BD scores with each row of weight_FD, [B, F]. A transposition and a product would give the
# weight's gradient as a transposed view, and whatever an optimizer does with it then strides through memory, at several
# times the cost; these rules give it in the weight's own layout.
scores: Op = Op(
    "scores",
    lambda x, weight: x @ weight.T,
    x=lambda g, weight: matmul(g, weight),
    weight=lambda g, x: matmul(transposed(g, 0, 1), x),
)


def _affine(x: Array, weight: Array, bias: Array) -> Array:
    out = x @ weight.T
    out += bias  # into memory that nobody else has seen
    return out


# The same plus bias_F; the engine sums the bias's gradient over the rows.
affine: Op = Op(
    "linear",
    _affine,
    x=lambda g, weight: matmul(g, weight),
    weight=lambda g, x: matmul(transposed(g, 0, 1), x),
    bias=lambda g: g,
)


def _einsum_rule(g: Any, place: int, arrays: tuple[Any, ...], terms: tuple[str, ...], out: str) -> Any:
    others = [term for i, term in enumerate(terms) if i != place]
    factors = [array for i, array in enumerate(arrays) if i != place]
    known = set(out).union(*others)
    present = "".join(letter for letter in terms[place] if letter in known)
    found = _einsum(g, *factors, terms=(out, *others), to=present)
    # A letter that is summed and stands nowhere else: its gradient is the same all along the axis.
    sizes = arrays[place].shape
    shape = [size if letter in known else 1 for letter, size in zip(terms[place], sizes, strict=True)]
    return broadcast_to(reshape(found, to=tuple(shape)), to=tuple(sizes)) if len(present) < len(sizes) else found


def _einsum_forward(*arrays: Array, terms: tuple[str, ...], to: str) -> Array:
    return backend.einsum(f"{','.join(terms)}->{to}", *arrays)


_einsum: Op = Op(
    "einsum",
    _einsum_forward,
    arrays=lambda g, place, terms, to, arrays: _einsum_rule(g, place, arrays, terms, to),
)


def einsum(equation: str, *operands: Any) -> Any:
    """The sum of products that the equation stands for: ``"bij,bjk->bik"`` is a batched matrix product.

    Letters that are missing on the right are summed over; without ``->`` those that stand once are kept, in alphabetic
    order. ``...`` stands for the axes that broadcast, a letter twice in one operand for its diagonal.

    Raises:
        ValueError: the equation does not fit the operands.
    """
    left, arrow, to = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands) or not all(
        set(term.replace("...", "")) <= set(string.ascii_letters) for term in terms
    ):
        raise ValueError(f"einsum {equation!r}: wanted a term of letters for each of {len(operands)} operands")
    if not arrow:
        letters = left.replace(",", "").replace(".", "")
        to = ("..." if "..." in left else "") + "".join(sorted(x for x in set(letters) if letters.count(x) == 1))
    terms, to = _without_dots(equation, terms, to, [len(x.shape) for x in operands])
    flat = [_diagonal(equation, term, operand) for term, operand in zip(terms, operands, strict=True)]
    terms, operands = [term for term, _ in flat], tuple(operand for _, operand in flat)
    if len(set(to)) < len(to) or not set(to) <= set("".join(terms)):
        raise ValueError(f"einsum {equation!r}: each letter of the result must stand there once, and in an operand")
    sizes: dict[str, int] = {}
    for term, operand in zip(terms, operands, strict=True):
        for letter, size in zip(term, operand.shape, strict=True):
            if size != sizes.setdefault(letter, size) and 1 not in (size, sizes[letter]):
                raise ValueError(f"einsum {equation!r}: {letter!r} has size {sizes[letter]} and size {size}")
            sizes[letter] = max(size, sizes[letter]) if 0 not in (size, sizes[letter]) else 0
    full = [
        broadcast_to(operand, to=tuple(sizes[letter] for letter in term))
        for term, operand in zip(terms, operands, strict=True)
    ]
    return _einsum(*full, terms=tuple(terms), to=to)


def _without_dots(equation: str, terms: list[str], to: str, ndims: list[int]) -> tuple[list[str], str]:
    """The equation with letters of its own for the axes that ``...`` stands for."""
    free = [letter for letter in string.ascii_letters if letter not in equation]
    hidden = [ndim - len(term.replace("...", "")) for term, ndim in zip(terms, ndims, strict=True)]
    for term, extra in zip(terms, hidden, strict=True):
        if extra < 0 or (extra > 0 and "..." not in term) or term.count("...") > 1:
            raise ValueError(
                f"einsum {equation!r}: the term {term!r} does not fit an operand of {extra + len(term)} axes"
            )
    most = max(hidden)
    letters = free[:most]
    if len(letters) < most:
        raise ValueError(f"einsum {equation!r}: too many axes")
    written = [term.replace("...", "".join(letters[most - extra :])) for term, extra in zip(terms, hidden, strict=True)]
    return written, to.replace("...", "".join(letters))


def _diagonal(equation: str, term: str, operand: Any) -> tuple[str, Any]:
    """A term whose letters are all different, and the operand's diagonal along those that were not."""
    for letter in sorted(set(term)):
        while term.count(letter) > 1:
            first, second = term.index(letter), term.rindex(letter)
            if operand.shape[first] != operand.shape[second]:
                raise ValueError(f"einsum {equation!r}: {letter!r} has two sizes in one operand of {operand.shape}")
            rest = [place for place in range(len(term)) if place not in (first, second)]
            operand = permute(operand, order=(*rest, first, second))
            array = operand.data if isinstance(operand, Variable) else operand
            steps = backend.namespace(array).arange(array.shape[-1], device=backend.device(array))
            operand = getitem(operand, (..., steps, steps))
            term = "".join(term[place] for place in rest) + letter
    return term, operand


def _places(size: int, kernel: int, stride: int, dilation: int) -> int:
    return (size - dilation * (kernel - 1) - 1) // stride + 1


def _all_places(size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Any:
    places = tuple(map(_places, size, kernel, stride, dilation))
    if min(places) < 1:
        raise ValueError(
            f"a kernel of {tuple(kernel)} with dilation {tuple(dilation)} does not fit a picture of {tuple(size)}"
        )
    return places


def _window(r: int, s: int, stride: Sequence[int], dilation: Sequence[int], places: Sequence[int]) -> tuple[Any, ...]:
    """Where the kernel's element (r, s) lies in the picture, in all its places."""
    rows = slice(r * dilation[0], r * dilation[0] + (places[0] - 1) * stride[0] + 1, stride[0])
    columns = slice(s * dilation[1], s * dilation[1] + (places[1] - 1) * stride[1] + 1, stride[1])
    return (slice(None), slice(None), rows, columns)


def _unfold(
    xp: Namespace, a: Array, *, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> Array:
    B, C, H, W = a.shape
    places = _all_places((H, W), kernel, stride, dilation)
    out = xp.zeros((B, C, *kernel, *places), dtype=a.dtype, device=backend.device(a))
    for r in range(kernel[0]):
        for s in range(kernel[1]):
            out[:, :, r, s, :, :] = a[_window(r, s, stride, dilation, places)]
    return out


def _fold(
    xp: Namespace, a: Array, *, size: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> Array:
    B, C, R, S, *places = a.shape
    out = xp.zeros((B, C, *size), dtype=a.dtype, device=backend.device(a))
    for r in range(R):
        for s in range(S):
            out[_window(r, s, stride, dilation, places)] += a[:, :, r, s, :, :]
    return out


# [B, C, H, W] to [B, C, R, S, I, J]: what the kernel sees in each of its places.
unfold: Op = Op(
    "unfold",
    _unfold,
    a=lambda g, shape, stride, dilation: fold(g, size=tuple(shape[2:]), stride=stride, dilation=dilation),
)
# [B, C, R, S, I, J] to [B, C, H, W]: what was seen, added up where it was seen.
fold: Op = Op(
    "fold",
    _fold,
    a=lambda g, shape, stride, dilation: unfold(g, kernel=tuple(shape[2:4]), stride=stride, dilation=dilation),
)
