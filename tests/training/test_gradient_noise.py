"""The noise scale: by hand, unbiased on gradients of known covariance, equal to the sample covariance; bad input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kb.training.gradient_noise import NoiseScale, average, measure_noise, noise_scale, noise_scale_loop


def test_two_equations_by_hand() -> None:
    found = noise_scale(5 + 12 / 2, 5 + 12 / 6, small=2, big=6)  # signal 5, noise 12
    assert (found.signal, found.noise, found.simple) == pytest.approx((5.0, 12.0, 2.4))


def test_unbiased_on_gradients_with_known_covariance() -> None:
    generator = np.random.default_rng(0)
    mean, spread = np.array([1.0, -2.0, 0.5]), np.array([3.0, 1.0, 2.0])  # signal 5.25, noise 14
    rows = mean + spread * generator.normal(size=(20_000, 8, 3))
    small = (rows[:, :2].mean(axis=1) ** 2).sum(axis=1)
    big = (rows.mean(axis=1) ** 2).sum(axis=1)
    each = [noise_scale(float(s), float(b), small=2, big=8) for s, b in zip(small, big, strict=True)]
    for name, wanted in (("signal", 5.25), ("noise", 14.0)):
        values = np.array([getattr(one, name) for one in each])
        assert abs(values.mean() - wanted) < 4 * values.std() / math.sqrt(len(values))
    assert average(each).simple == pytest.approx(14 / 5.25, rel=0.05)
    naive = np.mean(small)  # the squared length of one small batch's gradient, which is biased by noise / 2
    assert naive == pytest.approx(5.25 + 7, rel=0.05)


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5, -1.0], dtype=torch.float64))
        self.unused = nn.Parameter(torch.ones(3))


def squared_error(model: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    return ((rows[:, :2] @ model.weight - rows[:, 2]) ** 2).mean()


@settings(max_examples=25)
@given(parts=st.integers(2, 6), seed=st.integers(0, 99))
def test_parts_of_one_example_give_the_sample_covariance(parts: int, seed: int) -> None:
    rows = torch.randn(parts, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    model, gradients = Line(), []
    for row in rows:
        (gradient,) = torch.autograd.grad(squared_error(model, row[None]), [model.weight])
        gradients.append(gradient)
    found, wanted = measure_noise(model, rows.split(1), squared_error), noise_scale_loop(torch.stack(gradients))
    assert (found.signal, found.noise) == pytest.approx((wanted.signal, wanted.noise), rel=1e-9, abs=1e-9)
    assert model.weight.grad is None


def test_equal_examples_have_no_noise_and_pure_noise_no_signal() -> None:
    model = Line()
    assert measure_noise(model, torch.ones(6, 3).double().split(2), squared_error).noise == pytest.approx(0, abs=1e-12)
    assert NoiseScale(-0.1, 3.0).simple == math.inf


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: noise_scale(1.0, 1.0, small=4, big=4), "big"),
        (lambda: noise_scale(1.0, 1.0, small=0, big=4), "small"),
        (lambda: noise_scale(-1.0, 1.0, small=1, big=4), "small_square"),
        (lambda: noise_scale(1.0, math.nan, small=1, big=4), "big_square"),
        (lambda: average([]), "scales"),
        (lambda: noise_scale_loop(torch.ones(1, 3)), "gradients"),
        (lambda: measure_noise(Line(), [torch.ones(2, 3)], squared_error), "parts"),
        (lambda: measure_noise(Line(), [torch.ones(2, 3), torch.ones(1, 3)], squared_error), "parts"),
        (lambda: measure_noise(Line(), [torch.ones(0, 3), torch.ones(0, 3)], squared_error), "parts"),
        (lambda: measure_noise(Line(), iter([torch.ones(2, 3)]), squared_error), "parts"),
    ],
)
def test_bad_input_is_refused(call: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()  # type: ignore[operator]
