"""Curves and areas by hand, equal to scikit-learn's to the last digit, and what they refuse."""

import warnings
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as theirs
from hypothesis import given, settings
from hypothesis import strategies as st

from kb import metrics
from kb.metrics import UndefinedMetricWarning

LABELS, SCORES = [1, 1, 0, 1, 0, 0], [0.9, 0.8, 0.7, 0.6, 0.55, 0.1]


@st.composite
def rows(draw: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Labels with both classes, scores of few or many values in some dtype, and weights or none, some of them 0."""
    n = draw(st.integers(2, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    y = rng.permutation(np.arange(n) < draw(st.integers(1, n - 1))).astype(int)
    dtype = draw(st.sampled_from(["f8", "f4", "f2", "i8", "u1"]))
    score = (rng.random(n) * draw(st.sampled_from([2, 5, 200]))).astype(dtype)
    kind = draw(st.sampled_from(["none", "whole", "real"]))
    weight = {"none": None, "whole": rng.integers(0, 3, n), "real": rng.random(n)}[kind]
    if weight is not None and not (weight[y == 1].any() and weight[y == 0].any()):
        weight = None
    return (2 * y - 1 if draw(st.booleans()) else y), score, weight


def same(ours: Any, other: Any) -> None:
    for one, two in zip(ours, other, strict=True):
        np.testing.assert_array_equal(one, two)


def test_six_scores_by_hand() -> None:
    fpr, tpr, thresholds = metrics.roc_curve(LABELS, SCORES, drop_intermediate=False)
    np.testing.assert_allclose(fpr * 3, [0, 0, 0, 1, 1, 2, 3])
    np.testing.assert_allclose(tpr * 3, [0, 1, 2, 2, 3, 3, 3])
    assert thresholds.tolist() == [np.inf, *SCORES]
    assert metrics.auc(fpr, tpr) == pytest.approx(8 / 9)
    assert metrics.average_precision_score(LABELS, SCORES) == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert metrics.auc([1, 0], [1, 0]) == metrics.auc([0, 1], [0, 1]) == 0.5
    # Up to a third: the area is 2/9; standardised, 1/2 (1 + (2/9 - 1/18) / (1/3 - 1/18)).
    assert metrics.roc_auc_score(LABELS, SCORES, max_fpr=1 / 3) == pytest.approx(0.8)


@settings(max_examples=70, deadline=None)
@given(rows(), st.booleans(), st.sampled_from([None, 0.1, 0.5, 1.0]))
def test_scikit_learn_gives_the_same_bits(case: Any, drop: bool, most: float | None) -> None:
    y, score, weight = case
    options = {"sample_weight": weight, "drop_intermediate": drop}
    y01 = (y > 0).astype(int)
    same(metrics.roc_curve(y, score, **options), theirs.roc_curve(y, score, **options))
    same(metrics.precision_recall_curve(y, score, **options), theirs.precision_recall_curve(y, score, **options))
    for name in ("roc_auc_score", "average_precision_score"):
        more = {"max_fpr": most} if name == "roc_auc_score" else {}
        ours, other = (getattr(module, name)(y01, score, sample_weight=weight, **more) for module in (metrics, theirs))
        assert ours == other
    false, true, thresholds = metrics.threshold_counts(y, score, sample_weight=weight)
    wanted = theirs.confusion_matrix_at_thresholds(y, score, sample_weight=weight)
    same((false, true, thresholds), (wanted[1], wanted[3], wanted[4]))


def test_scores_that_no_float_can_tell_apart_stay_apart() -> None:
    big = np.array([2**53, 2**53 + 1])
    assert metrics.roc_auc_score([0, 1], big) == 1
    assert metrics.roc_auc_score([0, 1], np.array([0, 255], np.uint8)) == 1


def test_words_are_labels_once_it_is_said_which() -> None:
    y, score = np.array(["ham", "spam", "ham"]), [0.1, 0.9, 0.4]
    assert metrics.roc_auc_score(y, score) == 1
    assert metrics.roc_curve(y, score, pos_label="ham")[1][1] == 0
    with pytest.raises(ValueError, match="pos_label"):
        metrics.roc_curve(y, score)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_nan_and_a_warning_as_in_scikit_learn(label: int) -> None:
    with pytest.warns(UndefinedMetricWarning, match="one class"):
        assert np.isnan(metrics.roc_auc_score([label] * 3, [0.1, 0.2, 0.3]))
    with pytest.warns(UndefinedMetricWarning, match="rate is NaN"):
        rates = metrics.roc_curve([label] * 3, [0.1, 0.2, 0.3])[:2]
    assert [bool(np.isnan(rate).all()) for rate in rates] == [label == 1, label == 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same(rates, theirs.roc_curve([label] * 3, [0.1, 0.2, 0.3])[:2])
        ours, other = (m.average_precision_score([label] * 3, [1, 2, 3]) for m in (metrics, theirs))
        assert ours == other == label
        assert np.isnan(metrics.roc_auc_score([0, 1, 1], [1, 2, 3], sample_weight=[0, 1, 1], max_fpr=0.5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0.1, np.nan]), r"finite, got nan at \(1,\)"),
        (([0, 1], [0.1, np.inf]), "finite"),
        (([0, 1], [0.1]), "as many rows"),
        (([], []), "empty"),
        (([0.5, 1], [0.1, 0.2]), "whole"),
        (([0, 1], [[0.1, 0.9], [0.2, 0.8]]), "positive class"),
        (([0, 1, 2], [[1, 0, 0]] * 3), "multi_class"),
    ],
)
def test_bad_rows_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.roc_auc_score(*arguments)


def test_bad_options_are_refused() -> None:
    with pytest.raises(TypeError, match="real numbers"):
        metrics.roc_auc_score([0, 1], ["a", "b"])
    for weight in ([-1, 1], [0, 0], [1.0]):
        with pytest.raises(ValueError, match="sample_weight"):
            metrics.roc_auc_score([0, 1], [1, 2], sample_weight=weight)
    for most in (0, 1.5, -1):
        with pytest.raises(ValueError, match="max_fpr"):
            metrics.roc_auc_score([0, 1], [1, 2], max_fpr=most)
    for x, y in (([0, 1, 0], [0, 1, 1]), ([0], [1]), ([0, 1], [1])):
        with pytest.raises(ValueError, match="x"):
            metrics.auc(x, y)


@settings(max_examples=25, deadline=None)
@given(rows())
def test_the_hull_lies_on_and_above_the_curve(case: Any) -> None:
    fpr, tpr, _ = metrics.roc_curve(case[0], case[1], drop_intermediate=False)
    kept = metrics.roc_hull(fpr, tpr)
    assert kept[0] == 0
    assert kept[-1] == len(fpr) - 1
    assert (np.interp(fpr, fpr[kept], tpr[kept]) >= tpr - 1e-12).all() or len(np.unique(fpr[kept])) < len(kept)
    for price in (0.1, 1.0, 7.0):  # the best point for any price of a false alarm is on the hull
        assert (tpr - price * fpr)[kept].max() == pytest.approx((tpr - price * fpr).max())
    assert metrics.auc(fpr[kept], tpr[kept]) >= metrics.auc(fpr, tpr) - 1e-12


def test_the_hull_by_hand_and_what_it_refuses() -> None:
    # (0.5, 0.75) lies on the line from (0.25, 0.5) to (0.75, 1), (0.5, 0.5) below it: neither is a corner.
    fpr, tpr = [0, 0.25, 0.5, 0.5, 0.75, 1], [0, 0.5, 0.5, 0.75, 1, 1]
    assert metrics.roc_hull(fpr, tpr).tolist() == [0, 1, 4, 5]
    assert metrics.roc_hull([0, 0.25, 0.5, 0.75, 1], [0, 0.75, 0.8, 1, 1]).tolist() == [0, 1, 3, 4]
    for bad in (([0, 0.5, 1], [0, 1]), ([1, 0.5, 0], [1, 0.8, 0]), ([0, np.nan, 1], [0, 0.5, 1]), ([], [])):
        with pytest.raises(ValueError, match=r"fpr|tpr"):
            metrics.roc_hull(*bad)
