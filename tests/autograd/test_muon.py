"""Muon equals its float64 reference, and torch's Muon as far as bfloat16 reaches; what its update looks like."""

import math
import tracemalloc
from typing import Any

import array_api_strict as strict
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kb.autograd import Parameter, Tensor
from kb.autograd.optim import Muon
from kb.autograd.optim.muon import COEFFICIENTS, newton_schulz, newton_schulz_loop

pytestmark = pytest.mark.filterwarnings("ignore:You are comparing a array_api_strict dtype")


class Holder:
    def __init__(self, data: Any) -> None:
        self.data, self.grad = data, None


def matrix(seed: int, A: int, B: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(A, B))


def with_singular_values(values: np.ndarray, A: int, B: int, seed: int) -> np.ndarray:
    """A random [A, B] matrix of Frobenius norm 1 whose singular values are in the ratios of ``values``."""
    left, _, right = np.linalg.svd(matrix(seed, A, B), full_matrices=False)
    return left @ np.diag(values / np.linalg.norm(values)) @ right


@settings(max_examples=60)
@given(
    A=st.integers(1, 6),
    B=st.integers(1, 6),
    steps=st.integers(0, 6),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    seed=st.integers(0, 999),
    library=st.sampled_from(["numpy", "torch", "strict"]),
)
def test_the_iteration_equals_its_loop(A: int, B: int, steps: int, scale: float, seed: int, library: str) -> None:
    start = scale * matrix(seed, A, B)
    wanted = np.array(newton_schulz_loop(start.tolist(), steps=steps))
    make: Any = {"numpy": np.asarray, "torch": torch.from_numpy, "strict": strict.asarray}[library]
    found = np.asarray(newton_schulz(make(start), steps=steps))
    # Rounding grows as small singular values do, by up to 3.4445 a step.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-15 * COEFFICIENTS[0] ** steps + 1e-15)


@settings(max_examples=60)
@given(A=st.integers(1, 8), B=st.integers(1, 8), seed=st.integers(0, 999), least=st.floats(-2.79, 0.0))
def test_singular_values_come_to_the_band_and_singular_vectors_stay(A: int, B: int, seed: int, least: float) -> None:
    values = 10.0 ** np.linspace(least, 0, min(A, B))
    assume(values[0] / np.linalg.norm(values) > 0.0016)
    start = with_singular_values(values, A, B, seed)
    left, before, right = np.linalg.svd(start, full_matrices=False)
    for _ in range(5):
        before = sum(c * before**power for c, power in zip(COEFFICIENTS, (1, 3, 5), strict=True))
    found = newton_schulz(start)
    np.testing.assert_allclose(found, left @ np.diag(before) @ right, atol=1e-12)
    after = np.linalg.svd(found, compute_uv=False)
    assert after.min() > 0.68
    assert after.max() < 1.21


def test_the_band_is_no_wider_than_said_and_no_narrower() -> None:
    values = np.geomspace(0.0016, 1, 200_001)
    for _ in range(5):
        values = values * (COEFFICIENTS[0] + values**2 * (COEFFICIENTS[1] + values**2 * COEFFICIENTS[2]))
    assert (round(values.min(), 2), round(values.max(), 2)) == (0.68, 1.20)


def test_a_transposed_matrix_gives_the_transposed_update() -> None:
    tall = matrix(0, 7, 3)
    np.testing.assert_allclose(newton_schulz(tall).T, newton_schulz(tall.T.copy()), atol=1e-14)


def test_a_tall_matrix_takes_no_square_of_its_long_side() -> None:
    tall = matrix(0, 3000, 2)
    tracemalloc.start()
    newton_schulz(tall)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * tall.nbytes  # the square would have 72 MB, 1500 times as much


@pytest.mark.parametrize("shape", [(3, 4), (0, 3), (3, 0), (0, 0), (1, 1)])
def test_nothing_becomes_nothing(shape: tuple[int, int]) -> None:
    assert np.array_equal(newton_schulz(np.zeros(shape)), np.zeros(shape))
    parameter = Holder(np.ones(shape))
    parameter.grad = np.zeros(shape)
    Muon([parameter], lr=0.5, weight_decay=0.0).step()
    assert np.array_equal(parameter.data, np.ones(shape))


