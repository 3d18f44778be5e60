"""A state dict's numbers, taken over into tensors that are there.

Unusual: everything that does not fit is named at once, before a number is written.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kb.autograd import backend
from kb.autograd.backend import Array
from kb.autograd.tensor import Tensor


class Incompatible(NamedTuple):
    """What a state dict and a module did not have in common.

    Attributes:
        missing_keys: Only in the module.
        unexpected_keys: Only in the state dict.
    """

    missing_keys: list[str]
    unexpected_keys: list[str]


def load_arrays(own: Mapping[str, Tensor], given: Any, strict: bool, kind: str) -> Incompatible:
    """Write the given numbers into tensors of the same names.

    Args:
        own: By name.
        given: Tensors or arrays by name, of any library and dtype.
        strict: Whether the names must be the same.
        kind: What the tensors are of, for the message.

    Raises:
        TypeError: ``given`` is no mapping, or one of its values no tensor.
        ValueError: a shape differs, or with ``strict`` the names do; then nothing was written.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"a state dict must be a mapping of names to tensors, got {type(given).__name__}")
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    common = {name: _array(name, value) for name, value in given.items() if name in own}
    wrong = []
    if strict and missing:
        wrong.append(f"missing: {', '.join(missing)}")
    if strict and unexpected:
        wrong.append(f"unexpected: {', '.join(map(str, unexpected))}")
    wrong += [
        f"{name} has shape {tuple(array.shape)}, wanted {own[name].shape}"
        for name, array in common.items()
        if tuple(array.shape) != own[name].shape
    ]
    if wrong:
        raise ValueError(f"the state dict does not fit {kind}: {'; '.join(wrong)}")
    converted = {name: _like(array, own[name].data) for name, array in common.items()}
    for name, array in converted.items():
        own[name].data[...] = array
        own[name].bump()
    return Incompatible(missing, unexpected)


def _array(name: str, value: Any) -> Array:
    array = value.data if isinstance(value, Tensor) else value
    backend.require_array(str(name), array)
    return array.detach() if hasattr(array, "detach") else array


def _like(array: Array, own: Array) -> Array:
    if backend.library(array) != backend.library(own) and str(array.dtype).endswith("bfloat16"):
        array = backend.namespace(array).astype(array, backend.namespace(array).float32)  # which NumPy has
    moved = backend.convert(array, backend.library(own), backend.device(own))
    return backend.namespace(moved).astype(moved, own.dtype, copy=False)
