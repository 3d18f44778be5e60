"""The training data as bins, in the two layouts that growing a tree reads.

A histogram reads all features of a row, so rows are contiguous; dividing a leaf reads one feature of many rows, so
columns are contiguous too. Rows are padded to whole 32-bit words, which the compiled histogram takes apart.

Shapes: N rows, F features, P features with padding, B bins.
"""

# Fields end in their shapes.
# ruff: noqa: N815

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from kb.gbdt.binning.mapper import Categories, Mapper, Numbers
from kb.installed import is_installed

ALIGNMENT = 64  # bytes, a cache line


@dataclass(frozen=True)
class Bins:
    """Bins of all rows and features.

    Attributes:
        rows_NP: By row, unsigned; the padding is 0.
        columns_FN: By feature.
        bins_F: How many bins each feature has.
        missing_F: Whether its last one holds missing values.
        categorical_F: Whether it has no order.
    """

    rows_NP: np.ndarray
    columns_FN: np.ndarray
    bins_F: np.ndarray
    missing_F: np.ndarray
    categorical_F: np.ndarray

    @property
    def width(self) -> int:
        """Bins of a histogram: 256 where they have 8 bits, else those of the feature with most."""
        return 256 if self.columns_FN.dtype == np.uint8 else int(self.bins_F.max())


def to_bins(values_NF: np.ndarray, mappers: Sequence[Mapper], threads: int = 1) -> Bins:
    """Put all values in bins."""
    N, F = values_NF.shape
    bins_F = np.array([mapper.bins for mapper in mappers], np.int64)
    dtype = np.uint8 if bins_F.max(initial=1) <= 256 else np.uint16
    padded = -(-F * np.dtype(dtype).itemsize // 4) * 4 // np.dtype(dtype).itemsize
    columns_FN = np.empty((F, N), dtype)
    rows_NP = aligned((N, padded), dtype)
    rows_NP[:, F:] = 0

    numbers_F = np.array([isinstance(mapper, Numbers) for mapper in mappers])
    compiled = is_installed("numba")

    def fill(feature: int) -> None:
        if not (compiled and numbers_F[feature]):
            columns_FN[feature] = mappers[feature].to_bins(values_NF[:, feature])

    def turn(start: int) -> None:
        rows_NP[start : start + _BLOCK, :F] = columns_FN[:, start : start + _BLOCK].T

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, range(F)))
        if compiled:
            _fill_numbers(values_NF, mappers, numbers_F, columns_FN, rows_NP, threads)
        else:
            list(pool.map(turn, range(0, N, _BLOCK)))
    return Bins(
        rows_NP,
        columns_FN,
        bins_F,
        np.array([mapper.has_missing for mapper in mappers], bool),
        np.array([isinstance(mapper, Categories) for mapper in mappers], bool),
    )


def _fill_numbers(
    values_NF: np.ndarray,
    mappers: Sequence[Mapper],
    numbers_F: np.ndarray,
    columns_FN: np.ndarray,
    rows_NP: np.ndarray,
    threads: int,
) -> None:
    from kb.gbdt.binning import numbers_numba
    from kb.gbdt.growing.rows_numba import use_threads

    numbers = [mapper for mapper in mappers if isinstance(mapper, Numbers)]
    widest = max((len(mapper.bounds_B) for mapper in numbers), default=1)
    bounds_FB = np.full((len(mappers), 1 << (widest - 1).bit_length()), np.inf)
    missing_F = np.full(len(mappers), -1)
    for feature, mapper in enumerate(mappers):
        if isinstance(mapper, Numbers):
            bounds_FB[feature, : len(mapper.bounds_B)] = mapper.bounds_B
            missing_F[feature] = len(mapper.bounds_B) if mapper.has_missing else -1
    use_threads(threads)
    numbers_numba.fill(values_NF, bounds_FB, missing_F, numbers_F, columns_FN, rows_NP)


def aligned(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Memory without values that begins at a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.empty(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size].view(dtype).reshape(shape)


_BLOCK = 16_384  # rows that are turned at a time, so that both layouts stay in the cache
