"""The engine for the CPU: the rows' work in compiled loops on all cores."""

import numpy as np

from kb.gbdt.binning.bins import Bins, aligned
from kb.gbdt.growing import categorical_numba, histogram_numba, rows_numba, splitting_numba
from kb.gbdt.growing.engine import NumpyEngine
from kb.gbdt.growing.fixed_point import FixedPoint
from kb.gbdt.growing.parameters import TreeParameters
from kb.gbdt.growing.splitting import Split, Sums
from kb.gbdt.prediction.leaves import left_bins
from kb.gbdt.tree import Tree

# Below so many additions, some tens of microseconds, a loop runs in one thread. Threads meet at the end of each loop,
# over a hundred times a tree: where other work holds a core, each such meeting waits for the scheduler, and a fit of
# 0.4 seconds took a minute.
WORTH_SHARING = 2**15


class NumbaEngine(NumpyEngine):
    """The same answers as :class:`kb.gbdt.growing.engine.NumpyEngine`, sooner.

    Args:
        bins: The training data.
        parameters: By which trees grow.
        monotone_F: 1, -1 or 0 for each feature.
        threads: How many work at a time.
    """

    def __init__(self, bins: Bins, parameters: TreeParameters, monotone_F: np.ndarray, threads: int) -> None:
        super().__init__(bins, parameters, monotone_F)
        self.threads = threads
        N, P = bins.rows_NP.shape
        self.words_NW = bins.rows_NP.view(np.uint32) if bins.rows_NP.dtype == np.uint8 else None
        self.parts_VPB2 = aligned((threads, P, bins.width, 2), np.int64)
        self.spare_N = np.empty(N, np.int32)
        self.counts_V = np.zeros(threads, np.int64)
        self.search = splitting_numba.Search(self.shape, parameters)
        self.divisions = categorical_numba.Divisions(parameters)

    def to_fixed_point(self, gradients_N: np.ndarray, hessians_N: np.ndarray) -> FixedPoint:
        """The derivatives as integers; see :func:`kb.gbdt.growing.fixed_point.to_fixed_point`."""
        self._share(len(gradients_N))
        return rows_numba.to_fixed_point(gradients_N, hessians_N)

    def begin(self, fixed: FixedPoint, rows_R: np.ndarray) -> None:
        """Start a tree on some rows."""
        self._share(len(rows_R))
        super().begin(fixed, rows_R)

    def add(self, scores_N: np.ndarray, values_L: np.ndarray, starts_L: np.ndarray, stops_L: np.ndarray) -> None:
        """Add the value of each leaf to the scores of its rows, which lie from one place of the order to another."""
        order, threads = np.argsort(starts_L), self._share(len(self.order_R))
        rows_numba.add(scores_N, self.order_R, values_L[order], stops_L[order], threads)

    def add_to_all(self, scores_N: np.ndarray, tree: Tree) -> None:
        """Add what a tree says to the scores of all rows, those included that it was not grown on."""
        self._share(len(scores_N))
        nodes = tree.feature_K, tree.left_K, tree.right_K, left_bins(tree, self.bins)
        rows_numba.add_to_all(scores_N, self.bins.rows_NP, *nodes, tree.leaf_value_L)

    def histogram(self, start: int, stop: int) -> np.ndarray:
        """The histogram of the rows from one place to another, int64 [F, B, 2]."""
        small_FB2 = self._zeros()
        self._fill(start, stop, small_FB2, small_FB2, subtract=False)
        return small_FB2

    def siblings(self, parent_FB2: np.ndarray, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """The histogram of some rows of a leaf, and that of its others, for which the parent's is given up."""
        small_FB2 = self._zeros()
        self._fill(start, stop, small_FB2, parent_FB2, subtract=True)
        return small_FB2, parent_FB2

    def thresholds(
        self, histogram_FB2: np.ndarray, sums: Sums
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The best threshold of each feature; see :func:`kb.gbdt.growing.splitting.best_thresholds`."""
        self._share(histogram_FB2.size)
        return self.search.thresholds(histogram_FB2, sums)

    def division(self, histogram_B2: np.ndarray, feature: int, sums: Sums) -> Split | None:
        """The best split by categories; see :func:`kb.gbdt.growing.categorical.best_categories`."""
        return self.divisions.best(histogram_B2, feature, sums)

    def divide(self, split: Split, start: int, stop: int) -> int:
        """Put the rows that go left first, each side in the order in which it was; returns how many go left."""
        column_N = self.bins.columns_FN[split.feature]
        left_B, counts_V = self.goes_left(split), self.counts_V[: self._share(stop - start)]
        return int(rows_numba.divide(column_N, self.order_R, self.spare_N, start, stop, left_B, counts_V))

    def _zeros(self) -> np.ndarray:
        return np.zeros((len(self.bins.bins_F), self.bins.width, 2), np.int64)

    def _share(self, additions: int) -> int:
        """Set, and return, how many threads so much work is worth."""
        threads = self.threads if additions >= WORTH_SHARING else 1
        rows_numba.use_threads(threads)
        return threads

    def _fill(self, start: int, stop: int, small_FB2: np.ndarray, parent_FB2: np.ndarray, *, subtract: bool) -> None:
        """The histogram of some rows, in small_FB2; where asked for, what their leaf has beside them, in parent_FB2."""
        bins, pairs_N2 = self.bins, self.fixed.pairs_N2
        parts_VPB2 = self.parts_VPB2[: self._share((stop - start) * bins.rows_NP.shape[1])]
        if self.words_NW is not None:
            histogram_numba.fill_words(self.words_NW, pairs_N2, self.order_R, start, stop, parts_VPB2)
        else:
            histogram_numba.fill(bins.rows_NP, pairs_N2, self.order_R, start, stop, parts_VPB2)
        histogram_numba.settle(parts_VPB2, bins.bins_F, small_FB2, parent_FB2, subtract)
