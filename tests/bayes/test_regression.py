"""Priors as penalties beside scikit-learn's, Laplace's approximation, and chains whose target is known."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize
from sklearn.linear_model import LogisticRegression, Ridge

from kb.bayes import chains, penalties
from kb.bayes.logistic import LogisticPosterior
from kb.bayes.penalties import LaplacePosterior


def examples(seed: int, count: int = 40, width: int = 3) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(count, width))
    return x, x @ np.arange(1, width + 1) + draw.normal(size=count)


@given(st.integers(0, 1000), st.integers(1, 5), st.floats(0.1, 5), st.floats(0.1, 5))
@settings(max_examples=25)
def test_a_gaussian_prior_is_ridge(seed: int, width: int, noise: float, prior_sd: float) -> None:
    x, y = examples(seed, 12, width)
    ours = penalties.ridge_posterior(x, y, noise=noise, prior_sd=prior_sd)
    theirs = Ridge(alpha=noise**2 / prior_sd**2, fit_intercept=False).fit(x, y)
    np.testing.assert_allclose(ours.mean, theirs.coef_, atol=1e-8)
    # The covariance by Bayes' rule in the space of the data.
    gain = prior_sd**2 * x.T @ np.linalg.inv(noise**2 * np.eye(12) + prior_sd**2 * x @ x.T)
    np.testing.assert_allclose(ours.covariance, prior_sd**2 * (np.eye(width) - gain @ x), atol=1e-8)
    np.testing.assert_allclose(ours.deviation**2, np.diag(ours.covariance))


def test_one_weight_by_hand() -> None:
    # Precision 2/4 of the data and 1/1 of the prior: mean 0.5 y-bar / 1.5.
    found = penalties.ridge_posterior(np.ones((2, 1)), np.array([2.0, 4.0]), noise=2.0, prior_sd=1.0)
    assert found.mean == pytest.approx([1.0])
    assert found.covariance[0, 0] == pytest.approx(1 / 1.5)


@given(st.floats(-6, 6), st.floats(0.3, 2), st.floats(0.2, 3))
@settings(max_examples=40)
def test_a_laplace_prior(y: float, noise: float, scale: float) -> None:
    posterior = LaplacePosterior(y, noise, scale)
    best = optimize.minimize_scalar(lambda t: (y - t) ** 2 / (2 * noise**2) + abs(t) / scale, bracket=(-8, 8))
    assert posterior.mode == pytest.approx(best.x, abs=1e-4)
    line = np.linspace(-25, 25, 200_001)
    density = np.exp(-((y - line) ** 2) / (2 * noise**2) - np.abs(line) / scale)
    density /= density.sum()
    assert posterior.mean == pytest.approx(density @ line, abs=1e-5)
    assert posterior.negative == pytest.approx(density[line < 0].sum(), abs=1e-3)
    assert posterior.median == pytest.approx(np.interp(0.5, np.cumsum(density), line), abs=1e-3)


def test_a_laplace_prior_far_out_and_by_hand() -> None:
    assert (LaplacePosterior(3.0, 1.0, 0.5).mode, LaplacePosterior(-3.0, 1.0, 0.5).mode) == (1.0, -1.0)
    assert LaplacePosterior(1.9, 1.0, 0.5).mode == 0
    assert math.copysign(1, LaplacePosterior(-1.9, 1.0, 0.5).mode) == 1
    for side in (-1, 1):
        far = LaplacePosterior(side * 300.0, 1.0, 0.5)
        assert (far.mean, far.median) == pytest.approx((side * 298, side * 298))
    narrow = LaplacePosterior(0.5, 1.0, 1e-3)  # nearly all prior
    assert 0 < narrow.median < narrow.mean < 2e-6


@pytest.mark.parametrize(
    ("known", "mean", "negative", "median"),
    # What mpmath gives with 40 digits.
    [
        ((1.0, 1000.0, 0.001), 2.000000000418734e-12, 0.4999999995, 1.000000000497e-12),
        ((-3.0, 40.0, 0.01), -3.7499988294439e-07, 0.5000093749988281, -1.8750172271053415e-07),
        ((0.5, 1.0, 0.01), 9.995253253416245e-05, 0.4975004997626627, 5.011097664660133e-05),
        ((2.0, 1.0, 1.0), 1.1610889078431454, 0.08054445392157276, 1.1066751704074511),
        ((892.25, 0.001, 1000.0), 892.249999999, 0.0, 892.249999999),
        ((-7.0, 300.0, 4.0), -0.002486679688878406, 0.5001555002960069, -0.0012439748041527792),
    ],
)
def test_a_laplace_prior_keeps_its_digits(
    known: tuple[float, ...], mean: float, negative: float, median: float
) -> None:
    found = LaplacePosterior(*known)
    assert (found.mean, found.median) == pytest.approx((mean, median), rel=1e-5, abs=0)
    assert found.negative == pytest.approx(negative, rel=1e-12)


def test_a_laplace_prior_of_any_scale_by_integrals() -> None:
    draw = np.random.default_rng(0)
    for noise, scale in 10 ** draw.uniform(-3, 3, (40, 2)):
        y = draw.choice([-1, 1]) * 10 ** draw.uniform(-3, 3)
        found = LaplacePosterior(y, noise, scale)
        twin = LaplacePosterior(-y, noise, scale)
        assert (found.mean, found.negative) == pytest.approx((-twin.mean, 1 - twin.negative))
        width = 1 / max(1 / scale, 1 / noise)
        sides = [laplace_side(y * side, noise, scale, found.mode, width) for side in (-1, 1)]
        whole = sides[0][0] + sides[1][0]
        assert found.negative == pytest.approx(sides[0][0] / whole, rel=1e-7, abs=1e-12)
        assert found.mean == pytest.approx((sides[1][1] - sides[0][1]) / whole, rel=1e-7, abs=1e-7 * width)


def laplace_side(y: float, noise: float, scale: float, mode: float, width: float) -> tuple[float, float]:
    """The integrals over t > 0 of the density and of t times it, both times what is the same for both sides."""
    top = abs(mode) * (abs(y) - abs(mode) / 2) / noise**2 - abs(mode) / scale  # the exponent at the mode

    def density(t: float) -> float:
        return math.exp(t * (y - t / 2) / noise**2 - t / scale - top)

    reach = [far * size for far in (0, 1, 8, 40) for size in (width, noise)]
    ends = sorted({0.0, *(max(0.0, abs(mode) + way * far) for far in reach for way in (-1, 1))})
    pieces = list(itertools.pairwise(ends))
    return (
        math.fsum(integrate.quad(density, *piece)[0] for piece in pieces),
        math.fsum(integrate.quad(lambda t: t * density(t), *piece)[0] for piece in pieces),
    )


@pytest.mark.parametrize("prior_sd", [0.3, 1.0, 10.0])
def test_the_mode_is_scikit_learns_and_the_density_is_the_definition(prior_sd: float) -> None:
    x, score = examples(3)
    y = (score > 0).astype(float)
    posterior = LogisticPosterior(x, y, prior_sd)
    theirs = LogisticRegression(C=prior_sd**2, fit_intercept=False, tol=1e-12, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(posterior.mode(), theirs.coef_[0], rtol=1e-4, atol=1e-6)
    weights = np.array([[0.1, -0.2, 0.3], [1.0, 2.0, 3.0]])
    for row, log in zip(weights, posterior.log_density(weights), strict=True):
        chances = [1 / (1 + math.exp(-float(x_D @ row))) for x_D in x]
        wanted = sum(math.log(c if label else 1 - c) for c, label in zip(chances, y, strict=True))
        assert log == pytest.approx(wanted - (row**2).sum() / (2 * prior_sd**2))
    step = 1e-5
    for place, unit in enumerate(np.eye(3)):
        up, down = weights[0] + step * unit, weights[0] - step * unit
        slope = (posterior.log_density(up[None]) - posterior.log_density(down[None]))[0] / (2 * step)
        assert posterior.gradient(weights[0])[place] == pytest.approx(slope, abs=1e-6)
        bend = (posterior.gradient(down) - posterior.gradient(up)) / (2 * step)
        np.testing.assert_allclose(posterior.curvature(weights[0])[place], bend, atol=1e-6)


def test_an_intercept_without_a_prior_and_classes_that_are_separated() -> None:
    x, score = examples(5)
    y = (score > 1).astype(float)
    with_ones = np.column_stack([np.ones(len(x)), x])
    ours = LogisticPosterior(with_ones, y, np.array([np.inf, 1, 1, 1])).mode()
    theirs = LogisticRegression(C=1.0, tol=1e-12, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(ours, [theirs.intercept_[0], *theirs.coef_[0]], atol=1e-5)
    line = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    with pytest.raises(ValueError, match="separated"):
        LogisticPosterior(line, np.array([0, 0, 1, 1]), np.inf).mode()
    assert LogisticPosterior(line, np.array([0, 0, 1, 1]), 1.0).mode()[0] > 0
    middle = LogisticPosterior(with_ones, y, 2.0)
    np.testing.assert_allclose(middle.laplace().covariance @ middle.curvature(middle.mode()), np.eye(4), atol=1e-9)
    np.testing.assert_allclose(middle.laplace().mean, middle.mode())
    laplace = LogisticPosterior(1e3 * line, np.array([0, 0, 1, 1]), 100.0).laplace()
    assert np.isfinite(laplace.deviation).all()


def test_columns_that_depend_on_each_other() -> None:
    x, score = examples(4, 4, 6)
    with pytest.raises(ValueError, match=r"columns that depend on each other, and prior_sd=1e\+20 is too large"):
        penalties.ridge_posterior(x, score, noise=1.0, prior_sd=1e20)
    assert np.isfinite(penalties.ridge_posterior(x, score, noise=1.0, prior_sd=10.0).mean).all()
    scales = np.array([1e-9, 1.0, 1e9])  # far apart, but no dependence
    x, score = examples(4)
    wide = penalties.ridge_posterior(x * scales, score, noise=1.0, prior_sd=1e15)
    np.testing.assert_allclose(wide.mean * scales, np.linalg.lstsq(x, score, rcond=None)[0], rtol=1e-6)
    line, labels = np.array([-2.0, -1.0, 1.0, 2.0, 0.5, -0.5]), np.array([0, 1, 0, 1, 0, 1])
    twice = np.column_stack([line, 2 * line]) * 1e8
    with pytest.raises(ValueError, match="columns that depend on each other"):
        LogisticPosterior(twice, labels, 1.0).mode()


def test_chains_find_a_known_gaussian() -> None:
    covariance = np.array([[1.0, 0.8], [0.8, 2.0]])
    precision = np.linalg.inv(covariance)
    found = chains.metropolis(
        lambda w: -0.5 * np.einsum("cd,de,ce->c", w, precision, w),
        np.random.default_rng(0).normal(size=(6, 2)),
        1.5 * np.linalg.cholesky(covariance),
        draws=4000,
        seed=1,
    )
    kept = found[:, 500:]
    np.testing.assert_allclose(np.cov(kept.reshape(-1, 2).T), covariance, atol=0.15)
    for place in range(2):
        size = chains.effective_size(kept[..., place])
        assert 1000 < size < 8000
        assert abs(kept[..., place].mean()) < 4 * math.sqrt(covariance[place, place] / size)
        assert chains.rhat(kept[..., place]) < 1.01
    moved = (np.diff(found[..., 0], axis=1) != 0).mean()
    assert 0.2 < moved < 0.6
    everywhere = chains.metropolis(lambda w: np.zeros(len(w)), np.zeros((2, 1)), np.eye(1), draws=5, seed=0)
    assert (np.diff(everywhere[..., 0], axis=1) != 0).all()
    root = np.array([[1.0, 0.0], [3.0, 0.5]])  # where all is accepted, steps have the covariance root @ root.T
    free = chains.metropolis(lambda w: np.zeros(len(w)), np.zeros((4, 2)), root, draws=5000, seed=0)
    np.testing.assert_allclose(np.cov(np.diff(free, axis=1).reshape(-1, 2).T), root @ root.T, atol=0.3)


@pytest.mark.parametrize(
    ("slow", "shift", "size", "ratio"),
    # What arviz 0.23.4 gives (ess_bulk, rhat_rank).
    [(0.0, 0.0, 1035.60060893, 1.00107623707), (0.9, 0.0, 69.7011702662, 1.08413314541)],
)
def test_diagnostics_are_those_of_arviz(slow: float, shift: float, size: float, ratio: float) -> None:
    noise = np.random.default_rng(7).standard_normal((4, 300))
    x = np.zeros((4, 300))
    for t in range(1, 300):
        x[:, t] = slow * x[:, t - 1] + noise[:, t]
    x[0] += shift
    assert chains.effective_size(x) == pytest.approx(size)
    assert chains.rhat(x) == pytest.approx(ratio)


def test_diagnostics_see_what_they_should() -> None:
    draw = np.random.default_rng(0)
    good = draw.normal(size=(4, 1000))
    assert chains.rhat(good) < 1.01
    assert 3000 < chains.effective_size(good) < 5000
    away, wide = good.copy(), good.copy()
    away[0] += 1
    wide[0] *= 3  # the means agree, only the folded draws do not
    assert chains.rhat(away) > 1.05
    assert chains.rhat(wide) > 1.05
    assert chains.rhat(draw.standard_cauchy(size=(4, 1000))) < 1.01
    slow = np.zeros((4, 20_000))
    noise = draw.standard_normal(slow.shape)
    for t in range(1, slow.shape[1]):
        slow[:, t] = 0.8 * slow[:, t - 1] + noise[:, t]
    assert chains.effective_size(slow) == pytest.approx(80_000 * 0.2 / 1.8, rel=0.15)
    stuck = np.ones((2, 20))
    assert np.isnan([chains.rhat(stuck), chains.effective_size(stuck)]).all()
    np.testing.assert_allclose(chains.autocovariance(good[:1, :50])[0], chains.autocovariance_loop(good[0, :50]))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: penalties.ridge_posterior(np.ones((2, 2)), np.ones(3), noise=1.0, prior_sd=1.0), "row for each"),
        (lambda: penalties.ridge_posterior(np.ones((2, 2)), np.array([1, np.nan]), noise=1.0, prior_sd=1.0), "finite"),
        (lambda: penalties.ridge_posterior(np.ones((2, 2)), np.ones(2), noise=0.0, prior_sd=1.0), "noise"),
        (lambda: LaplacePosterior(math.nan, 1.0, 1.0), "y must"),
        (lambda: LaplacePosterior(1.0, 1.0, 0.0), "scale"),
        (lambda: LogisticPosterior(np.ones((2, 2)), np.array([0, 2]), 1.0), "0 or 1"),
        (lambda: LogisticPosterior(np.ones((2, 2)), np.array([0, 1]), np.ones(3)), "prior_sd"),
        (lambda: chains.rhat(np.zeros((2, 9))), "ten"),
        (lambda: chains.effective_size(np.full((2, 20), np.nan)), "finite"),
        (lambda: chains.metropolis(lambda w: w[:, 0] / 0 * 0, np.zeros((2, 1)), np.eye(1), draws=5, seed=0), "starts"),
        (lambda: chains.metropolis(lambda w: w[:, 0], np.zeros((2, 1)), np.eye(2), draws=5, seed=0), "step"),
        (lambda: chains.metropolis(lambda w: w[:, 0], np.zeros((2, 1)), np.eye(1), draws=0, seed=0), "draws"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_bad_input(call, name: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=name):
        call()
