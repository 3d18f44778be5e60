"""The pairs of ``lambdarank``, compiled, a query a thread: the same additions in the same order."""

# What a compiled function's arguments are, numba says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

import numpy as np
from numba import njit, prange

from kb.gbdt.growing.histogram_numba import FLAGS
from kb.gbdt.losses.lambdarank import APART


def add_pairs(ranked, discounts_R, stops_Q, scale_Q, rules, sums_N2, totals_Q):
    """What :func:`kb.gbdt.losses.lambdarank.add_pairs` does, for all queries."""
    table = rules.table
    numbers = (rules.truncation, rules.norm, rules.sigmoid, table.low, table.steps)
    _add_all(ranked, discounts_R, stops_Q, scale_Q, numbers, table.values_S, sums_N2, totals_Q)


@njit(parallel=True, **FLAGS)
def _add_all(ranked, discounts_R, stops_Q, scale_Q, rules, table_S, sums_N2, totals_Q):
    for query in prange(len(stops_Q)):
        start = stops_Q[query - 1] if query else 0
        totals_Q[query] = _add(ranked, discounts_R, start, stops_Q[query], scale_Q[query], rules, table_S, sums_N2)


@njit(**FLAGS)
def _add(ranked, discounts_R, start, stop, scale, rules, table_S, sums_N2):
    scores_N, labels_N, gains_N = ranked
    truncation, norm, sigmoid, low, steps = rules
    top = len(table_S) - 1
    spread = norm and scores_N[start] != scores_N[stop - 1]
    total = 0.0
    for i in range(start, min(stop - 1, start + truncation)):
        for j in range(i + 1, stop):
            if labels_N[i] == labels_N[j]:
                continue
            better, worse = (i, j) if labels_N[i] > labels_N[j] else (j, i)
            difference = scores_N[better] - scores_N[worse]
            change = (gains_N[better] - gains_N[worse]) * abs(discounts_R[i - start] - discounts_R[j - start]) * scale
            if spread:
                change = change / (APART + abs(difference))
            place = min(max((difference - low) * steps, 0.0), np.float64(top))
            chance = table_S[np.int64(place)]
            pull = chance * (sigmoid * change)
            bend = np.float32((chance * (1.0 - chance)) * (sigmoid * sigmoid * change))
            sums_N2[better, 0] -= np.float32(pull)
            sums_N2[worse, 0] += np.float32(pull)
            sums_N2[better, 1] += bend
            sums_N2[worse, 1] += bend
            total += 2 * pull
    return total
