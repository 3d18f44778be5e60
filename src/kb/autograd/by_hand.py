"""Backpropagation by hand: a multilayer perceptron in numpy whose backward pass is written out.

It is what a framework takes off you, and the reference that ours is held against. Unusual: nothing is recorded. The
forward pass hands out what the backward pass will need, and that the two fit is on whoever wrote them. Two checks that
need no derivation stand beside it: the same gradients one number at a time, and differences of the loss.

Sources: Rumelhart, Hinton and Williams 1986, equations 4 to 8 (the rules); He et al. 2015, section 2.2 (the first
weights).
Shapes: B samples, I inputs and O outputs of a layer, C classes. Weights are [I, O], which torch keeps as [O, I].
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kb.arguments import is_number, require_count

Array = NDArray[Any]


class MLP:
    """Linear layers with ReLU between them, each ``x @ W + b``.

    Args:
        parameters: A weight [I, O] and a bias [O] for each layer, in turns, of one dtype, float32 or float64. They are
            kept, not copied, and :meth:`step` changes them.

    Raises:
        TypeError: a parameter is not an array of one of the two dtypes.
        ValueError: the shapes do not form a chain, or the dtypes differ.
    """

    def __init__(self, parameters: Sequence[Array]) -> None:
        self.parameters = list(parameters)
        for place, parameter in enumerate(self.parameters):
            _require_float(f"parameter {place}", parameter)
        shapes = [parameter.shape for parameter in self.parameters]
        if not shapes or len(shapes) % 2 or any(len(shape) != 2 for shape in shapes[::2]):
            raise ValueError(f"parameters must be a weight [I, O] and a bias [O] for each layer, got shapes {shapes}")
        outputs = [weight[1:] for weight in shapes[::2]]
        if shapes[1::2] != outputs or [weight[:1] for weight in shapes[2::2]] != outputs[:-1]:
            raise ValueError(f"parameters: each layer must take what the one before gives, got shapes {shapes}")
        self.dtype = self.parameters[0].dtype
        if len({parameter.dtype for parameter in self.parameters}) > 1:
            raise ValueError(f"parameters must be of one dtype, got {[str(p.dtype) for p in self.parameters]}")

    @classmethod
    def initial(cls, sizes: Sequence[int], *, seed: int, dtype: DTypeLike = np.float64) -> "MLP":
        """A new network: weights normal with variance 2 / inputs, which ReLU keeps alive through depth; biases zero.

        Args:
            sizes: Widths, from the input's to the number of classes.
            seed: Of the weights.
            dtype: float32 or float64; the numbers are drawn in float64 and rounded.

        Raises:
            TypeError: another dtype.
            ValueError: fewer than two sizes, or one that is not a positive integer.
        """
        if len(sizes) < 2:
            raise ValueError(f"sizes must hold an input's width and an output's, got {tuple(sizes)}")
        for size in sizes:
            require_count("sizes", size)
        generator = np.random.default_rng(seed)
        parameters: list[Array] = []
        for I, O in itertools.pairwise(sizes):  # noqa: E741 - the shape suffixes of this file
            W_IO = generator.standard_normal((I, O)) * math.sqrt(2 / I)
            parameters += [W_IO.astype(dtype), np.zeros(O, dtype)]
        return cls(parameters)

    def forward(self, x_BI: Array) -> tuple[Array, list[Array]]:
        """Logits, and what the backward pass needs: the input of each layer.

        Args:
            x_BI: Samples, of the dtype of the parameters.

        Returns:
            Logits [B, C], and a list of one array [B, I] a layer.

        Raises:
            TypeError: the samples are not an array of that dtype.
            ValueError: their width is not that of the first layer.
        """
        self.require_samples(x_BI)
        kept: list[Array] = []
        for W_IO, b_O in zip(self.parameters[::2], self.parameters[1::2], strict=True):
            x_BI = np.maximum(x_BI, 0) if kept else x_BI
            kept.append(x_BI)
            x_BI = x_BI @ W_IO + b_O
        return x_BI, kept

    def backward(self, kept: Sequence[Array], delta_BC: Array) -> list[Array]:
        """Gradients of all parameters.

        Args:
            kept: What :meth:`forward` handed out.
            delta_BC: The gradient of the loss by the logits.

        Returns:
            One array for each of ``parameters``, of the same shape.
        """
        gradients: list[Array] = []
        delta_BO = delta_BC
        for x_BI, W_IO in zip(reversed(kept), reversed(self.parameters[::2]), strict=True):
            gradients = [x_BI.T @ delta_BO, delta_BO.sum(axis=0), *gradients]
            if len(gradients) < len(self.parameters):  # nobody asks for the gradient of the samples
                delta_BO = (delta_BO @ W_IO.T) * (x_BI > 0)
        return gradients

    def require_samples(self, x_BI: Any) -> None:
        """Refuse what :meth:`forward` cannot take; it names the errors."""
        _require_float("x_BI", x_BI)
        if x_BI.dtype != self.dtype:  # numpy would make everything float64 and say nothing
            raise TypeError(f"x_BI must be {self.dtype} like the parameters, got {x_BI.dtype}")
        if x_BI.ndim != 2 or x_BI.shape[1] != self.parameters[0].shape[0]:
            raise ValueError(f"x_BI must be [B, {self.parameters[0].shape[0]}], got {x_BI.shape}")

    def loss_and_gradients(self, x_BI: Array, labels_B: Array) -> tuple[float, list[Array]]:
        """Mean cross-entropy of a batch, and its gradients by the parameters; errors as of the parts."""
        logits_BC, kept = self.forward(x_BI)
        loss, delta_BC = softmax_cross_entropy(logits_BC, labels_B)
        return loss, self.backward(kept, delta_BC)

    def step(self, gradients: Sequence[Array], rate: float) -> None:
        """One step of gradient descent, in place.

        Raises:
            ValueError: there is not one gradient for each parameter, of its shape; or the rate is no finite number.
        """
        shapes, wanted = [g.shape for g in gradients], [p.shape for p in self.parameters]
        if shapes != wanted:  # a gradient [B, O] of a bias [O] would broadcast
            raise ValueError(f"gradients must have the shapes {wanted} of the parameters, got {shapes}")
        if not is_number(rate):
            raise ValueError(f"rate must be a finite number, got {rate!r}")
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter -= rate * gradient


def softmax_cross_entropy(logits_BC: Array, labels_B: Array) -> tuple[float, Array]:
    """Mean of -log p[label] over the batch, and its gradient by the logits, (p - one-hot) / B.

    Args:
        logits_BC: float32 or float64.
        labels_B: Integers from 0 to C - 1.

    Raises:
        TypeError: the logits are not floats, or the labels not integers.
        ValueError: the shapes do not fit, the batch is empty, or a label is no class.
    """
    _require_float("logits_BC", logits_BC)
    if logits_BC.ndim != 2:
        raise ValueError(f"logits_BC must be [B, C], got {logits_BC.shape}")
    (B, C), rows = logits_BC.shape, np.arange(len(logits_BC))
    _require_labels(labels_B, B, C)
    shifted_BC = logits_BC - logits_BC.max(axis=1, keepdims=True)  # the largest exponent is 0, so none overflows
    p_BC = np.exp(shifted_BC)
    totals_B = p_BC.sum(axis=1)
    loss = float(np.mean(np.log(totals_B) - shifted_BC[rows, labels_B]))
    p_BC /= totals_B[:, None]
    p_BC[rows, labels_B] -= 1
    return loss, p_BC / B


def loss_and_gradients_loop(model: MLP, x_BI: Array, labels_B: Array) -> tuple[float, list[Array]]:
    """Reference for :meth:`MLP.loss_and_gradients`: a sample, a neuron, a weight at a time, in Python's floats."""
    model.require_samples(x_BI)
    _require_labels(labels_B, len(x_BI), len(model.parameters[-1]))
    parameters = [parameter.tolist() for parameter in model.parameters]
    gradients = [np.zeros_like(parameter).tolist() for parameter in model.parameters]
    depth, loss, B = len(parameters) // 2, 0.0, len(x_BI)
    for sample, label in zip(x_BI.tolist(), labels_B.tolist(), strict=True):
        kept, z = [], sample
        for layer in range(depth):
            x = [max(value, 0.0) for value in z] if layer else z
            W, b = parameters[2 * layer : 2 * layer + 2]
            z = [b[o] + sum(x[i] * W[i][o] for i in range(len(x))) for o in range(len(b))]
            kept.append(x)
        exponentials = [math.exp(value - max(z)) for value in z]
        p = [value / sum(exponentials) for value in exponentials]
        loss += (math.log(sum(exponentials)) + max(z) - z[label]) / B
        delta = [(p[c] - (c == label)) / B for c in range(len(p))]
        for layer in reversed(range(depth)):
            x, W, (dW, db) = kept[layer], parameters[2 * layer], gradients[2 * layer : 2 * layer + 2]
            for o in range(len(delta)):
                db[o] += delta[o]
                for i in range(len(x)):
                    dW[i][o] += x[i] * delta[o]
            back = [sum(delta[o] * row[o] for o in range(len(delta))) for row in W]
            delta = [back[i] if x[i] > 0 else 0.0 for i in range(len(x))]
    shapes = [parameter.shape for parameter in model.parameters]
    return loss, [np.array(g, model.dtype).reshape(shape) for g, shape in zip(gradients, shapes, strict=True)]


