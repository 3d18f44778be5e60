"""Pairs, groups and streams: each fast way equal to looking at every pair, whatever the order, and mergeable."""

import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as theirs
from hypothesis import given, settings
from hypothesis import strategies as st

from kb import metrics
from kb.metrics import StreamingAuc
from tests.metrics.test_curves import LABELS, SCORES, rows


@settings(max_examples=40, deadline=None)
@given(rows())
def test_pairs_ranks_and_area_are_one_number(case: Any) -> None:
    y, score, weight = case
    area = metrics.mann_whitney_auc(y, score)
    assert area == pytest.approx(metrics.roc_auc_loop(y, score), abs=1e-12)
    assert area == pytest.approx(metrics.roc_auc_score(y, score), abs=1e-12)
    weighted = metrics.roc_auc_loop(y, score, weight)
    assert weighted == pytest.approx(metrics.roc_auc_score(y, score, sample_weight=weight), abs=1e-12)
    # Classes and signs turned give the rest; what keeps the order keeps the area, to the bit.
    assert area + metrics.mann_whitney_auc(y, -score.astype(float)) == pytest.approx(1)
    assert metrics.mann_whitney_auc(y, np.exp(score.astype(float) / 50)) == area


def test_the_fraction_is_rounded_once() -> None:
    assert metrics.mann_whitney_auc(LABELS, SCORES) == 8 / 9
    assert metrics.mann_whitney_auc([1, 0, 0], [2, 2, 2]) == 0.5
    assert metrics.mann_whitney_auc([1, 1, 0], [1, 2, 1.5]) == 0.5
    for y in ([1, 1], [0, 0]):
        with pytest.raises(ValueError, match="at least 1 of each class"):
            metrics.mann_whitney_auc(y, [1, 2])


@settings(max_examples=40, deadline=None)
@given(rows(), st.integers(1, 6))
def test_areas_by_group(case: Any, number: int) -> None:
    y, score, _ = case
    group = np.random.default_rng(len(y)).integers(0, number, len(y))
    found = metrics.grouped_auc(y, score, group)
    areas, sizes = [], []
    for one in np.unique(group):
        mine = group == one
        both = len(set(y[mine])) == 2
        areas.append(metrics.roc_auc_loop(y[mine], score[mine]) if both else math.nan)
        sizes.append(mine.sum() * both)
    np.testing.assert_allclose(found.areas, areas, atol=1e-12)
    assert found.used == sum(size > 0 for size in sizes)
    if found.used:
        assert found.value == pytest.approx(np.nansum(np.array(areas) * sizes) / sum(sizes))
        plain = metrics.grouped_auc(y, score, group, weigh_by="groups")
        assert plain.value == pytest.approx(np.nanmean(areas))
    parts = metrics.within_and_across(y, score, group)
    inside, outside = (0 if math.isnan(area) else area for area in (parts.within, parts.across))
    whole = parts.within_share * inside + (1 - parts.within_share) * outside
    assert whole == pytest.approx(metrics.mann_whitney_auc(y, score))


def test_groups_by_hand() -> None:
    # u is in order, v the other way round, w has no negative; across u and v: 0.9 > 0.3, 0.2 > 0.1.
    y, score, user = [1, 0, 1, 0, 1], [0.9, 0.1, 0.2, 0.3, 0.5], list("uuvvw")
    found = metrics.grouped_auc(y, score, user)
    assert (found.value, found.used, found.pairs.tolist()) == (0.5, 2, [1, 1, 0])
    parts = metrics.within_and_across(y, score, user)
    assert (parts.within, parts.across, parts.within_share) == (0.5, 1.0, pytest.approx(2 / 6))
    for wrong in ({"groups": ["u"]}, {"groups": user, "weigh_by": "clicks"}):
        with pytest.raises(ValueError, match=r"groups|weigh_by"):
            metrics.grouped_auc(y, score, **wrong)
    assert math.isnan(metrics.grouped_auc([1, 0], [1, 2], [0, 1]).value)
    days = np.array(["2026-01-01", "NaT"], "datetime64[D]")
    for unknown in ([1.0, math.nan], np.array([1, math.nan], object), days):
        for judge in (metrics.grouped_auc, metrics.within_and_across):
            with pytest.raises(ValueError, match="groups must not be NaN"):
                judge([1, 0], [1, 2], unknown)


@settings(max_examples=40, deadline=None)
@given(rows(), st.integers(1, 8), st.integers(0, 30))
def test_the_stream_s_bounds_hold_and_halves_add_up(case: Any, bins: int, cut: int) -> None:
    y, score, _ = case
    edges = np.linspace(score.min(), score.max() + 1, bins)
    whole = StreamingAuc(edges=edges).update(y, score)
    found, area = whole.result(), metrics.mann_whitney_auc(y, score)
    assert found.low - 1e-12 <= area <= found.high + 1e-12
    assert found.low <= found.estimate <= found.high
    parts = [StreamingAuc(edges=edges).update(y[p], score[p]) for p in (slice(cut), slice(cut, None)) if len(y[p])]
    assert sum(parts[1:], parts[0]).result() == found
    exact = StreamingAuc(levels=np.unique(score)).update(y, score).result()
    assert exact.estimate == exact.low == exact.high == area


def test_what_a_stream_refuses() -> None:
    stream = StreamingAuc(edges=[0.5])
    with pytest.raises(ValueError, match="both classes"):
        stream.update([1, 1], [0.1, 0.9]).result()
    with pytest.raises(ValueError, match=r"among the levels, got 0\.3"):
        (levels := StreamingAuc(levels=[0.1, 0.2])).update([0, 1, 0], [0.1, 0.3, 0.2])
    assert not levels.negatives.any()
    with pytest.raises(ValueError, match="same bins"):
        _ = stream + StreamingAuc(edges=[0.4])
    for wrong in ({}, {"edges": [1], "levels": [1]}, {"edges": [1, 1]}, {"edges": np.array([200, 100], np.uint8)}):
        with pytest.raises(ValueError, match="edges"):
            StreamingAuc(**wrong)
    # A score on an edge belongs to the bin above it.
    assert StreamingAuc(edges=[0.5]).update([1, 0], [0.5, 0.49]).result().low == 1


@pytest.mark.parametrize("name", ["root_mean_squared_error", "mean_absolute_error"])
def test_errors_of_ratings(name: str) -> None:
    true, guess, weight = [5, 3, 1], [4.5, 3, 3], [1, 2, 1]
    ours = getattr(metrics, name)
    assert ours(true, guess) == pytest.approx({"r": (4.25 / 3) ** 0.5, "m": 2.5 / 3}[name[0]])
    for options in ({}, {"sample_weight": weight}):
        assert ours(true, guess, **options) == pytest.approx(getattr(theirs, name)(true, guess, **options), rel=1e-14)
    with pytest.raises(ValueError, match="as many"):
        ours(true, [1.0])
