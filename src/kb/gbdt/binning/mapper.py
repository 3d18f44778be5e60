"""From the values of the features to their bins, as LightGBM puts them.

Numbers go by upper bounds, categories by a table in which frequent ones come first. Missing values of a number have a
bin of their own, the last, where the sample has any; elsewhere NaN counts as 0, as in LightGBM. A category that is
unknown, rare, negative or missing goes to bin 0, which no split sends left.

Shapes: N rows, S sampled rows, F features, G of them that are sampled at once, B bins.
"""

# Fields end in their shapes.
# ruff: noqa: N815

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from kb.gbdt.binning.bounds import upper_bounds
from kb.gbdt.sampling.drawing import Drawing

HIGHEST = 1e300  # the bound that stands for infinity where one is written down
KEPT_SHARE = 0.99  # of the rows, whose categories get bins
_TOGETHER = 8  # features, whose values in a row lie in one or two cache lines, are sampled at once


@dataclass(frozen=True)
class Numbers:
    """How a feature with an order is put in bins.

    Attributes:
        bounds_B: The largest value of each bin but that of missing ones, ascending, the last infinite.
        has_missing: Whether there is one more bin, for NaN.
    """

    bounds_B: np.ndarray
    has_missing: bool

    @property
    def bins(self) -> int:
        """How many there are."""
        return len(self.bounds_B) + self.has_missing

    def threshold(self, bin_: int) -> float:
        """The largest value of a bin, finite."""
        return min(float(self.bounds_B[bin_]), HIGHEST) if bin_ < len(self.bounds_B) else HIGHEST

    def to_bins(self, values_N: np.ndarray) -> np.ndarray:
        """The bin of each value, integers [N]."""
        missing_N = np.isnan(values_N)
        any_missing = missing_N.any()
        found = np.searchsorted(self.bounds_B, np.where(missing_N, 0.0, values_N) if any_missing else values_N)
        return np.where(missing_N, len(self.bounds_B), found) if any_missing and self.has_missing else found


@dataclass(frozen=True)
class Categories:
    """How a feature without an order is put in bins.

    Attributes:
        values: The category of bin 1, of bin 2 and so on.
        is_full: Whether every category of the sample has a bin, and none was missing.
    """

    values: tuple[int, ...]
    is_full: bool
    has_missing: bool = False

    @property
    def bins(self) -> int:
        """How many there are, that of all others included."""
        return len(self.values) + 1

    def to_bins(self, values_N: np.ndarray) -> np.ndarray:
        """The bin of each value, integers [N]."""
        order = np.argsort(self.values)
        known = np.array(self.values)[order]
        whole_N = np.where(np.isfinite(values_N) & (np.abs(values_N) < 2**31), values_N, -1).astype(np.int64)
        place_N = np.minimum(np.searchsorted(known, whole_N), len(known) - 1) if len(known) else whole_N * 0
        fits_N = (known[place_N] == whole_N) if len(known) else np.zeros(len(whole_N), bool)
        return np.where(fits_N, order[place_N] + 1 if len(known) else 0, 0)


Mapper = Numbers | Categories


def find_mappers(
    values_NF: np.ndarray,
    *,
    max_bin: int = 255,
    min_data_in_bin: int = 3,
    sample: int = 200_000,
    categorical: Sequence[int] = (),
    seed: int = 1,
    threads: int = 1,
) -> list[Mapper]:
    """How each feature is put in bins, from a sample of the rows.

    Args:
        values_NF: Floats, NaN for missing values.
        max_bin: The most bins of a feature.
        min_data_in_bin: The fewest sampled rows in one.
        sample: The most rows that are looked at.
        categorical: The features that have no order.
        seed: Of the sample, as LightGBM's ``data_random_seed``.
        threads: How many features are worked on at a time.
    """
    rows, features = values_NF.shape
    chosen = Drawing(seed).sample(rows, min(rows, sample))

    def find(feature: int, values_S: np.ndarray) -> Mapper:
        values_S = values_S.astype(np.float64)
        if feature in categorical:
            return find_categories(values_S, max_bin, min_data_in_bin)
        missing = np.isnan(values_S)
        has_missing = bool(missing.any())
        bounds = upper_bounds(values_S[~missing] if has_missing else values_S, max_bin - has_missing, min_data_in_bin)
        return Numbers(bounds, has_missing)

    mappers: list[Mapper] = []
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, features, _TOGETHER):
            some_NG = values_NF[:, first : first + _TOGETHER]
            sample_SG = some_NG if len(chosen) == rows else some_NG[chosen]  # np.take would copy all rows first
            mappers += pool.map(find, range(first, features), sample_SG.T)
    return mappers


def find_categories(values_S: np.ndarray, max_bin: int, min_data_in_bin: int) -> Categories:
    """Bins for the categories that make up nearly all rows, or fill the bins; frequent ones first."""
    with np.errstate(invalid="ignore"):
        whole_S = np.where(np.isfinite(values_S) & (np.abs(values_S) < 2**31), values_S, -1).astype(np.int64)
    found, counts = np.unique(whole_S[whole_S >= 0], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    missing = len(whole_S) - int(counts.sum())
    enough = int((len(whole_S) - missing) * np.float32(KEPT_SHARE) + np.float32(0.5))
    most = min(len(found) + (missing > 0), max_bin)
    kept: list[int] = []
    covered = 0
    for place in order:
        if not (covered < enough or len(kept) + 1 < most) or (counts[place] < min_data_in_bin and len(kept) > 1):
            break
        kept.append(int(found[place]))
        covered += int(counts[place])
    return Categories(tuple(kept), len(kept) == len(found) and not missing)
