"""Sampled metrics against simulation, recommenders against loops, splits, and tensors against arrays."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb import metrics
from kb.metrics import Interactions, recommenders, tensors
from tests.metrics.test_curves import rows
from tests.metrics.test_ranking import tables

RNG = np.random.default_rng(0)


def test_the_expected_sampled_metric_is_what_sampling_gives() -> None:
    n, m, k = 50, 12, 3
    hit_S = (np.arange(m + 1) < k).astype(float)
    expected_R = metrics.expected_sampled(hit_S, n)
    for place in (1, 2, 10, 30, 50):
        others = np.delete(np.arange(1, n + 1), place - 1)
        above = (RNG.choice(others, size=(20_000, m)) < place).sum(axis=1)
        assert (above < k).mean() == pytest.approx(expected_R[place - 1], abs=0.015)
    chance_RS = metrics.sampled_places(n, m)
    np.testing.assert_allclose(chance_RS.sum(axis=1), 1)
    # What counts places alone keeps its mean: the share of others above is that of the sampled.
    np.testing.assert_allclose(chance_RS @ np.arange(m + 1) / m, np.arange(n) / (n - 1))
    np.testing.assert_allclose(metrics.expected_sampled([1.0, 0.0], n), 1 - np.arange(n) / (n - 1), atol=1e-12)


def test_the_correction_has_the_least_bias_and_variance() -> None:
    n, m, gamma = 40, 8, 0.1
    value_R = (np.arange(n) < 5).astype(float)
    place_RS = metrics.sampled_places(n, m)

    def loss(f_S: np.ndarray) -> float:
        mean_R = place_RS @ f_S
        variance_R = place_RS @ f_S**2 - mean_R**2
        return float(((mean_R - value_R) ** 2 + gamma * variance_R).mean())

    best_S = metrics.corrected(value_R, m, gamma=gamma)
    for _ in range(30):
        assert loss(best_S) < loss(best_S + RNG.normal(0, 0.02, m + 1))
    plain_S = (np.arange(m + 1) < 5).astype(float)
    assert loss(best_S) < loss(plain_S) / 3
    first = metrics.corrected(value_R, m, chances_R=np.arange(n) == 0)
    assert first[0] == pytest.approx(1)
    for wrong in ({"gamma": 0.0}, {"gamma": True}, {"chances_R": [1.0]}, {"chances_R": [-1.0] * n}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            metrics.corrected(value_R, m, **wrong)
    with pytest.raises(ValueError, match="n must be"):
        metrics.sampled_places(1, 5)


def test_factors_solve_each_row_s_ridge_regression() -> None:
    target, weight = RNG.normal(size=(7, 9)), RNG.random((7, 9)) * (RNG.random((7, 9)) < 0.7)
    user_UF, item_IF = recommenders.alternate(target, weight, factors=3, penalty=0.5, rounds=4, seed=1)
    losses = []
    for rounds in (1, 4):
        a, b = recommenders.alternate(target, weight, factors=3, penalty=0.5, rounds=rounds, seed=1)
        losses.append((weight * (target - a @ b.T) ** 2).sum() + 0.5 * ((a**2).sum() + (b**2).sum()))
    assert losses[1] < losses[0]
    for i in range(9):  # the items came last
        root_U = np.sqrt(weight[:, i])
        left = np.vstack([user_UF * root_U[:, None], np.sqrt(0.5) * np.eye(3)])
        wanted = np.linalg.lstsq(left, np.append(target[:, i] * root_U, np.zeros(3)), rcond=None)[0]
        np.testing.assert_allclose(item_IF[i], wanted, atol=1e-10)
    for wrong in ({"penalty": 0.0}, {"factors": 0}, {"rounds": 0}, {"seed": 0.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            recommenders.alternate(target, weight, **({"factors": 1, "penalty": 1.0, "rounds": 1, "seed": 0} | wrong))
    with pytest.raises(ValueError, match="weights"):
        recommenders.alternate(target, -weight, factors=1, penalty=1.0, rounds=1, seed=0)


def test_small_recommenders_by_hand() -> None:
    stars = np.array([[5.0, 0, 4], [3, 2, 0], [0, 2, 0]])
    seen = stars > 0
    assert recommenders.popularity(seen)[1].tolist() == [2, 2, 1]
    cosine = {(0, 1): 1 / 2, (0, 2): 1 / 2**0.5, (1, 2): 0.0}
    near = recommenders.item_knn(seen, 5)
    assert near[1, 2] == pytest.approx(cosine[0, 2] + cosine[1, 2])
    assert recommenders.item_knn(seen, 1)[1].tolist() == pytest.approx([0, 0.5, cosine[0, 2]])
    biased = recommenders.bias_ratings(stars, damping=1.0)
    item_0 = (5 - 3.2 + 3 - 3.2) / 3
    item_1 = (2 - 3.2) * 2 / 3
    user_2 = (2 - 3.2 - item_1) / 2
    assert biased[2, 0] == pytest.approx(3.2 + item_0 + user_2)
    ratings, clicks = (
        recommenders.factor_ratings(stars, factors=2, penalty=0.1),
        recommenders.factor_seen(seen, factors=2),
    )
    assert np.abs(ratings - stars)[seen].max() < np.abs(recommenders.bias_ratings(stars) - stars)[seen].max()
    assert clicks[seen].mean() > clicks[~seen].mean()
    # What the two weigh: ratings only where there is one, what was seen 11 and all else 1.
    options = {"factors": 2, "seed": 0}
    rest = (stars - recommenders.bias_ratings(stars)) * seen
    a, b = recommenders.alternate(rest, seen * 1.0, penalty=0.1, rounds=10, **options)
    np.testing.assert_allclose(ratings, recommenders.bias_ratings(stars) + a @ b.T)
    a, b = recommenders.alternate(seen * 1.0, np.where(seen, 11.0, 1.0), penalty=50.0, rounds=8, **options)
    np.testing.assert_allclose(clicks, a @ b.T)
    for table in (stars, -1 * seen, np.full((3, 3), 0.5)):
        for of_seen in (recommenders.popularity, lambda it: recommenders.item_knn(it, 1), recommenders.factor_seen):
            with pytest.raises(ValueError, match="seen_UI must be 0 and 1"):
                of_seen(table)
    assert recommenders.popularity(seen.astype(np.int8)).tolist() == recommenders.popularity(seen).tolist()
    for call in (lambda: recommenders.item_knn(seen, 0), lambda: recommenders.bias_ratings(stars * 0)):
        with pytest.raises(ValueError, match="must"):
            call()


def small(times: Any) -> Interactions:
    n = len(times)
    return Interactions(np.arange(n) % 2, np.arange(n), np.arange(n) + 1.0, np.asarray(times), 2, n)


def test_splits() -> None:
    data = small([5, 1, 2, 2, 9, 0])
    past, future = metrics.split_at_time(data, 0.5)
    assert sorted(past.time_R.tolist()) == [0, 1]  # both rows of second 2 are of the later part
    assert past.time_R.max() < future.time_R.min()
    parts = metrics.split_at_random(data, 0.5, seed=3)
    assert sorted([*parts[0].item_R, *parts[1].item_R]) == list(range(6))
    assert len(parts[0]) == 3
    assert metrics.split_at_random(data, 0.5, seed=3)[0].item_R.tolist() == parts[0].item_R.tolist()
    train, last = metrics.split_last(small([1, 7, 3, 3, 3, 5]))
    assert last.item_R.tolist() == [1, 4]  # of two rows of one second the later one
    assert len(train) == 4
    assert data.stars().sum() == 21
    assert data.seen().sum() == 6
    for call in (
        lambda: metrics.split_at_time(data, 1.0),
        lambda: metrics.split_at_time(small([1, 1]), 0.5),
        lambda: metrics.split_at_random(data, 0.01),
        lambda: metrics.split_at_random(data, seed=0.5),
    ):
        with pytest.raises(ValueError, match="must"):
            call()


def test_movielens_is_whole_and_in_order() -> None:
    data = metrics.movielens()
    assert (len(data), data.num_users, data.num_items) == (100_000, 943, 1682)
    assert (np.diff(data.time_R) >= 0).all()
    assert data.seen().sum() == 100_000
    assert set(data.stars_R) == {1, 2, 3, 4, 5}


@settings(max_examples=30, deadline=None)
@given(rows(), tables(), st.integers(1, 12))
def test_tensors_give_what_arrays_give(case: Any, table: Any, k: int) -> None:
    y, score, weight = case
    score = score.astype(np.float32 if score.dtype == np.float16 else score.dtype)
    some = None if weight is None else torch.from_numpy(weight)
    found = tensors.roc_auc_score(torch.from_numpy((y > 0).astype(np.int64)), torch.from_numpy(score), some)
    assert float(found) == pytest.approx(metrics.roc_auc_score(y, score, sample_weight=weight), abs=1e-12)
    gain, order = table[0], np.argsort(table[1], axis=1, kind="stable").argsort(axis=1).astype(np.float64)
    for name in ("recall_at_k", "ndcg_at_k"):
        ours = getattr(tensors, name)(torch.from_numpy(gain), torch.from_numpy(order), k)
        np.testing.assert_allclose(ours.numpy(), getattr(metrics, name)(gain, order, k), atol=1e-6)


def test_tensors_refuse_and_do_not_lose_count() -> None:
    y, score = torch.tensor([0, 1]), torch.tensor([0.1, 0.9])
    for wrong in ((y[:1], score), (y * 2, score), (y, score * torch.nan), (y, score, -score), (y[:0], score[:0])):
        with pytest.raises(ValueError, match=r"wanted|must"):
            tensors.roc_auc_score(*wrong)
    for k, labels in ((0, y[None]), (1, y), (1, -y[None]), (1, y[None] * torch.nan)):
        with pytest.raises(ValueError, match=r"k must|wanted|y_true"):
            tensors.recall_at_k(labels, score[None], k)
    with pytest.raises(ValueError, match="sample_weight"):
        tensors.roc_auc_score(y, score, score * torch.nan)
    assert torch.isnan(tensors.roc_auc_score(y * 0, score))
    # float32 stops counting at 2^24: one negative above a crowd below is one pair in 20 million.
    weight = torch.tensor([20_000_000.0, 1.0, 1.0])
    assert float(tensors.roc_auc_score(torch.tensor([0, 1, 0]), torch.arange(3.0), weight)) == 20_000_000 / 20_000_001
    hidden = torch.tensor([[-torch.inf, 1.0]])
    assert tensors.recall_at_k(torch.tensor([[1, 0]]), hidden, 2).item() == 0
