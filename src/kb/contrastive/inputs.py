"""What every loss here asks of its arguments, and refuses in the same words, before any work.

A TypeError for what is no floating-point tensor, or for labels that are no integers; a ValueError for shapes and
settings that do not fit. Half precision is computed in float32: a cosine in bfloat16 has three digits, and is then
divided by a temperature of 0.05. The gradient comes back in the dtype of what came in. What is not finite is let
through and makes the loss NaN or infinite, which the training loop refuses; mining, whose comparisons would lose it,
refuses it. One case costs nothing: a negative at an infinite distance, which lies behind every margin.

Shapes: N rows, D width.
"""

import torch
from torch import Tensor

from kb.arguments import is_number

_HALVES = (torch.float16, torch.bfloat16)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def embeddings(name: str, x_ND: Tensor, *, like: Tensor | None = None) -> Tensor:
    """The rows [N, D], at least in float32; of the width and the dtype of ``like``, if that is given."""
    if not isinstance(x_ND, Tensor) or not x_ND.is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor, got {_kind(x_ND)}")
    if x_ND.ndim != 2 or 0 in x_ND.shape:
        raise ValueError(f"{name} must be [N, D] with N and D at least 1, got {tuple(x_ND.shape)}")
    if like is not None and x_ND.shape[1] != like.shape[1]:
        raise ValueError(f"{name} must have rows of {like.shape[1]} numbers, got {tuple(x_ND.shape)}")
    x = x_ND.float() if x_ND.dtype in _HALVES else x_ND
    if like is not None and x.dtype != (torch.float32 if like.dtype in _HALVES else like.dtype):
        raise TypeError(f"{name} must be of the other rows' dtype, {like.dtype}, got {x_ND.dtype}")
    return x


def pairs(first: str, x_ND: Tensor, second: str, y_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Two sets of rows of one shape, row i of the one belonging to row i of the other."""
    x, y = embeddings(first, x_ND), embeddings(second, y_ND)
    if x.shape != y.shape:
        raise ValueError(f"{first} and {second} must have one shape, got {tuple(x.shape)} and {tuple(y.shape)}")
    return x, embeddings(second, y, like=x)


def classes(labels_N: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Which rows are of one class, a row and itself left out, and which of two: masks [N, N]."""
    if not isinstance(labels_N, Tensor) or labels_N.dtype not in _INTEGERS:
        raise TypeError(f"labels_N must be a tensor of integers, got {_kind(labels_N)}")
    if labels_N.shape != (count,):
        raise ValueError(f"labels_N must be [{count}], one for each row, got {tuple(labels_N.shape)}")
    equal_NN = labels_N[:, None] == labels_N[None, :]
    return equal_NN & ~torch.eye(count, dtype=torch.bool, device=labels_N.device), ~equal_NN


def require_positive(name: str, value: float | Tensor) -> None:
    """Refuse what is not a number above 0; a learned one is a floating-point tensor without axes, of any value."""
    learned = isinstance(value, Tensor) and value.is_floating_point() and not value.ndim
    if not learned and not (is_number(value) and value > 0):
        raise ValueError(f"{name} must be a number above 0, got {_kind(value)}")


def require_number(name: str, value: float | Tensor, *, least: float | None = None) -> None:
    """Refuse what is no finite number, or below ``least``; a learned one as in :func:`require_positive`."""
    learned = isinstance(value, Tensor) and value.is_floating_point() and not value.ndim
    if not learned and not (is_number(value) and (least is None or value >= least)):
        bound = "" if least is None else f" of at least {least:g}"
        raise ValueError(f"{name} must be a number{bound}, got {_kind(value)}")


def require_places(name: str, ids: Tensor, count: int, *, axes: int = 1) -> None:
    """Refuse what is not an int64 tensor of so many axes, each entry from 0 to below ``count``."""
    if not isinstance(ids, Tensor) or ids.dtype != torch.int64 or ids.ndim != axes:
        raise TypeError(f"{name} must be int64 of {'one axis' if axes == 1 else 'two axes'}, got {_kind(ids)}")
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < count:
        raise ValueError(f"{name} must be from 0 to {count - 1}, got from {ids.min()} to {ids.max()}")


def nothing(x: Tensor) -> Tensor:
    """The loss of a batch that holds nothing to compare: 0, with a gradient of zeros, so that a step can be taken."""
    return (x * 0).sum()


def _kind(value: object) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else f"{value!r}"
