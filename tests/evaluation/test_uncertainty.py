"""Entropies by hand, and detection equal to scikit-learn's."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import roc_auc_score

from kb.evaluation import (
    auroc,
    auroc_interval,
    auroc_loop,
    calibration_error,
    cluster,
    discrete_semantic_entropy,
    entropy,
    predictive_entropy,
    reliability,
    risk_coverage,
    self_consistency,
    semantic_entropy,
)


def test_clusters_ask_in_both_directions() -> None:
    def entails(one: str, other: str) -> bool:
        return set(other.split()) <= set(one.split())

    assert cluster(["paris", "paris france", "rome", "paris"], entails) == [0, 1, 2, 0]
    assert cluster(["Paris", "paris"], lambda a, b: a.lower() == b.lower()) == [0, 0]
    with pytest.raises(ValueError, match="answers"):
        cluster([], entails)


def test_wordings_of_one_answer_are_no_uncertainty() -> None:
    """Four texts of equal likelihood in two meanings, three to one."""
    log_p = [math.log(0.25)] * 4
    assert predictive_entropy(log_p) == pytest.approx(math.log(4))
    assert semantic_entropy([0, 0, 0, 1], log_p) == pytest.approx(entropy([3, 1]))
    assert discrete_semantic_entropy([0, 0, 0, 1]) == pytest.approx(0.5623, abs=1e-4)
    assert semantic_entropy([0, 0, 0, 0], log_p) == 0
    assert self_consistency([0, 0, 0, 1]) == 0.75
    assert predictive_entropy([-6.0, -2.0], [3, 1]) == 2


@settings(max_examples=40)
@given(st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=8))
def test_entropy_equals_scipy(shares: list[float]) -> None:
    assert entropy(shares) == pytest.approx(float(scipy_entropy(shares)), abs=1e-9)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auroc_equals_the_loop_and_scikit_learn(items: list[tuple[int, bool]]) -> None:
    scores, positives = [float(one[0]) for one in items], [one[1] for one in items]
    if len(set(positives)) == 1:
        with pytest.raises(ValueError, match="positives"):
            auroc(scores, positives)
        return
    assert auroc(scores, positives) == pytest.approx(roc_auc_score(positives, scores))
    assert auroc_loop(scores, positives) == pytest.approx(auroc(scores, positives))


def test_auroc_interval_holds_its_estimate() -> None:
    draw = np.random.default_rng(0)
    positives = draw.random(80) < 0.4
    scores = draw.normal(size=80) + positives
    low, high = auroc_interval(scores.tolist(), positives.tolist(), draws=300)
    assert 0.5 < low < auroc(scores.tolist(), positives.tolist()) < high < 1


def test_calibration_by_hand() -> None:
    # Two at 0.9 of which one is right, two at 0.6 of which one is: |0.9 - 0.5| / 2 + |0.6 - 0.5| / 2.
    confidences, correct = [0.9, 0.9, 0.6, 0.6], [True, False, True, False]
    assert calibration_error(confidences, correct) == pytest.approx(0.25)
    assert [(one.count, one.accuracy) for one in reliability(confidences, correct)] == [(2, 0.5), (2, 0.5)]
    assert calibration_error([1.0, 0.0], [True, False]) == 0
    assert auroc(confidences, correct) == 0.5


def test_abstaining_by_hand() -> None:
    found = risk_coverage([0.2, 0.9, 0.6, 0.4], [False, True, True, False])
    assert found.tolist() == [[0.25, 0.0], [0.5, 0.0], [0.75, pytest.approx(1 / 3)], [1.0, 0.5]]
    # Two of three at 0.9 are right: whatever their order, each is a third of a wrong answer.
    for correct in ([True, True, False, False], [False, True, True, False]):
        tied = risk_coverage([0.9, 0.9, 0.9, 0.1], correct)
        assert tied[:, 1] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1 / 2])


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="shares"):
        entropy([0.0, 0.0])
    with pytest.raises(ValueError, match="log_probabilities"):
        semantic_entropy([0, 1], [-1.0])
    with pytest.raises(ValueError, match="log_probabilities"):
        predictive_entropy([-math.inf])
    with pytest.raises(ValueError, match="lengths"):
        predictive_entropy([-1.0], [0])
    with pytest.raises(ValueError, match="clusters"):
        self_consistency([])
    with pytest.raises(ValueError, match="confidences"):
        reliability([1.5], [True])
    with pytest.raises(ValueError, match="confidences"):
        risk_coverage([0.5], [])
    with pytest.raises(ValueError, match="confidences"):
        risk_coverage([math.nan, 0.5], [True, False])
    with pytest.raises(ValueError, match="bins"):
        reliability([0.5], [True], bins=0)
