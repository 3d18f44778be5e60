"""All that a training needs to go on, in one file: parameters, optimizer, generators, step.

The arrays are tensors of a safetensors file under their paths, so that any program reads them; how they were nested,
and all numbers and words, are JSON in the file's metadata. Nothing is pickled, so a file cannot run code. Unusual: a
checksum over everything is part of the file, since safetensors itself would not notice a changed number; and the file
comes into its place whole, so that a process killed at any moment leaves the old one or the new one.

Source: the safetensors format, https://huggingface.co/docs/safetensors; rename(2), which replaces a file at once.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from kb.autograd import backend
from kb.autograd.backend import Array
from kb.autograd.tensor import Tensor
from kb.whole_file import write_whole

_STRUCTURE, _METADATA, _CHECKSUM = "kb.structure", "kb.metadata", "kb.sha256"


class Checkpoint(NamedTuple):
    """What was saved.

    Attributes:
        state: Nested as it was, with arrays in the place of tensors.
        metadata: As given to :func:`save`.
    """

    state: dict[Any, Any]
    metadata: dict[str, Any]


def save(path: str | os.PathLike[str], state: Mapping[Any, Any], metadata: Mapping[str, Any] | None = None) -> None:
    """Write a file, whole or not at all.

    Args:
        path: Where to; a file that is there is replaced.
        state: Tensors, arrays, numbers, texts and None, nested in dicts (with texts or integers as keys), lists and
            tuples: state dicts of modules and optimizers, ``generator.bit_generator.state``, a step.
        metadata: What JSON can hold, by name, for whoever reads the file.

    Raises:
        TypeError: ``state`` or ``metadata`` is no mapping, or holds something else.
        ValueError: two arrays would have one path, such as ``{"a.b": x, "a": {"b": y}}``.
        OSError: the folder is not there, or the disk is full or failed; nothing is left behind.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"state must be a mapping, got {type(state).__name__}")
    if not isinstance(metadata, Mapping | None) or not all(isinstance(name, str) for name in metadata or ()):
        raise TypeError("metadata must be a mapping with texts as keys, or None")
    arrays: dict[str, Array] = {}
    texts = {_STRUCTURE: json.dumps(_flat(state, "", arrays))}
    try:
        texts[_METADATA] = json.dumps(dict(metadata or {}))
    except (TypeError, ValueError) as error:
        raise TypeError(f"metadata must be what JSON can hold: {error}") from error
    texts[_CHECKSUM] = _checksum(arrays, texts)
    write_whole(Path(path), _serialized(arrays, texts))


def load(path: str | os.PathLike[str], *, library: str = "numpy") -> Checkpoint:
    """Read a file of :func:`save`, or any safetensors file, whose tensors then come by name and unchecked.

    Args:
        path: The file.
        library: Of the arrays: "numpy", "torch" or "cupy"; torch also has bfloat16.

    Returns:
        State and metadata.

    Raises:
        ValueError: the file is truncated, altered or not of this kind, or has a dtype that the library lacks; or the
            library is unknown.
        OSError: there is no such file, or it cannot be read.
    """
    if library not in ("numpy", "torch", "cupy"):
        raise ValueError(f"library must be 'numpy', 'torch' or 'cupy', got {library!r}")
    with open(path, "rb"):  # so that what cannot be opened is an OSError
        pass
    try:
        with safe_open(path, framework="pt" if library == "torch" else "np") as file:
            texts = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    except (SafetensorError, TypeError, AttributeError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} is no whole safetensors file, or holds what {library} has no dtype for: {error}"
        ) from error
    texts_of_ours = {name: text for name, text in texts.items() if name.startswith("kb.")}
    if not texts_of_ours:
        return Checkpoint({name: backend.convert(array, library) for name, array in arrays.items()}, texts)
    claimed = texts.pop(_CHECKSUM, None)
    if set(texts) != {_STRUCTURE, _METADATA} or claimed != _checksum(arrays, texts):
        raise ValueError(f"{path} was altered since it was saved: its checksum does not fit what it holds")
    arrays = {name: backend.convert(array, library) for name, array in arrays.items()}
    return Checkpoint(_nested(json.loads(texts[_STRUCTURE]), arrays), json.loads(texts[_METADATA]))


def _flat(value: Any, path: str, arrays: dict[str, Array]) -> Any:
    """How a value is nested, with the paths of its arrays, which are put into ``arrays``."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str | int) or isinstance(key, bool):
                raise TypeError(f"keys must be texts or integers, got {key!r} in {path or 'state'}")
        start = f"{path}." if path else ""
        return {"dict": [[key, _flat(one, f"{start}{key}", arrays)] for key, one in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_flat(one, f"{path}.{place}", arrays) for place, one in enumerate(value)]}
    array = value.data if isinstance(value, Tensor) else value
    if not backend.is_array(array):
        raise TypeError(f"{path} must be a tensor, an array, a number, a text or None, got {type(value).__name__}")
    if path in arrays or path == "__metadata__":
        raise ValueError(f"the path {path!r} is taken: two arrays cannot have one name in the file")
    arrays[path] = _in_host_memory(array, path)
    return {"array": path}


def _nested(structure: Any, arrays: Mapping[str, Array]) -> Any:
    if not isinstance(structure, dict):
        return structure
    ((kind, held),) = structure.items()
    if kind == "array":
        return arrays[held]
    if kind == "dict":
        return {key: _nested(one, arrays) for key, one in held}
    values = [_nested(one, arrays) for one in held]
    return values if kind == "list" else tuple(values)


def _in_host_memory(array: Array, path: str) -> Array:
    """A contiguous array of NumPy, or a tensor of torch in the CPU's memory where NumPy lacks the dtype."""
    if hasattr(array, "detach"):
        array = array.detach()
    try:
        found = backend.to_numpy(array)
    except TypeError:
        return array.cpu().contiguous()
    if found.dtype.kind not in "biuf" or found.dtype.itemsize > 8:
        raise TypeError(f"{path} has dtype {found.dtype}, which safetensors cannot hold")
    return np.array(found, dtype=found.dtype.newbyteorder("="), order="C")


def _bytes_of(array: Array) -> Any:
    if isinstance(array, np.ndarray):
        return np.asarray(array, order="C").reshape(-1).view(np.uint8).data
    import torch

    return array.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _checksum(arrays: Mapping[str, Array], texts: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(texts):
        digest.update(json.dumps([name, texts[name]]).encode())
    for name in sorted(arrays):
        dtype = str(arrays[name].dtype).removeprefix("torch.")
        digest.update(json.dumps([name, dtype, list(arrays[name].shape)]).encode())
        digest.update(_bytes_of(arrays[name]))
    return digest.hexdigest()


def _serialized(arrays: Mapping[str, Array], texts: dict[str, str]) -> bytes:
    if all(isinstance(array, np.ndarray) for array in arrays.values()):
        from safetensors import numpy as format_of_numpy

        return format_of_numpy.save(dict(arrays), metadata=texts)
    import torch
    from safetensors import torch as format_of_torch

    tensors = {n: torch.from_numpy(a) if isinstance(a, np.ndarray) else a.clone() for n, a in arrays.items()}
    return format_of_torch.save(tensors, metadata=texts)