def numeric_gradient(function: Callable[[], float], array: Array, *, step: float = 1e-6, central: bool = True) -> Array:
    """The gradient of a number by an array, from differences: the array is moved in place, one entry at a time.

    Args:
        function: Computes the number from whatever holds ``array``.
        array: float32 or float64, of any shape; it comes back as it was.
        step: h, how far to move.
        central: (f(x + h) - f(x - h)) / 2h, which errs by O(h²); otherwise (f(x + h) - f(x)) / h, which errs by O(h).

    Returns:
        float64, of the shape of the array.

    Raises:
        TypeError: it is no array of floats.
        ValueError: the step is not a positive number, or too small to move an entry.
    """
    _require_float("array", array)
    if not is_number(step) or step <= 0:
        raise ValueError(f"step must be a positive number, got {step!r}")
    gradient, here = np.zeros(array.shape), 0.0 if central else function()
    for place in np.ndindex(array.shape):
        value = array[place]
        high, low = array.dtype.type(value + step), array.dtype.type(value - step if central else value)
        if high == low:
            raise ValueError(f"step {step} is too small to move {value!r}")
        array[place] = high
        above = function()
        array[place] = low
        below = function() if central else here
        array[place] = value
        gradient[place] = (above - below) / (float(high) - float(low))  # the way gone, which rounding may have changed
    return gradient


def _require_float(name: str, array: Any) -> None:
    if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
        got = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{name} must be a numpy array of float32 or float64, got {got}")


def _require_labels(labels_B: Any, B: int, C: int) -> None:
    if not isinstance(labels_B, np.ndarray) or not np.issubdtype(labels_B.dtype, np.integer):
        got = f"an array of {labels_B.dtype}" if isinstance(labels_B, np.ndarray) else type(labels_B).__name__
        raise TypeError(f"labels_B must be a numpy array of integers, got {got}")
    if B == 0 or labels_B.shape != (B,):
        raise ValueError(f"labels_B must hold one label for each of {B} samples, at least one, got {labels_B.shape}")
    if labels_B.min() < 0 or labels_B.max() >= C:  # -1 would index the last class
        raise ValueError(f"labels_B must lie in 0..{C - 1}, got {labels_B.min()} to {labels_B.max()}")
