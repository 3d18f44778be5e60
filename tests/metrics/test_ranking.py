"""Metrics of lists by hand, equal to loops over definitions, to scikit-learn and LightGBM; ties, empty queries."""

import itertools
import warnings
from typing import Any

import lightgbm
import numpy as np
import pytest
import sklearn.metrics as theirs
from hypothesis import given, settings
from hypothesis import strategies as st

from kb import metrics
from kb.gbdt.evaluating import metrics as lightgbm_metrics
from kb.metrics import ranking_loops as loops

GAINS, PLACES = np.array([[0, 1, 0, 1, 1]]), np.array([[5.0, 4, 3, 2, 1]])  # a list of five, and two places after
MORE = np.array([[0, 1, 0, 1, 1, 0, 1]])


@st.composite
def tables(draw: Any) -> tuple[np.ndarray, np.ndarray]:
    """Gains from 0 to 3 and scores with ties, every row with something relevant or, now and then, without."""
    shape = draw(st.integers(1, 4)), draw(st.integers(2, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.integers(0, 4, shape) * (rng.random(shape) < 0.5), rng.integers(0, draw(st.sampled_from([2, 99])), shape)


def test_one_list_by_hand() -> None:
    scores = np.arange(7.0, 0, -1)[None]
    k = 3
    assert metrics.recall_at_k(MORE, scores, k)[0] == 1 / 4
    assert metrics.recall_at_k(MORE, scores, k, out_of="attainable")[0] == 1 / 3
    assert metrics.precision_at_k(MORE, scores, k)[0] == 1 / 3
    assert metrics.precision_at_k(MORE, scores, 10)[0] == 4 / 10
    assert metrics.hit_rate_at_k(MORE, scores, 1)[0] == 0
    assert metrics.hit_rate_at_k(MORE, scores, 2)[0] == 1
    assert metrics.reciprocal_rank(MORE, scores)[0] == 1 / 2
    assert metrics.reciprocal_rank(MORE, scores, 1)[0] == 0
    wanted = {"relevant": 4, "attainable": 3, "found": 1}
    for out_of, number in wanted.items():
        assert metrics.average_precision(MORE, scores, k, out_of=out_of)[0] == pytest.approx(0.5 / number)
    found = 1 / np.log2(3)
    assert metrics.ndcg_at_k(MORE, scores, k)[0] == pytest.approx(found / (1 + 1 / np.log2(3) + 0.5))
    graded, order = [[3, 0, 1]], [[1.0, 3.0, 2.0]]
    assert metrics.ndcg_at_k(graded, order)[0] == pytest.approx((1 / np.log2(3) + 3 / 2) / (3 + 1 / np.log2(3)))
    exponential = metrics.ndcg_at_k(graded, order, gain="exponential")[0]
    assert exponential == pytest.approx((1 / np.log2(3) + 7 / 2) / (7 + 1 / np.log2(3)))
    tiny = 1e-20 * np.array(graded)  # 2^g - 1 is g ln 2 here, so that both gains agree
    linear = metrics.ndcg_at_k(tiny, order)[0]
    assert metrics.ndcg_at_k(tiny, order, gain="exponential")[0] == pytest.approx(linear, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(tables(), st.integers(1, 11), st.sampled_from(["input", "best", "worst"]))
def test_tables_equal_the_loops(case: Any, k: int, ties: Any) -> None:
    gain, score = case
    for row, (gains, scores) in enumerate(zip(gain.tolist(), score.tolist(), strict=True)):
        key = {"input": lambda one: 0, "best": lambda one: -one[1], "worst": lambda one: one[1]}[ties]
        pairs = sorted(zip(scores, gains, strict=True), key=lambda one: (-one[0], key(one)))
        ranked, relevant = [gain for _, gain in pairs], sum(gain > 0 for gain in gains)
        ideal = loops.dcg_loop(sorted(gains, reverse=True), k)
        precisions = loops.precisions_loop(ranked, k)
        wanted: list[float] = [float("nan")] * 7
        if relevant:
            recall = loops.recall_loop(ranked, k, relevant)
            wanted = [recall, recall * relevant / k, float(recall > 0), loops.reciprocal_rank_loop(ranked, k)]
            wanted += [
                sum(precisions) / relevant,
                sum(precisions) / min(k, relevant),
                loops.dcg_loop(ranked, k) / ideal,
            ]
        names = ("recall_at_k", "precision_at_k", "hit_rate_at_k", "reciprocal_rank", "average_precision")
        ours = [getattr(metrics, name)(gain, score, k, ties=ties)[row] for name in names]
        ours += [metrics.average_precision(gain, score, k, out_of="attainable", ties=ties)[row]]
        ours += [metrics.ndcg_at_k(gain, score, k, ties=ties)[row]]
        np.testing.assert_allclose(ours, wanted, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(tables(), st.sampled_from([None, 1, 3, 20]), st.booleans())
def test_scikit_learn_s_gains(case: Any, k: int | None, distinct: bool) -> None:
    gain, score = case
    gain = gain.astype(float)
    gain[0, 0] += 5  # which makes it several grades, as scikit-learn wants
    score = np.argsort(np.argsort(score, axis=1, kind="stable"), axis=1) if distinct else score
    weight = np.arange(1, len(gain) + 1)
    for options in ({}, {"sample_weight": weight}, {"ignore_ties": distinct}):
        for name, more in (("ndcg_score", {}), ("dcg_score", {"log_base": 3.0})):
            ours, other = (getattr(m, name)(gain, score, k=k, **options, **more) for m in (metrics, theirs))
            assert ours == pytest.approx(other, rel=1e-13, abs=1e-15)
    assert metrics.dcg_score([[1, 2, 4]], [[1, 1, 0]], k=1, ignore_ties=True) == 2  # the last of equals, as theirs
    assert metrics.dcg_score(-gain, score, k=k) == pytest.approx(theirs.dcg_score(-gain, score, k=k), rel=1e-13)


def test_averaged_ties_are_the_mean_over_all_orders() -> None:
    gain, score = [2, 0, 1, 0, 3], [1.0, 1.0, 1.0, 0.0, 0.0]
    orders = [[*first, *last] for first in itertools.permutations([2, 0, 1]) for last in itertools.permutations([0, 3])]
    for k in (1, 2, 4):
        ideal = loops.dcg_loop([3, 2, 1, 0, 0], k)
        ndcg = np.mean([loops.dcg_loop(order, k) for order in orders]) / ideal
        assert metrics.ndcg_at_k([gain], [score], k)[0] == pytest.approx(ndcg)
        recall = np.mean([loops.recall_loop(order, k, 3) for order in orders])
        assert metrics.recall_at_k([gain], [score], k, ties="average")[0] == pytest.approx(recall)
    for name in ("hit_rate_at_k", "reciprocal_rank", "average_precision"):
        with pytest.raises(ValueError, match="one order"):
            getattr(metrics, name)([gain], [score], 2, ties="average")


def test_a_constant_model_is_as_good_as_its_ties_are_broken() -> None:
    gain = np.eye(1, 100)  # the relevant item stands first, as in many a test set
    hits = {ties: metrics.hit_rate_at_k(gain, gain * 0, 10, ties=ties)[0] for ties in ("input", "best", "worst")}
    assert hits == {"input": 1, "best": 1, "worst": 0}
    assert metrics.recall_at_k(gain, gain * 0, 10, ties="average")[0] == pytest.approx(0.1)


def test_what_is_never_returned_is_never_found() -> None:
    gain, score = [[1, 0, 1]], [[-np.inf, 1.0, 2.0]]
    assert metrics.recall_at_k(gain, score, 3)[0] == 1 / 2
    assert metrics.ndcg_at_k(gain, score, 3)[0] == pytest.approx(1 / (1 + 1 / np.log2(3)))
    assert metrics.reciprocal_rank([[1, 0]], [[-np.inf, 0.0]])[0] == 0


def test_queries_without_a_relevant_item() -> None:
    values = metrics.ndcg_at_k([[0, 0], [1, 0]], [[1.0, 2.0], [2.0, 1.0]])
    assert np.isnan(values[0])
    assert [metrics.mean_over_queries(values, empty=way) for way in ("skip", "zero", "one")] == [1, 0.5, 1]
    assert np.isnan(metrics.mean_over_queries([np.nan]))
    assert metrics.ndcg_score([[0, 0], [1, 2]], [[1.0, 2.0], [1.0, 2.0]]) == 0.5
    assert metrics.mean_over_queries([1.0, np.inf], empty="zero") == np.inf
    for wrong in (([], "skip"), ([1.0], "half")):
        with pytest.raises(ValueError, match="empty skip"):
            metrics.mean_over_queries(wrong[0], empty=wrong[1])


def test_lightgbm_divides_by_what_could_be_there_and_counts_empty_queries_as_one() -> None:
    label, score, sizes = np.array([0, 1, 0, 1, 1, 1, 0, 0]), np.array([6.0, 5, 4, 3, 2, 1, 2, 1]), np.array([6, 2])
    data = lightgbm.Dataset(score[:, None], label=label, group=sizes, init_score=score, free_raw_data=False)
    found: dict[str, Any] = {}
    settings_ = {"objective": "lambdarank", "metric": ["map", "ndcg"], "eval_at": [3], "learning_rate": 1e-9}
    settings_ |= {"verbose": -1, "min_data_in_leaf": 1, "num_threads": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recorded = [lightgbm.record_evaluation(found)]
        lightgbm.train(settings_, data, 1, valid_sets=[data], valid_names=["all"], callbacks=recorded)
    table = np.zeros((2, 6)), np.full((2, 6), -np.inf)
    for row, rows in enumerate((slice(6), slice(6, 8))):
        for part, values in zip(table, (label, score), strict=True):
            part[row, : sizes[row]] = values[rows]
    ours = metrics.average_precision(*table, 3, out_of="attainable")
    assert found["all"]["map@3"][-1] == pytest.approx(metrics.mean_over_queries(ours, empty="one"))
    ndcg = metrics.mean_over_queries(metrics.ndcg_at_k(*table, 3, gain="exponential"), empty="one")
    assert found["all"]["ndcg@3"][-1] == pytest.approx(ndcg)
    assert lightgbm_metrics.ndcg(label, score, sizes, [3])[0] == pytest.approx(ndcg)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([[1, 0]], [[1.0]]), {}, "one shape"),
        (([1, 0], [1.0, 2.0]), {}, "2 axes"),
        (([[-1, 0]], [[1.0, 2.0]]), {}, "at least 0"),
        (([[1, 0]], [[1.0, np.nan]]), {}, "finite"),
        (([[1, 0]], [[1.0, np.inf]]), {}, "finite"),
        (([[1, 0]], [[1.0, 2.0]]), {"k": 0}, "k must be"),
        (([[1, 0]], [[1.0, 2.0]]), {"k": 1, "ties": "random"}, "ties"),
    ],
)
def test_bad_tables_are_refused(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.ndcg_at_k(*arguments, **options)


def test_integers_that_no_float_can_tell_apart_are_ranked() -> None:
    score = np.array([[2**53, 2**53 + 1, -(2**62)]])
    assert metrics.recall_at_k([[0, 1, 0]], score, 1)[0] == 1
    assert metrics.ndcg_at_k([[0, 1, 0]], score, 1)[0] == metrics.ndcg_score([[0, 1, 0]], score, k=1) == 1
    assert metrics.recall_at_k([[1, 0]], np.array([[2**64 - 1, 0]], np.uint64), 1)[0] == 1


def test_bad_choices_are_refused() -> None:
    gain, score = [[1, 0]], [[1.0, 2.0]]
    for call in (
        lambda: metrics.recall_at_k(gain, score, 1, out_of="found"),
        lambda: metrics.recall_at_k(gain, score, None),
        lambda: metrics.precision_at_k(gain, score, None),
        lambda: metrics.average_precision(gain, score, 1, out_of="all"),
        lambda: metrics.ndcg_at_k(gain, score, gain="log"),
        lambda: metrics.ndcg_at_k([[2000, 0]], score, gain="exponential"),
        lambda: metrics.dcg_score(gain, score, log_base=1),
        lambda: metrics.dcg_score(gain, [[1.0]]),
        lambda: metrics.ndcg_score([[-1, 0]], score),
        lambda: metrics.ndcg_score([[1]], [[1.0]]),
        lambda: metrics.ndcg_score(gain, score, k=0),
    ):
        with pytest.raises(ValueError, match="must"):
            call()
