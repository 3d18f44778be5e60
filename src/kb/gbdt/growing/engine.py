"""What growing a tree needs done with the rows: histograms, the best split, dividing a leaf. Here in NumPy.

Unusual: the grower knows leaves by where they lie in one array of row numbers, and an engine holds that array, so that
it may be on another device. All engines give the same integers, and so the same trees.

Shapes: N rows, F features, B bins, R rows of the tree.
"""

import numpy as np

from kb.gbdt.binning.bins import Bins
from kb.gbdt.growing.categorical import best_categories
from kb.gbdt.growing.fixed_point import FixedPoint, to_fixed_point
from kb.gbdt.growing.histogram import histogram
from kb.gbdt.growing.parameters import TreeParameters
from kb.gbdt.growing.splitting import NO_SPLIT, Shape, Split, Sums, best_thresholds
from kb.gbdt.prediction.leaves import leaf_of_bins
from kb.gbdt.tree import Tree


class NumpyEngine:
    """The engine that needs nothing but NumPy.

    Args:
        bins: The training data.
        parameters: By which trees grow.
        monotone_F: 1, -1 or 0 for each feature.
    """

    def __init__(self, bins: Bins, parameters: TreeParameters, monotone_F: np.ndarray) -> None:
        self.bins, self.parameters = bins, parameters
        ordered_F = ~bins.categorical_F
        self.shape = Shape(np.where(ordered_F, bins.bins_F, 1), bins.missing_F, monotone_F)
        self.categorical = np.flatnonzero(bins.categorical_F)
        self.fixed = FixedPoint(np.empty((0, 2), np.int64), 1.0, 1.0)
        self.order_R = np.empty(0, np.int32)

    def to_fixed_point(self, gradients_N: np.ndarray, hessians_N: np.ndarray) -> FixedPoint:
        """The derivatives as integers; see :func:`kb.gbdt.growing.fixed_point.to_fixed_point`."""
        return to_fixed_point(gradients_N, hessians_N)

    def begin(self, fixed: FixedPoint, rows_R: np.ndarray) -> None:
        """Start a tree on some rows."""
        self.fixed, self.order_R = fixed, rows_R.astype(np.int32)

    def add(self, scores_N: np.ndarray, values_L: np.ndarray, starts_L: np.ndarray, stops_L: np.ndarray) -> None:
        """Add the value of each leaf to the scores of its rows, which lie from one place of the order to another."""
        for value, start, stop in zip(values_L, starts_L, stops_L, strict=True):
            scores_N[self.order_R[start:stop]] += value

    def add_to_all(self, scores_N: np.ndarray, tree: Tree) -> None:
        """Add what a tree says to the scores of all rows, those included that it was not grown on."""
        scores_N += tree.leaf_value_L[leaf_of_bins(tree, self.bins)]

    def histogram(self, start: int, stop: int) -> np.ndarray:
        """The histogram of the rows from one place to another, int64 [F, B, 2]."""
        rows_R = self.order_R[start:stop]
        return histogram(self.bins.columns_FN, self.fixed.pairs_N2, rows_R, self.bins.width)

    def siblings(self, parent_FB2: np.ndarray, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """The histogram of some rows of a leaf, and that of its others, for which the parent's is given up."""
        small_FB2 = self.histogram(start, stop)
        parent_FB2 -= small_FB2
        return small_FB2, parent_FB2

    def best(self, histogram_FB2: np.ndarray, sums: Sums, open_F: np.ndarray) -> tuple[Split | None, np.ndarray]:
        """The best split by one of the open features, and which of them have any."""
        gain_F, threshold_F, missing_left_F, left_F2 = self.thresholds(histogram_FB2, sums)
        by_category = {}
        for feature in self.categorical.tolist():
            if open_F[feature]:
                found = self.division(histogram_FB2[feature, : self.bins.bins_F[feature]], feature, sums)
                if found is not None:
                    by_category[feature] = found
            gain_F[feature] = by_category[feature].gain if feature in by_category else NO_SPLIT
        gain_F = np.where(open_F, gain_F, NO_SPLIT)
        feature = int(gain_F.argmax())
        if gain_F[feature] == NO_SPLIT:
            return None, gain_F > NO_SPLIT
        if feature in by_category:
            return by_category[feature], gain_F > NO_SPLIT
        split = Split(
            float(gain_F[feature]),
            feature,
            int(threshold_F[feature]),
            bool(missing_left_F[feature]),
            int(left_F2[feature, 0]),
            int(left_F2[feature, 1]),
            l2=self.parameters.reg_lambda,
        )
        return split, gain_F > NO_SPLIT

    def thresholds(
        self, histogram_FB2: np.ndarray, sums: Sums
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The best threshold of each feature; see :func:`kb.gbdt.growing.splitting.best_thresholds`."""
        return best_thresholds(histogram_FB2, self.shape, sums, self.parameters)

    def division(self, histogram_B2: np.ndarray, feature: int, sums: Sums) -> Split | None:
        """The best split by categories; see :func:`kb.gbdt.growing.categorical.best_categories`."""
        return best_categories(histogram_B2, feature, sums, self.parameters)

    def divide(self, split: Split, start: int, stop: int) -> int:
        """Put the rows that go left first, each side in the order in which it was; returns how many go left."""
        rows_R = self.order_R[start:stop]
        goes_R = self.goes_left(split)[self.bins.columns_FN[split.feature, rows_R]]
        self.order_R[start:stop] = np.concatenate([rows_R[goes_R], rows_R[~goes_R]])
        return int(goes_R.sum())

    def goes_left(self, split: Split) -> np.ndarray:
        """For each bin of the split's feature, whether its rows go left."""
        left_B = np.zeros(self.bins.width, bool)
        if split.categories:
            left_B[list(split.categories)] = True
            return left_B
        left_B[: split.threshold + 1] = True
        if self.bins.missing_F[split.feature]:
            left_B[self.bins.bins_F[split.feature] - 1] = split.missing_left
        return left_B
