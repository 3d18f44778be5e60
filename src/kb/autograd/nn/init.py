"""Initial values, written into tensors: names and formulas of ``torch.nn.init``.

Unusual: they are drawn from a generator of NumPy, whatever library the tensor is of; without one, from a new one that
the operating system seeds.

Sources: Glorot and Bengio 2010 (Xavier); He et al. 2015, Delving Deep into Rectifiers (Kaiming), equations 10 and 14.
"""

import math
from typing import Any

import numpy as np

from kb.autograd import backend
from kb.autograd.arguments import require_real
from kb.autograd.tensor import Tensor

Generator = np.random.Generator | None


def constant_(tensor: Tensor, val: float) -> Tensor:
    """One number everywhere; returns the tensor."""
    require_real("val", val)
    tensor.data[...] = val
    tensor.bump()
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros; returns the tensor."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Ones; returns the tensor."""
    return constant_(tensor, 1.0)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator = None) -> Tensor:
    """Numbers between ``a`` and ``b``, each as likely as any other; returns the tensor."""
    require_real("a", a)
    require_real("b", b, least=a)
    return _write(tensor, _generator(generator).uniform(a, b, tensor.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator = None) -> Tensor:
    """Normal numbers; returns the tensor."""
    require_real("mean", mean)
    require_real("std", std, least=0)
    return _write(tensor, _generator(generator).normal(mean, std, tensor.shape))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator = None) -> Tensor:
    """Uniform numbers of variance 2 gain² / (inputs + outputs); returns the tensor.

    Raises:
        ValueError: the tensor has fewer than two axes, or the gain is no finite number of at least 0.
    """
    bound = math.sqrt(3) * _xavier(tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator = None) -> Tensor:
    """Normal numbers of variance 2 gain² / (inputs + outputs); otherwise as :func:`xavier_uniform_`."""
    return normal_(tensor, 0.0, _xavier(tensor, gain), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator = None,
) -> Tensor:
    """Uniform numbers of variance gain² / inputs, with the gain of the nonlinearity that comes after.

    Args:
        tensor: [outputs, inputs, ...].
        a: Slope of the leaky ReLU for negative numbers.
        mode: "fan_in", or "fan_out" for outputs in the place of inputs.
        nonlinearity: "leaky_relu", "relu" or "linear".
        generator: Of NumPy.

    Returns:
        The tensor.

    Raises:
        ValueError: the tensor has fewer than two axes, or a word is unknown.
    """
    bound = math.sqrt(3) * _kaiming(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator = None,
) -> Tensor:
    """Normal numbers of variance gain² / inputs; otherwise as :func:`kaiming_uniform_`."""
    return normal_(tensor, 0.0, _kaiming(tensor, a, mode, nonlinearity), generator)


def fans(tensor: Tensor) -> tuple[int, int]:
    """How many numbers go into each output of a weight [outputs, inputs, ...], and out of each input.

    Raises:
        ValueError: it has fewer than two axes, or a size is 0.
    """
    shape = tensor.shape
    if len(shape) < 2 or 0 in shape:
        raise ValueError(f"a weight [outputs, inputs, ...] is wanted, got shape {shape}")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def _xavier(tensor: Tensor, gain: float) -> float:
    """The standard deviation of Glorot and Bengio."""
    require_real("gain", gain, least=0)
    return gain * math.sqrt(2 / sum(fans(tensor)))


def _kaiming(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    """The standard deviation of He and others."""
    require_real("a", a)
    gains = {"leaky_relu": math.sqrt(2 / (1 + a * a)), "relu": math.sqrt(2), "linear": 1.0}
    if nonlinearity not in gains:
        raise ValueError(f"nonlinearity must be one of {', '.join(gains)}, got {nonlinearity!r}")
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return gains[nonlinearity] / math.sqrt(fans(tensor)[mode == "fan_out"])


def _generator(generator: Generator) -> np.random.Generator:
    if generator is None:
        return np.random.default_rng()
    if not isinstance(generator, np.random.Generator):
        raise TypeError(f"generator must be a numpy.random.Generator, got {type(generator).__name__}")
    return generator


def _write(tensor: Tensor, values: Any) -> Tensor:
    array = tensor.data
    moved = backend.convert(np.asarray(values), backend.library(array), backend.device(array))
    tensor.data[...] = backend.namespace(array).astype(moved, array.dtype)
    tensor.bump()
    return tensor
