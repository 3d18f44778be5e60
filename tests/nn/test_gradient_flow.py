"""Four causes of vanishing gradients, each alone: the effect is the theory's, exactly or within its scatter."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.nn import (
    ACTIVATION_TABLE,
    gain_per_layer,
    initial_deviation,
    orthogonal_matrix,
    recurrence,
    saturated_activation,
    spectral_radius,
)


@settings(max_examples=15)
@given(gain=st.floats(0, 2), depth=st.integers(1, 30), width=st.integers(1, 16), seed=st.integers(0, 2**31))
def test_an_orthogonal_layer_scales_the_gradient_by_its_gain(gain: float, depth: int, width: int, seed: int) -> None:
    flow = gain_per_layer(gain, depth=depth, width=width, seed=seed)
    assert flow.norms == pytest.approx(flow.theory, rel=1e-10)
    assert flow.theory[-1] == pytest.approx(gain**depth)


@pytest.mark.parametrize("name", ACTIVATION_TABLE)
@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
def test_no_activation_passes_more_than_its_steepest_slope(name: str, scale: float) -> None:
    flow = saturated_activation(ACTIVATION_TABLE[name], scale, depth=12, width=16, seed=0)
    ratios = [after / before for before, after in zip(flow.norms, flow.norms[1:], strict=False) if before]
    assert all(ratio <= ACTIVATION_TABLE[name].steepest + 1e-12 for ratio in ratios)
    assert all(norm <= bound * (1 + 1e-9) for norm, bound in zip(flow.norms, flow.theory, strict=True))


def test_saturation_is_the_cause() -> None:
    tanh = ACTIVATION_TABLE["tanh"]
    assert saturated_activation(tanh, 0.0, depth=10, seed=0).norms[-1] == pytest.approx(1.0)
    ends = [saturated_activation(tanh, scale, depth=10, seed=0).norms[-1] for scale in (0.1, 1.0, 5.0, 50.0)]
    assert ends == sorted(ends, reverse=True)
    assert ends[0] > 0.8
    assert ends[2] < 1e-3
    # At 0 a sigmoid is exactly its steepest, a quarter.
    sigmoid = saturated_activation(ACTIVATION_TABLE["sigmoid"], 0.0, depth=5, seed=0)
    assert sigmoid.norms == pytest.approx([0.25**layer for layer in range(6)])


@pytest.mark.parametrize("times_he", [0.25, 0.5, 1.0, 1.5])
def test_initial_deviation_gives_its_factor_per_layer(times_he: float) -> None:
    std, depth = times_he * (2 / 256) ** 0.5, 20
    flows = [initial_deviation(std, depth=depth, seed=seed) for seed in range(3)]
    assert flows[0].theory[-1] == pytest.approx(times_he**depth)
    per_layer = [flow.norms[-1] ** (1 / depth) for flow in flows]
    assert sum(per_layer) / 3 == pytest.approx(times_he, rel=0.05)


@pytest.mark.parametrize("radius", [0.5, 0.9, 1.1])
def test_a_linear_recurrence_tends_to_its_spectral_radius(radius: float) -> None:
    flow = recurrence(radius, steps=100, linear=True, seed=0)
    assert (flow.norms[100] / flow.norms[50]) ** (1 / 50) == pytest.approx(radius, rel=0.01)
    assert all(norm >= bound * (1 - 1e-9) for norm, bound in zip(flow.norms, flow.theory, strict=True))
    assert flow.norms[1] > radius  # a matrix that is not normal stretches more at first


def test_tanh_takes_away_from_the_recurrence() -> None:
    for radius in (0.9, 1.1):
        linear, bent = (recurrence(radius, steps=60, linear=one, seed=0).norms[-1] for one in (True, False))
        assert bent < linear
    assert recurrence(0.5, steps=60, seed=0).norms[-1] < 1e-15


def test_spectral_radius_and_orthogonal_matrices() -> None:
    assert spectral_radius(torch.tensor([[0.0, 2.0], [-2.0, 0.0]])) == pytest.approx(2.0)  # eigenvalues ±2i
    assert spectral_radius(torch.tensor([[0.0, 9.0], [0.0, 0.0]])) == 0.0
    q = orthogonal_matrix(5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(q @ q.T, torch.eye(5, dtype=torch.float64))


def test_the_same_seed_gives_the_same_numbers() -> None:
    assert initial_deviation(0.1, depth=3, width=8, seed=1) == initial_deviation(0.1, depth=3, width=8, seed=1)
    assert initial_deviation(0.1, depth=3, width=8, seed=1) != initial_deviation(0.1, depth=3, width=8, seed=2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gain_per_layer(-1.0, depth=1, seed=0), "gain"),
        (lambda: gain_per_layer(float("inf"), depth=1, seed=0), "gain"),
        (lambda: gain_per_layer(1.0, depth=0, seed=0), "depth"),
        (lambda: gain_per_layer(1.0, depth=1, width=0, seed=0), "width"),
        (lambda: gain_per_layer(1.0, depth=1, seed=-1), "seed"),
        (lambda: saturated_activation(ACTIVATION_TABLE["relu"], float("nan"), depth=1, seed=0), "scale"),
        (lambda: initial_deviation(-0.1, depth=1, seed=0), "std"),
        (lambda: recurrence(-0.1, steps=1, seed=0), "radius"),
        (lambda: recurrence(0.1, steps=0, seed=0), "steps"),
        (lambda: recurrence(0.1, steps=1, input_scale=-1.0, seed=0), "input_scale"),
        (lambda: spectral_radius(torch.ones(2, 3)), r"\[D, D\]"),
        (lambda: orthogonal_matrix(-1, torch.Generator()), "width"),
    ],
)
def test_refuses_bad_input(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_refuses_the_name_of_an_activation() -> None:
    with pytest.raises(TypeError, match="must be an Activation"):
        saturated_activation("relu", 1.0, depth=1, seed=0)  # type: ignore[arg-type]
