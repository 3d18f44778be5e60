"""Saving and loading: a resumed training goes on bit for bit; a file is whole or refused, however the writer died."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.autograd import Tensor, nn
from kb.autograd.checkpoint_file import load, save

SCALARS = st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats() | st.text()
DTYPES = ["float32", "float64", "float16", "int64", "int8", "uint64", "bool", ">f4"]
ARRAYS = st.builds(
    lambda shape, dtype, turned: (
        np.arange(int(np.prod(shape))).reshape(shape).astype(dtype).T
        if turned
        else np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    ),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from(DTYPES),
    st.booleans(),
)
KEYS = st.integers(-3, 3) | st.text("abcé/", min_size=1, max_size=3)
STATES = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS | ARRAYS,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=2).map(tuple)
            | st.dictionaries(KEYS, inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return one.dtype.newbyteorder("=") == other.dtype and one.shape == other.shape and np.array_equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or (one != one and other != other))


def paths_of_arrays(one: Any, path: str) -> list[str]:
    if isinstance(one, np.ndarray):
        return [path]
    parts = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list | tuple) else ()
    return [found for key, part in parts for found in paths_of_arrays(part, f"{path}.{key}")]


@settings(max_examples=60)
@given(state=STATES)
def test_what_was_saved_is_what_is_loaded(tmp_path_factory: pytest.TempPathFactory, state: dict[Any, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "round.safetensors"
    if len(set(paths_of_arrays(state, ""))) < len(paths_of_arrays(state, "")):  # 1 and "1" are two keys, but one path
        with pytest.raises(ValueError, match="is taken"):
            save(path, state)
        return
    save(path, state, {"a": 1})
    found = load(path)
    assert same(state, found.state)
    assert found.metadata == {"a": 1}
    assert not list(path.parent.glob(".round*"))


def test_tensors_of_each_library(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    state = {"a": Tensor(np.ones((2, 1)), requires_grad=True), "b": torch.zeros(3, requires_grad=True)[::2]}
    save(path, state)
    found = load(path).state
    assert isinstance(found["a"], np.ndarray)
    assert found["b"].tolist() == [0.0, 0.0]
    found["a"] += 1.0
    loaded = load(path, library="torch").state
    assert torch.equal(loaded["a"], torch.ones(2, 1, dtype=torch.float64))
    save(path, {"half": torch.ones(2, dtype=torch.bfloat16), "a": np.arange(3)})
    loaded = load(path, library="torch").state
    assert torch.equal(loaded["half"], torch.ones(2, dtype=torch.bfloat16))
    assert loaded["a"].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="no dtype"):
        load(path)


def test_files_are_exchanged_with_torch(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    reference, model = torch.nn.Linear(3, 2), nn.Linear(3, 2)
    safetensors.torch.save_file(reference.state_dict(), path, {"made": "elsewhere"})
    found = load(path)
    assert found.metadata == {"made": "elsewhere"}
    model.load_state_dict(found.state)
    np.testing.assert_array_equal(model.weight.data, reference.weight.detach().numpy())
    model.weight.data[...] = 5.0
    save(path, model.state_dict())
    reference.load_state_dict(safetensors.torch.load_file(path))
    assert reference.weight.eq(5.0).all()
    assert list(safetensors.numpy.load_file(path)) == ["bias", "weight"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "x.safetensors"
    save(path, {"w": np.arange(6.0).reshape(2, 3), "n": {"b": np.zeros(2, np.int8)}, "step": 3}, {"k": [1, "é"]})
    return path.read_bytes()


@settings(max_examples=150)
@given(data=st.data())
def test_a_truncated_or_altered_file_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    place = data.draw(st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(["cut", "flip", "more"]))
    if kind == "flip":
        content = bytearray(whole)
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    else:
        content = bytearray(whole[:place] if kind == "cut" else whole + whole[: place + 1])
    path.write_bytes(content)
    header = 8 + int.from_bytes(whole[:8], "little")
    if kind == "flip" and whole[place] == ord(" ") and place < header:
        return  # space after the header's JSON, which may be another white character
    with pytest.raises(ValueError, match=r"damaged\.safetensors"):
        load(path)


def test_a_foreign_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    torch.save({"a": torch.ones(2)}, path)
    for content in (path.read_bytes(), b"", b"{}", b"\x89PNG\r\n", b"\x00" * 100, b'{"a": [1, 2]}' * 40):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="foreign"):
            load(path)


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save(path, {"a": 1})
    with pytest.raises(TypeError, match=r"b\.0 must be"):
        save(path, {"b": [object()]})
    with pytest.raises(OSError, match="nowhere"):
        save(tmp_path / "nowhere" / "x", {"a": 2})
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        save(tmp_path / "folder", {"a": 2})
    assert load(path).state == {"a": 1}
    assert sorted(one.name for one in tmp_path.iterdir()) == ["folder", "x.safetensors"]


@pytest.mark.parametrize(
    ("state", "metadata", "error", "message"),
    [
        ([1], None, TypeError, "state must be a mapping"),
        ({"a": {2.5: 1}}, None, TypeError, "keys must be"),
        ({"a": {True: 1}}, None, TypeError, "keys must be"),
        ({"a": np.array([1j])}, None, TypeError, "a has dtype complex128"),
        ({"a": np.array(["x"])}, None, TypeError, "a "),
        ({"a": {1, 2}}, None, TypeError, "a must be"),
        ({"a.b": np.ones(1), "a": {"b": np.ones(1)}}, None, ValueError, "'a.b' is taken"),
        ({"__metadata__": np.ones(1)}, None, ValueError, "is taken"),
        ({}, [1], TypeError, "metadata"),
        ({}, {1: 2}, TypeError, "metadata"),
        ({}, {"a": np.ones(1)}, TypeError, "metadata must be what JSON can hold"),
    ],
)
def test_bad_input(tmp_path: Path, state: Any, metadata: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        save(tmp_path / "x", state, metadata)
    assert not list(tmp_path.iterdir())


def test_bad_input_of_load(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="library"):
        load(tmp_path / "x", library="jax")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "x")