def by_hand(start: np.ndarray, grads: list[np.ndarray], options: dict[str, Any]) -> np.ndarray:
    """Steps of Muon from the loop and the equations, on NumPy arrays that are never written in place."""
    theta, mean, momentum = start, np.zeros_like(start), options["momentum"]
    A, B = start.shape
    shape = {"match_rms_adamw": 0.2 * math.sqrt(max(A, B))}.get(options["adjust_lr_fn"], math.sqrt(max(1, A / B)))
    for grad in grads:
        mean = momentum * mean + (1 - momentum) * grad
        direction = momentum * mean + (1 - momentum) * grad if options["nesterov"] else mean
        update = np.array(newton_schulz_loop(direction.tolist(), steps=options["ns_steps"]))
        theta = theta - options["lr"] * options["weight_decay"] * theta - options["lr"] * shape * update
    return theta


MUON = st.fixed_dictionaries(
    {
        "lr": st.floats(1e-3, 0.1),
        "weight_decay": st.just(0.0) | st.floats(0.01, 0.5),
        "momentum": st.just(0.0) | st.floats(0.1, 0.99),
        "nesterov": st.booleans(),
        "ns_steps": st.integers(1, 5),
        "adjust_lr_fn": st.sampled_from([None, "original", "match_rms_adamw"]),
    }
)
SHAPES = st.sampled_from([(2, 3), (4, 2), (3, 3), (1, 4)])


@settings(max_examples=15)
@given(options=MUON, shape=SHAPES, seed=st.integers(0, 99), on_tape=st.booleans())
def test_equals_the_reference_over_50_steps(
    options: dict[str, Any], shape: tuple[int, int], seed: int, on_tape: bool
) -> None:
    start, grads = matrix(seed, *shape), [matrix(1000 * seed + step, *shape) for step in range(50)]
    parameter = Parameter(start.copy()) if on_tape else Holder(start.copy())
    optimizer = Muon([parameter], **options)
    for grad in grads:
        parameter.grad = Tensor(grad) if on_tape else grad
        optimizer.step()
    # 500 = 3.4445⁵, by which five steps enlarge the rounding of a small singular value.
    wanted = by_hand(start, grads, options)
    np.testing.assert_allclose(parameter.data, wanted, rtol=0, atol=500 * 1e-15 * np.abs(wanted).max())


@settings(max_examples=30)
@given(options=MUON, seed=st.integers(0, 99), shape=st.sampled_from([(8, 12), (12, 8), (10, 10)]))
def test_equals_torch_within_bfloat16(options: dict[str, Any], seed: int, shape: tuple[int, int]) -> None:
    start = torch.from_numpy(matrix(seed, *shape))
    mine, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    optimizer, reference = Muon([mine], **options), torch.optim.Muon([theirs], **options)
    way = 0.0
    for step in range(50):
        mine.grad = torch.from_numpy(matrix(1000 * seed + step, *shape))
        theirs.grad, before = mine.grad.clone(), theirs.detach().clone()
        optimizer.step()
        reference.step()
        way += float((theirs.detach() - before).norm())
    # bfloat16 has 8 bits and rounds by up to 2⁻⁸, here in each of fifteen products; the signs of that vary.
    assert float((mine - theirs).detach().norm()) < 2**-7 * way


def test_with_match_rms_adamw_a_step_has_the_size_of_one_of_adamw() -> None:
    for shape in ((32, 32), (16, 64), (64, 16)):
        parameter = Holder(np.zeros(shape))
        parameter.grad = matrix(0, *shape)
        Muon([parameter], lr=1.0, weight_decay=0.0, adjust_lr_fn="match_rms_adamw").step()
        root_mean_square = float(np.sqrt(np.mean(parameter.data**2)))
        assert 0.2 * 0.68 < root_mean_square < 0.2 * 1.21


def test_what_is_no_matrix_is_refused() -> None:
    for shape in ((), (3,), (2, 3, 4)):
        with pytest.raises(ValueError, match="matrices"):
            Muon([Holder(np.zeros(shape))])
    optimizer = Muon([Holder(np.zeros((2, 2)))])
    with pytest.raises(ValueError, match="matrices"):
        optimizer.add_param_group({"params": [Holder(np.zeros(3))]})
