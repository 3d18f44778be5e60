"""The exponential: near the exact one, the same bytes compiled and not, and losses that do not depend on NumPy's."""

import importlib.util
from decimal import Decimal, localcontext
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.gbdt.losses import Logistic, Loss, Poisson, Softmax
from kb.gbdt.losses.exponential import exponential


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without numba."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba" else find(name))
    return monkeypatch


def numbers(count: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    parts = generator.uniform(-760, 720, count), generator.normal(0, 3, count), generator.normal(0, 1e-3, count)
    # Halfway between two entries of the table, and where results begin to be subnormal, infinite or 0.
    edges = (np.arange(-3000, 3000) + 0.5) * np.log(2) / 128
    around = np.nextafter.outer(np.array([709.782712893384, -708.3964185322641, -745.1332191019412]), [-1e4, 1e4])
    return np.concatenate([*parts, edges, around.ravel(), [0.0, -0.0, 5e-324, 1e300, -1e300, np.nan, np.inf, -np.inf]])


def units_off(x: float, value: float) -> float:
    """How far a value is from exp(x), in units of its last place."""
    with localcontext() as context:
        context.prec = 60
        return float(abs(Decimal(x).exp() - Decimal(value)) / Decimal(float(np.spacing(value))))


def test_it_is_off_by_little_more_than_rounding() -> None:
    x = numbers(3000)
    x = x[(x > -708) & (x < 709.7)]
    found = exponential(x)
    assert max(units_off(*pair) for pair in zip(x.tolist(), found.tolist(), strict=True)) < 0.52


@given(st.floats(-708, 709.7))
def test_it_is_off_by_little_more_than_rounding_anywhere(x: float) -> None:
    assert units_off(x, float(exponential(x))) < 0.52


def test_subnormal_results_are_off_by_one_unit_at_most() -> None:
    x = np.random.default_rng(1).uniform(-746, -708, 2000)
    assert max(units_off(*pair) for pair in zip(x.tolist(), exponential(x).tolist(), strict=True)) <= 1


def test_compiled_and_not_it_gives_the_same_bytes(plain: pytest.MonkeyPatch) -> None:
    x = numbers(100_000)
    slow = exponential(x)
    plain.undo()
    assert exponential(x).tobytes() == slow.tobytes()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("compiled", [True, False])
def test_at_the_ends_it_is_what_mathematics_says(request: pytest.FixtureRequest, compiled: bool) -> None:
    if not compiled:
        request.getfixturevalue("plain")
    x = np.array([[np.inf, -np.inf, 0.0, -0.0], [709.79, 1e308, -745.14, -1e308]])
    np.testing.assert_array_equal(exponential(x), [[np.inf, 0, 1, 1], [np.inf, np.inf, 0, 0]])
    assert np.isnan(exponential(np.nan))
    assert exponential(np.empty((0, 3))).shape == (0, 3)
    assert exponential(np.float32([1.0])).dtype == np.float64
    assert exponential(x[:, ::2]).tolist() == [[np.inf, 1], [np.inf, 0]]


LOSSES: list[tuple[Loss, int]] = [(Logistic(), 2), (Softmax(3), 3), (Softmax(11), 11), (Poisson(), 9)]


@pytest.mark.parametrize(("loss", "values"), LOSSES, ids=lambda one: getattr(one, "name", str(one)))
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_have_the_same_bytes_without_numba(
    plain: pytest.MonkeyPatch, loss: Loss, values: int, weighted: bool
) -> None:
    generator = np.random.default_rng(2)
    scores = generator.normal(0, 4, (5000, loss.classes))
    targets = generator.integers(0, values, 5000).astype(np.float64)
    weights = generator.random(5000) if weighted else None
    slow = [one.tobytes() for one in (*loss.derivatives(scores, targets, weights), loss.predict(scores))]
    plain.undo()
    assert [one.tobytes() for one in (*loss.derivatives(scores, targets, weights), loss.predict(scores))] == slow


def test_derivatives_do_not_use_numpys_exponential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "exp", None)
    for loss, values in LOSSES:
        targets = np.arange(values, dtype=np.float64)
        assert np.isfinite(loss.derivatives(np.ones((values, loss.classes)), targets, None)).all()


def test_classes_are_summed_one_after_the_other() -> None:
    scores = np.random.default_rng(3).normal(0, 3, (500, 29))
    exponentials = exponential(scores - scores.max(axis=1, keepdims=True))
    sums = [reduce(add, row) for row in exponentials.tolist()]  # Python's own sum corrects itself from 3.12 on
    wanted = [[one / total for one in row] for row, total in zip(exponentials.tolist(), sums, strict=True)]
    assert sums != exponentials.sum(axis=1).tolist()  # the order shows
    assert Softmax(29).predict(scores).tolist() == wanted
