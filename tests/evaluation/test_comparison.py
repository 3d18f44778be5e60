"""Errors of scores: closed forms, clusters, and a bootstrap that agrees with both."""

import math

import numpy as np
import pytest

from kb.evaluation import clustered_standard_error, items_needed, paired_bootstrap, standard_error


def test_a_hundred_items_are_ten_points() -> None:
    outcomes = [True] * 50 + [False] * 50
    assert standard_error(outcomes) == pytest.approx(math.sqrt(0.25 / 99))
    assert 1.96 * standard_error(outcomes) == pytest.approx(0.098, abs=1e-3)
    assert items_needed(0.1) == 97
    assert items_needed(0.01) == 9604


def test_clusters_of_one_change_nothing_and_copies_count_once() -> None:
    scores = np.random.default_rng(0).random(40)
    alone = clustered_standard_error(scores.tolist(), list(range(40)))
    assert alone == pytest.approx(standard_error(scores.tolist()) * math.sqrt(39 / 40))
    copied = clustered_standard_error(np.repeat(scores, 5).tolist(), np.repeat(np.arange(40), 5).tolist())
    assert copied == pytest.approx(alone)
    assert standard_error(np.repeat(scores, 5).tolist()) < 0.5 * copied


def test_the_bootstrap_is_narrower_for_pairs() -> None:
    draw = np.random.default_rng(1)
    ease = draw.random(300)
    first = (draw.random(300) * 0.3 + ease * 0.7 > 0.4).astype(float)
    second = (draw.random(300) * 0.3 + ease * 0.7 > 0.45).astype(float)
    found = paired_bootstrap(first.tolist(), second.tolist(), draws=800)
    expected = standard_error((first - second).tolist())
    assert found.estimate == pytest.approx(first.mean() - second.mean())
    assert (found.high - found.low) / 3.92 == pytest.approx(expected, rel=0.15)
    assert expected < math.hypot(standard_error(first.tolist()), standard_error(second.tolist()))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="scores"):
        standard_error([1.0])
    with pytest.raises(ValueError, match="scores"):
        standard_error([1.0, math.nan])
    with pytest.raises(ValueError, match="clusters"):
        clustered_standard_error([1.0, 0.0], [1])
    with pytest.raises(ValueError, match="difference"):
        items_needed(0.0)
    with pytest.raises(ValueError, match="length"):
        paired_bootstrap([1.0, 0.0], [1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="draws"):
        paired_bootstrap([1.0, 0.0], [1.0, 0.0], draws=0)
