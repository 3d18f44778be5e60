"""The shim: which library an array belongs to, and the few things that the array API standard lacks."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import special

from kb.autograd import backend
from kb.autograd.places import add_at


def test_the_namespace_of_arrays_and_numbers() -> None:
    xp = backend.namespace(np.ones(2), 3.0, True, 2)
    assert backend.namespace(1.0, np.float32(2.0)) is xp
    assert backend.namespace(torch.ones(2), 1) is not xp
    assert backend.library(np.ones(2)) == "numpy"
    assert backend.library(torch.ones(2)) == "torch"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((np.ones(2), torch.ones(2)), "arrays of numpy and torch in one operation"),
        ((1.0, 2), "no array among"),
        ((np.ones(2), [1.0]), "wanted an array or a number, got list"),
        ((None,), "wanted an array or a number, got NoneType"),
        (("a", np.ones(2)), "wanted an array or a number, got str"),
    ],
)
def test_mixtures_and_strangers_are_refused(values: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        backend.namespace(*values)


@pytest.mark.filterwarnings("ignore:You are comparing a array_api_strict dtype")
def test_a_library_that_was_never_seen_is_served_by_the_standard() -> None:
    strict = pytest.importorskip("array_api_strict")
    array = strict.asarray([1.0, 2.0])
    assert backend.is_array(array)
    assert backend.library(array) == "array_api_strict"
    assert backend.is_floating(array)


@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "bool", "uint8"])
def test_floating_or_not(kind: str) -> None:
    for array in (np.ones(2, kind), torch.ones(2, dtype=getattr(torch, kind))):
        assert backend.is_floating(array) == kind.startswith("float")
        assert backend.is_floating(backend.floating(array))
        assert (backend.floating(array) is array) == kind.startswith("float")
    assert not backend.is_floating(np.ones(2, complex))


def test_what_is_an_array_and_what_a_view() -> None:
    for array in (np.ones((2, 2)), torch.ones(2, 2)):
        assert backend.is_array(array)
        assert not backend.is_view(array)
        for view in (array[0], array.T, array.reshape(4), array[:, None], array[:]):
            assert backend.is_view(view)
        assert not backend.is_view(backend.copy(array[0]))
        assert not backend.is_view(array[0] + 1)
    for other in ([1.0], 1.0, None, "a"):
        assert not backend.is_array(other)
        with pytest.raises(TypeError, match="speed must be a tensor or an array, got"):
            backend.require_array("speed", other)
    assert isinstance(backend.plain(np.float32(1.0)), np.ndarray)


def test_conversion_and_copies_share_no_memory_between_libraries() -> None:
    array = np.arange(6.0).reshape(2, 3)[:, ::-1]
    there = backend.convert(array, "torch")
    back = backend.convert(there, "numpy")
    np.testing.assert_array_equal(back, array)
    there[0] = 9.0
    back[0] = 8.0
    assert array.max() == 5.0
    assert backend.convert(array, "numpy") is array
    assert backend.convert(there, "torch", "cpu").dtype == torch.float64
    with pytest.raises(ValueError, match="library must be 'numpy', 'torch' or 'cupy', got 'jax'"):
        backend.convert(array, "jax")


def loop_add_at(shape: tuple[int, ...], index: Any, values: np.ndarray) -> np.ndarray:
    """One number after another, at the place that NumPy gives each."""
    out, flat = np.zeros(shape), np.arange(np.prod(shape, dtype=int)).reshape(shape)[index]
    for place, value in zip(flat.ravel(), np.broadcast_to(values, flat.shape).ravel(), strict=True):
        out.reshape(-1)[place] += value
    return out


@settings(max_examples=60)
@given(data=st.data())
def test_scattered_addition_by_its_definition(data: Any) -> None:
    shape = data.draw(npst.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    kind = data.draw(st.sampled_from(["basic", "integers", "mixed", "mask"]))
    generator = np.random.default_rng(data.draw(st.integers(0, 100)))
    index: Any = data.draw(npst.basic_indices(shape, allow_newaxis=True))
    if kind == "integers":
        index = tuple(generator.integers(-n, n, (2, 3)) for n in shape)
    elif kind == "mixed":
        index = (generator.integers(0, shape[0], 5), *(slice(None, None, 2) for _ in shape[1:]))
    elif kind == "mask":
        index = generator.random(shape[: data.draw(st.integers(1, len(shape)))]) < 0.5
    values = generator.normal(size=np.zeros(shape)[index].shape)
    expected = loop_add_at(shape, index, values)
    np.testing.assert_allclose(add_at(shape, index, values), expected, 1e-12)
    if kind == "basic":  # which may step backwards
        return
    places = tuple(map(_torch, index)) if isinstance(index, tuple) else _torch(index)
    np.testing.assert_allclose(add_at(shape, places, torch.tensor(values)).numpy(), expected, 1e-12)


def _torch(place: Any) -> Any:
    return torch.tensor(place) if isinstance(place, np.ndarray) else place


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_keeping_where(library: str) -> None:
    a = np.array([1.0, np.nan, np.inf, -np.inf, -2.0, np.nan])
    keep = np.array([True, False, False, True, False, True])
    found = backend.keep_where(backend.convert(a, library), backend.convert(keep, library))
    np.testing.assert_array_equal(np.asarray(found), [1.0, 0.0, 0.0, -np.inf, 0.0, np.nan])
    assert (np.asarray(backend.keep_where(a[[0, 4]], keep[[0, 4]])) == [1.0, 0.0]).all()


def test_einsum_and_the_error_function_and_numbers_in_host_memory() -> None:
    A, B = np.random.default_rng(0).normal(size=(2, 3, 3))
    for library in ("numpy", "torch"):
        a, b = backend.convert(A, library), backend.convert(B, library)
        np.testing.assert_allclose(backend.to_numpy(backend.einsum("ij,jk->ik", a, b)), A @ B, 1e-12)
        np.testing.assert_allclose(backend.to_numpy(backend.erf(a)), special.erf(A), 1e-12)
        assert isinstance(backend.to_numpy(a), np.ndarray)
        assert str(backend.device(a)) == "cpu"
    assert backend.to_numpy(A) is A


def test_quiet_is_quiet_only_within(recwarn: pytest.WarningsRecorder) -> None:
    with backend.quiet():
        np.log(np.zeros(1))
    assert len(recwarn) == 0
    np.log(np.zeros(1))
    assert len(recwarn) == 1
