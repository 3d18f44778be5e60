"""NCE, negative sampling and the sampled softmax against their definitions; the bound on information."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kb import contrastive as kb
from tests.contrastive.drawn import assert_same, few, rows


def test_nce_by_hand() -> None:
    # One draw of data, two of noise: k = 2. p 0.6 and q 0.3 are even odds; p 0.2 and q 0.5 are 0.2 to 1.
    model, noise = torch.tensor([0.6]).log(), torch.tensor([0.3]).log()
    found = kb.nce_loss(model, noise, torch.tensor([0.2, 0.6]).log(), torch.tensor([0.5, 0.3]).log())
    assert float(found) == pytest.approx(-math.log(0.5) - math.log(1 / 1.2) - math.log(0.5))


@few
@given(st.integers(1, 4), st.integers(1, 8), st.integers(0, 999))
def test_nce_is_its_loop(data: int, noise: int, seed: int) -> None:
    q = rows(2, max(data, noise), seed + 1).detach()
    assert_same(
        lambda a, b: kb.nce_loss(a[0], q[0, :data], b[0], q[1, :noise]),
        lambda a, b: kb.nce_loss_loop(a[0], q[0, :data], b[0], q[1, :noise]),
        rows(1, data, seed),
        rows(1, noise, seed + 2),
    )


def test_many_draws_in_half_precision_overflow_nothing() -> None:
    score = torch.zeros(200_000, dtype=torch.float16)  # their sum is more than float16 has
    found = kb.nce_loss(score, score, score, score)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(2 * math.log(2))


def test_negative_sampling_is_nce_with_uniform_noise_and_as_many_draws_as_words() -> None:
    data, noise = rows(1, 3, 0)[0], rows(1, 12, 1)[0]  # V = k = 4
    same = kb.nce_loss(data, torch.full((3,), -math.log(4)), noise, torch.full((12,), -math.log(4)))
    torch.testing.assert_close(kb.negative_sampling_loss(data, noise), same)


@few
@given(st.integers(1, 4), st.integers(2, 6), st.integers(0, 999))
def test_with_all_words_sampled_once_it_is_cross_entropy(count: int, words: int, seed: int) -> None:
    target = torch.arange(count) % words
    for log_q in (None, torch.full((words,), -3.0, dtype=torch.float64)):
        assert_same(
            lambda query, table, log_q=log_q: kb.sampled_softmax_loss(query, table, target, torch.arange(words), log_q),
            lambda query, table: F.cross_entropy(query @ table.T, target),
            rows(count, 3, seed),
            rows(words, 3, seed + 1),
        )


@pytest.mark.parametrize("corrected", [True, False])
def test_the_correction_takes_the_sampler_out_of_the_gradient(corrected: bool) -> None:
    # Every word as often as q says: the push on two words is as their probabilities; without the correction as p q.
    counts = torch.tensor([600, 300, 100])
    drawn, log_q = torch.arange(3).repeat_interleave(counts), (counts.double() / 1000).log()
    s = torch.tensor([[0.2, -0.5, 0.3]], dtype=torch.float64, requires_grad=True)
    loss = kb.sampled_softmax_loss(s, torch.eye(3).double(), torch.tensor([0]), drawn, log_q if corrected else None)
    (gradient,) = torch.autograd.grad(loss, s)
    p = (s if corrected else s + log_q).softmax(1)[0]
    torch.testing.assert_close(gradient[0, 1] / gradient[0, 2], p[1] / p[2])


def log_normal(x: Tensor, scale: float) -> Tensor:
    return -0.5 * (x / scale) ** 2 - math.log(scale) - 0.5 * math.log(2 * math.pi)


def features(x: Tensor) -> Tensor:
    return torch.stack((-0.5 * x**2, torch.ones_like(x)), dim=1)


def fitted(n: int, k: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """What NCE finds for a standard normal among draws that are twice as wide; the data; the noise."""
    generator = torch.Generator().manual_seed(seed)
    data = torch.randn(n, generator=generator, dtype=torch.float64)
    noise = 2 * torch.randn(n * k, generator=generator, dtype=torch.float64)
    found = kb.fit_nce(features(data), features(noise), log_normal(data, 2.0), log_normal(noise, 2.0))
    return found, data, noise


def test_nce_finds_the_normaliser_within_its_own_standard_error() -> None:
    n, k, grid = 300, 4, torch.arange(-12, 12, 0.01, dtype=torch.float64)
    wanted = torch.tensor([1.0, -0.5 * math.log(2 * math.pi)], dtype=torch.float64)
    errors = torch.stack([fitted(n, k, seed)[0] for seed in range(40)]) - wanted
    told = kb.nce_covariance(features(grid), log_normal(grid, 1.0), log_normal(grid, 2.0), k=k, step=0.01)
    ratio = n * errors.square().mean(0) / told.diagonal()
    assert ((ratio > 0.5) & (ratio < 1.7)).all()  # a mean of 40 squares: its standard error is 0.22


def test_more_noise_comes_near_to_maximum_likelihood() -> None:
    grid = torch.arange(-12, 12, 0.01, dtype=torch.float64)
    densities = features(grid), log_normal(grid, 1.0), log_normal(grid, 2.0)
    told = [float(kb.nce_covariance(*densities, k=k, step=0.01)[0, 0]) for k in (1, 10, 1000)]
    assert told[0] > told[1] > told[2] > 2  # of a precision of 1 by maximum likelihood: 2 / N
    assert told[2] == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize("k", [1, 4])
def test_a_normaliser_alone_does_not_vary_with_noise_like_the_data(k: int) -> None:
    # Of a constant and equal densities NCE looks at nothing but the counts, which are as k says: it is always 0.
    grid = torch.arange(-8, 8, 0.01, dtype=torch.float64)
    density = log_normal(grid, 1.0)
    told = kb.nce_covariance(torch.ones(len(grid), 1).double(), density, density, k=k, step=0.01)
    assert float(told) == pytest.approx(0, abs=1e-9)
    found = kb.fit_nce(torch.ones(3, 1), torch.ones(3 * k, 1), torch.zeros(3), torch.zeros(3 * k))
    assert float(found) == pytest.approx(0, abs=1e-9)


def test_fit_nce_has_no_slope_left() -> None:
    found, data, noise = fitted(50, 2, 0)
    found.requires_grad_()
    model = features(data) @ found, features(noise) @ found
    loss = kb.nce_loss(model[0], log_normal(data, 2.0), model[1], log_normal(noise, 2.0))
    assert torch.autograd.grad(loss, found)[0].abs().max() < 1e-8


def bounds(information: float, k: int, repeats: int) -> Tensor:
    generator, rho = torch.Generator().manual_seed(0), kb.correlation_for(information, 4)
    draws = [kb.correlated_gaussians(k, 4, rho, generator=generator) for _ in range(repeats)]
    return torch.stack([kb.info_nce_bound(kb.log_density_ratio(x, y, rho)) for x, y in draws])


def test_the_bound_is_below_the_information_and_below_log_k() -> None:
    assert kb.correlation_for(-0.5 * math.log(0.64), 1) == pytest.approx(0.6)
    assert kb.correlation_for(-2 * math.log(0.64), 4) == pytest.approx(0.6)
    for information, k in ((1.0, 64), (6.0, 8), (12.0, 64)):
        found = bounds(information, k, 60)
        assert found.max() <= math.log(k)  # always, not only in the mean
        assert float(found.mean()) < information
    assert float(bounds(1.0, 512, 10).mean()) == pytest.approx(1.0, abs=0.06)
    assert float(bounds(12.0, 8, 20).mean()) == pytest.approx(math.log(8), abs=0.01)


def test_the_critic_is_the_ratio_of_densities_and_a_factor_of_the_query_changes_nothing() -> None:
    x, y, rho = torch.tensor([[0.3], [1.0]]).double(), torch.tensor([[-0.7], [0.2]]).double(), 0.8
    scores = kb.log_density_ratio(x, y, rho)
    for i in range(2):
        given_x = torch.distributions.Normal(rho * x[i], math.sqrt(1 - rho**2)).log_prob(y[:, 0])
        torch.testing.assert_close(scores[i], given_x - log_normal(y[:, 0], 1.0))
    torch.testing.assert_close(kb.info_nce_bound(scores), kb.info_nce_bound(scores + torch.tensor([[5.0], [-3.0]])))


def test_what_is_refused() -> None:
    one, two, table, ids = torch.zeros(1), torch.zeros(2), torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="model_N and its noise must be of one length"):
        kb.nce_loss(one, two, two, two)
    with pytest.raises(ValueError, match="model_M must have a draw"):
        kb.nce_loss(one, one, torch.zeros(0), torch.zeros(0))
    with pytest.raises(TypeError, match="score_N must be a floating-point tensor of one axis"):
        kb.negative_sampling_loss(ids, one)
    with pytest.raises(ValueError, match="sampled_M must be from 0 to 2, got from -1 to -1"):
        kb.sampled_softmax_loss(torch.zeros(2, 2), table, ids, ids - 1)
    with pytest.raises(TypeError, match="sampled_M must be int64"):
        kb.sampled_softmax_loss(torch.zeros(2, 2), table, ids, ids.float())
    with pytest.raises(ValueError, match=r"target_N must be \[1\]"):
        kb.sampled_softmax_loss(torch.zeros(1, 2), table, ids, ids)
    with pytest.raises(ValueError, match=r"log_q_V must be \[3\]"):
        kb.sampled_softmax_loss(torch.zeros(2, 2), table, ids, ids, torch.zeros(2))
    with pytest.raises(ValueError, match="no minimum was found"):
        kb.fit_nce(torch.tensor([[1.0], [2.0]]), torch.tensor([[-1.0], [-2.0]]), two, two)
    with pytest.raises(ValueError, match="no minimum was found"):  # so far apart that the slope is 0 in float64
        kb.fit_nce(torch.tensor([[5.0, 1.0], [6.0, 1.0]]), torch.tensor([[-5.0, 1.0], [-6.0, 1.0]]), two, two)
    with pytest.raises(ValueError, match="features and log-densities must be finite"):
        kb.fit_nce(torch.full((2, 1), torch.nan), torch.zeros(2, 1), two, two)
    with pytest.raises(ValueError, match="count must be an integer of at least 1"):
        kb.correlated_gaussians(0, 2, 0.5, generator=torch.Generator())
    with pytest.raises(ValueError, match=r"correlation must be between -1 and 1, got 1\.0"):
        kb.log_density_ratio(table, table, 1.0)
    with pytest.raises(ValueError, match="information must be a number of at least 0"):
        kb.correlation_for(-1.0, 2)
    with pytest.raises(TypeError, match="noise_M must be a floating-point tensor of one axis"):
        kb.nce_loss(one, one, two, [0.0, 0.0])  # type: ignore[arg-type]
    for data, logs in ((table[:0], one[:0]), (table, two), (table[0], two)):
        with pytest.raises(ValueError, match="data_NF must be draws by features, with a log-density for each draw"):
            kb.fit_nce(data, table, logs, torch.zeros(3))
    with pytest.raises(ValueError, match="noise_MF must be draws by features"):
        kb.fit_nce(table, table[:, :1], torch.zeros(3), torch.zeros(3))
    for settings in ({"k": 0, "step": 0.1}, {"k": math.nan, "step": 0.1}, {"k": 1, "step": 0}):
        with pytest.raises(ValueError, match=r"(k|step) must be a number above 0"):
            kb.nce_covariance(table, torch.zeros(3), torch.zeros(3), **settings)
    with pytest.raises(ValueError, match=r"y_MD must have rows of 2 numbers, got \(3, 1\)"):  # it would broadcast
        kb.log_density_ratio(table, table[:, :1], 0.5)
    with pytest.raises(ValueError, match="scores_KK must be square"):
        kb.info_nce_bound(torch.zeros(2, 3))
