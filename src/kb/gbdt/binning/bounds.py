"""Where the bins of a feature with an order end: LightGBM's rule, so that its histograms are ours.

Values near zero have a bin of their own. The rest of the bins goes to the two sides in proportion to their rows, and on
each side a bin is closed as soon as it holds its share of what is left; a value that fills a bin by itself gets one.
A bin ends halfway between the largest value inside and the smallest outside.

Source: LightGBM's documentation of ``max_bin`` and ``min_data_in_bin``, and its behaviour (the tests compare trees).
Shapes: S sampled values, D different ones, B bins.
"""

import numpy as np

NEAR_ZERO = float(np.float32(1e-35))  # what is as near as this counts as zero


def upper_bounds(values_S: np.ndarray, max_bin: int, min_data_in_bin: int) -> np.ndarray:
    """The largest value of each bin, ascending, the last infinite; float64 [B].

    Args:
        values_S: A sample of the feature, without NaN.
        max_bin: The most bins.
        min_data_in_bin: The fewest sampled values in one.
    """
    values_D, counts_D = different_values(np.sort(values_S.astype(np.float64)))
    negative, positive = values_D <= -NEAR_ZERO, values_D > NEAR_ZERO
    below, above = int(counts_D[negative].sum()), int(counts_D[positive].sum())
    bounds: list[float] = []
    if negative.any() and max_bin > 1:
        share = max(1, int(below / (below + above) * (max_bin - 1)))
        bounds = close_bins(values_D[negative], counts_D[negative], share, min_data_in_bin)
        bounds[-1] = -NEAR_ZERO
    left = max_bin - 1 - len(bounds)
    if positive.any() and left > 0:
        bounds += [NEAR_ZERO, *close_bins(values_D[positive], counts_D[positive], left, min_data_in_bin)]
    else:
        bounds.append(np.inf)
    return np.array(bounds)


def different_values(sorted_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different values and how often each comes; neighbouring floats count as one, and the larger stands for both.

    All that is near zero is one value, 0, which is there between negative and positive ones even if it never came.
    """
    zeros = np.abs(sorted_S) <= NEAR_ZERO
    others_S = sorted_S[~zeros]
    starts = np.ones(len(others_S), bool)
    starts[1:] = others_S[1:] > np.nextafter(others_S[:-1], np.inf)
    first = np.flatnonzero(starts)
    ends = np.append(first[1:], len(others_S))
    values_D, counts_D = others_S[ends - 1] if len(first) else others_S, ends - first if len(first) else first
    number, place = int(zeros.sum()), int((values_D < 0).sum())
    if number or 0 < place < len(values_D) or not len(values_D):
        values_D, counts_D = np.insert(values_D, place, 0.0), np.insert(counts_D, place, number)
    return values_D, counts_D


def close_bins(values_D: np.ndarray, counts_D: np.ndarray, most: int, least: int) -> list[float]:
    """The upper bounds of at most ``most`` bins of at least ``least`` rows, the last one infinite.

    What :func:`close_bins_loop` does, from edge to edge instead of from value to value.
    """
    if len(values_D) <= most:
        return _one_bin_for_each(values_D, counts_D, least)
    most, large_D = _most_and_large(counts_D, most, least)
    # As floats, because a float is looked up in them, for which NumPy would turn all of them into floats each time.
    up_to_D, small_up_to_D = counts_D.cumsum().astype(np.float64), np.where(large_D, 0, counts_D).cumsum()
    bins_left, small = most - int(large_D.sum()), int(small_up_to_D[-1])
    share = _share(small, bins_left)
    places = np.flatnonzero(large_D)
    edges: list[int] = []
    start, before, end = 0, 0, len(values_D) - 1
    while len(edges) < most - 1:
        edge = int(np.searchsorted(up_to_D, before + share))
        next_large = np.searchsorted(places, start)
        if next_large < len(places):
            large = int(places[next_large])
            half_full = large > start and up_to_D[large - 1] - before >= max(1.0, share * 0.5)
            edge = min(edge, large - 1 if half_full else large)
        if edge >= end:
            break
        edges.append(edge)
        if not large_D[edge]:
            bins_left -= 1
            share = _share(small - int(small_up_to_D[edge]), bins_left)
        start, before = edge + 1, int(up_to_D[edge])
    return _between(values_D, edges)


def close_bins_loop(values_D: np.ndarray, counts_D: np.ndarray, most: int, least: int) -> list[float]:
    """The rule as it is told: value by value, closing a bin when it is full."""
    if len(values_D) <= most:
        return _one_bin_for_each(values_D, counts_D, least)
    most, large_D = _most_and_large(counts_D, most, least)
    sizes, large = counts_D.tolist(), large_D.tolist()
    bins_left, rows_left = (
        most - sum(large),
        sum(size for size, is_large in zip(sizes, large, strict=True) if not is_large),
    )
    share = _share(rows_left, bins_left)
    edges, inside = [], 0
    for place in range(len(sizes) - 1):
        if not large[place]:
            rows_left -= sizes[place]
        inside += sizes[place]
        # A bin is also closed, if it is half full, before a value that gets one of its own.
        if large[place] or inside >= share or (large[place + 1] and inside >= max(1.0, share * 0.5)):
            edges.append(place)
            if len(edges) >= most - 1:
                break
            inside = 0
            if not large[place]:
                bins_left -= 1
                share = _share(rows_left, bins_left)
    return _between(values_D, edges)


def _most_and_large(counts_D: np.ndarray, most: int, least: int) -> tuple[int, np.ndarray]:
    """How many bins there may be if each is to have ``least`` rows, and which values fill one by themselves."""
    total = int(counts_D.sum())
    if least > 0:
        most = max(1, min(most, total // least))
    return most, counts_D >= total / most


def _one_bin_for_each(values_D: np.ndarray, counts_D: np.ndarray, least: int) -> list[float]:
    """A bin for each value, but those that come rarely are put together with the next ones."""
    edges, inside = [], 0
    for place, size in enumerate(counts_D[:-1].tolist()):
        inside += size
        if inside >= least:
            edges.append(place)
            inside = 0
    return _between(values_D, edges)


def _between(values_D: np.ndarray, edges: list[int]) -> list[float]:
    """The bounds halfway between a value and the next one, just above; equal ones once, and an infinite one."""
    bounds: list[float] = []
    for place in edges:
        bound = float(np.nextafter((values_D[place] + values_D[place + 1]) / 2.0, np.inf))
        if not bounds or bound > np.nextafter(bounds[-1], np.inf):
            bounds.append(bound)
    return [*bounds, np.inf]


def _share(rows: int, bins: int) -> float:
    return rows / bins if bins else np.inf
