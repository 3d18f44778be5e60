"""The metrics against LightGBM's numbers for the same predictions, and against their definitions."""

from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.gbdt.evaluating import metrics
from kb.gbdt.inputs.queries import checked_gains


def lightgbms(
    name: str, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None, **options: Any
) -> list[float]:
    """LightGBM's metric of given predictions: scores that a loss without gradients leaves as they start."""
    classes = 1 if predictions.ndim == 1 else predictions.shape[1]
    group = options.pop("group", None)
    data = lightgbm.Dataset(
        np.arange(float(len(targets)))[:, None],
        targets,
        weight=weights,
        group=group,
        init_score=predictions,
        params={"verbose": -1, "feature_pre_filter": False},
    )
    found: dict[str, dict[str, list[float]]] = {}
    still = np.zeros(predictions.shape)
    parameters = {"metric": name, "num_class": classes, "verbose": -1, "num_threads": 1, **options}
    parameters["objective"] = lambda scores, data: (still, np.ones_like(still))
    lightgbm.train(parameters, data, 1, valid_sets=[data], callbacks=[lightgbm.record_evaluation(found)])
    return [values[0] for values in found["training"].values()]


def drawn(seed: int, weighted: bool) -> tuple[np.random.Generator, np.ndarray | None]:
    generator = np.random.default_rng(seed)
    return generator, generator.uniform(0.1, 3, 300).astype(np.float32).astype(np.float64) if weighted else None


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_metrics_of_numbers_are_lightgbms(seed: int, weighted: bool) -> None:
    generator, weights = drawn(seed, weighted)
    targets = generator.standard_normal(300).astype(np.float32).astype(np.float64)
    predictions = targets + generator.standard_normal(300)
    for name in ("l2", "rmse", "l1"):
        ours = getattr(metrics, name)(targets, predictions, weights)
        np.testing.assert_allclose(ours, lightgbms(name, targets, predictions, weights), rtol=1e-10)
    for name in ("huber", "quantile"):
        ours = getattr(metrics, name)(targets, predictions, weights, alpha=0.3)
        np.testing.assert_allclose(ours, lightgbms(name, targets, predictions, weights, alpha=0.3), rtol=1e-10)
    counts, means = np.floor(np.abs(targets * 3)), predictions  # LightGBM takes means that are not positive, too
    ours = metrics.poisson(counts, means, weights)
    np.testing.assert_allclose(ours, lightgbms("poisson", counts, means, weights), rtol=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_metrics_of_classes_are_lightgbms(seed: int, weighted: bool) -> None:
    generator, weights = drawn(seed, weighted)
    targets = generator.integers(0, 2, 300).astype(float)
    chances = np.round(generator.random(300), 2)  # with ties, halves, zeros and ones
    chances[:4], targets[2:4] = (0.5, 1.0, 0.0, 1.0), (1.0, 0.0)
    for name in ("binary_logloss", "binary_error", "auc"):
        ours = getattr(metrics, name)(targets, chances, weights)
        np.testing.assert_allclose(ours, lightgbms(name, targets, chances, weights), rtol=1e-10)
    labels = generator.integers(0, 4, 300).astype(float)
    chances = np.round(generator.dirichlet(np.ones(4), 300), 1)
    for name in ("multi_logloss", "multi_error"):
        ours = getattr(metrics, name)(labels, chances, weights)
        np.testing.assert_allclose(ours, lightgbms(name, labels, chances, weights), rtol=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gains", [None, [0.0, 1.0, 4.0, 4.5]])
@pytest.mark.parametrize("seed", [0, 1])
def test_ndcg_is_lightgbms(seed: int, gains: list[float] | None, weighted: bool) -> None:
    generator, weights = drawn(seed, weighted)
    labels = generator.integers(0, 4, 300).astype(float)
    labels[10:60] = 0.0  # queries in which nothing is relevant
    scores, group = np.round(generator.standard_normal(300), 1), np.array([10, 50, 1, 39, 200])
    ours = metrics.ndcg(labels, scores, group, (1, 3, 10, 500), checked_gains(gains), weights)
    options: dict[str, Any] = {"group": group, "eval_at": [1, 3, 10, 500]} | ({"label_gain": gains} if gains else {})
    np.testing.assert_allclose(ours, lightgbms("ndcg", labels, scores, weights, **options), rtol=1e-10)


ROWS = st.lists(
    st.tuples(st.booleans(), st.integers(-3, 3), st.sampled_from([0.25, 0.5, 1.0, 2.0])), min_size=1, max_size=30
)


@given(ROWS)
def test_auc_counts_pairs(rows: list[tuple[bool, int, float]]) -> None:
    ones = [(score, weight) for positive, score, weight in rows if positive]
    zeros = [(score, weight) for positive, score, weight in rows if not positive]
    pairs = [((a > b) + 0.5 * (a == b), v * w) for a, v in ones for b, w in zeros]
    wanted = sum(won * weight for won, weight in pairs) / sum(weight for _, weight in pairs) if pairs else 1.0
    targets, scores, weights = (np.array(column, float) for column in zip(*rows, strict=True))
    assert abs(metrics.auc(targets, scores, weights) - wanted) < 1e-12


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.randoms(use_true_random=False), st.integers(1, 14))
def test_ndcg_of_a_ranking_by_labels_is_one_and_of_any_other_not_more(labels: list[int], shuffle: Any, at: int) -> None:
    given_labels, groups = np.array(labels, float), np.array([len(labels)])
    scores = list(range(len(labels)))
    shuffle.shuffle(scores)
    (found,) = metrics.ndcg(given_labels, np.array(scores, float), groups, (at,))
    assert 0 <= found <= 1 + 1e-12
    np.testing.assert_allclose(metrics.ndcg(given_labels, given_labels, groups, (at,)), [1.0], rtol=1e-12)


def test_one_class_alone_has_an_auc_of_one_as_in_lightgbm() -> None:
    targets, scores = np.ones(5), np.arange(5.0)
    assert metrics.auc(targets, scores) == lightgbms("auc", targets, scores, None)[0] == 1.0
