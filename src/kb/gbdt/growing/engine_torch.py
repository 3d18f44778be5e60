"""The engine for a GPU: the rows' work by torch on a device, the search for splits on the host.

Bins, derivatives and the order of the rows stay on the device. Of each split, what comes back is how many rows go left
and one histogram, some hundred kilobytes: the host searches it by the very operations of the other engines, so that the
trees are theirs to the byte. Derivatives go to the device and values of leaves come back once a tree.

Unusual: all sums are of integers, so atomic additions may come in any order.

Shapes: N rows, F features, P features with padding, B bins, R rows of the tree or of a leaf, L leaves.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from kb.gbdt.binning.bins import Bins
from kb.gbdt.growing.engine import NumpyEngine
from kb.gbdt.growing.fixed_point import FixedPoint, scale_exponents
from kb.gbdt.growing.parameters import TreeParameters
from kb.gbdt.growing.splitting import Split, Sums
from kb.gbdt.prediction.leaves import left_bins
from kb.gbdt.tree import Tree
from kb.installed import is_installed

_BLOCK = 2**18  # rows whose places in the histogram are made at a time, 8 bytes for each feature


class TorchEngine(NumpyEngine):
    """The same answers as :class:`kb.gbdt.growing.engine.NumpyEngine`, from a device of torch.

    Args:
        bins: The training data.
        parameters: By which trees grow.
        monotone_F: 1, -1 or 0 for each feature.
        device: Holds them; "cpu" works too, for tests.
        kernel: Make histograms by the Triton kernel; by default where there is Triton and the device is CUDA's.
    """

    def __init__(
        self,
        bins: Bins,
        parameters: TreeParameters,
        monotone_F: np.ndarray,
        device: torch.device,
        kernel: bool | None = None,
    ) -> None:
        self.device = device
        super().__init__(bins, parameters, monotone_F)
        # torch can do little with uint16, so bins of more than 8 bits get 32.
        narrow = bins.columns_FN.dtype == np.uint8
        self.columns_FN = self._here(bins.columns_FN if narrow else bins.columns_FN.astype(np.int32))
        self.pairs_N2 = torch.empty((0, 2), dtype=torch.int64, device=device)
        self.spare_N = torch.empty(bins.columns_FN.shape[1], dtype=torch.float64, pin_memory=device.type == "cuda")
        if kernel is None:
            kernel = device.type == "cuda" and is_installed("triton")
        self.rows_NF = self.columns_FN.T.contiguous() if kernel else None
        self.search: Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = super().thresholds
        self.best_division: Callable[[np.ndarray, int, Sums], Split | None] = super().division
        if is_installed("numba"):
            from kb.gbdt.growing.categorical_numba import Divisions
            from kb.gbdt.growing.splitting_numba import Search

            self.search = Search(self.shape, parameters).thresholds
            self.best_division = Divisions(parameters).best

    @property
    def order_R(self) -> np.ndarray:  # noqa: N802 - as the other engines have it
        """The rows of the tree, leaf by leaf; a copy, which waits for the device."""
        order_R: np.ndarray = self.places_R.cpu().numpy()
        return order_R

    @order_R.setter
    def order_R(self, order_R: np.ndarray) -> None:  # noqa: N802
        self.places_R = self._here(order_R)

    def to_fixed_point(self, gradients_N: np.ndarray, hessians_N: np.ndarray) -> FixedPoint:
        """The derivatives as integers, on the device; see :func:`kb.gbdt.growing.fixed_point.to_fixed_point`."""
        columns = [self._here(values_N) for values_N in (gradients_N, hessians_N)]
        largest = torch.stack([values_N.abs().max() for values_N in columns]).tolist()
        exponents = scale_exponents(largest, len(gradients_N))
        # A product with a power of two is exact, and rounding is to the nearest even number as NumPy's.
        scaled = [
            (values_N.double() * math.ldexp(1.0, exponent)).round_()
            for values_N, exponent in zip(columns, exponents, strict=True)
        ]
        pairs_N2 = torch.stack(scaled, dim=1).long()
        return FixedPoint(pairs_N2, *(math.ldexp(1.0, -exponent) for exponent in exponents))

    def begin(self, fixed: FixedPoint, rows_R: np.ndarray) -> None:
        """Start a tree on some rows; derivatives may also be those of another engine."""
        super().begin(fixed, rows_R)
        pairs_N2 = fixed.pairs_N2
        self.pairs_N2 = pairs_N2 if isinstance(pairs_N2, Tensor) else self._here(pairs_N2)

    def add(self, scores_N: np.ndarray, values_L: np.ndarray, starts_L: np.ndarray, stops_L: np.ndarray) -> None:
        """Add the value of each leaf to the scores of its rows, which lie from one place of the order to another."""
        order = np.argsort(starts_L)
        values, rows = self._here(values_L[order]), self._here((stops_L - starts_L)[order])
        added_N = torch.zeros(len(scores_N), dtype=torch.float64, device=self.device)
        added_N[self.places_R.long()] = values.repeat_interleave(rows, output_size=len(self.places_R))
        self._bring(added_N, scores_N)

    def add_to_all(self, scores_N: np.ndarray, tree: Tree) -> None:
        """Add what a tree says to the scores of all rows, those included that it was not grown on."""
        feature_K, left_K, right_K, left_KB, values_L = (
            self._here(of)
            for of in (tree.feature_K, tree.left_K, tree.right_K, left_bins(tree, self.bins), tree.leaf_value_L)
        )
        rows_N = torch.arange(len(scores_N), device=self.device)
        node_N = torch.full_like(rows_N, 0 if len(feature_K) else -1)
        while bool((node_N >= 0).any()):  # all rows take a step at a time
            at_N = node_N.clamp(min=0)
            bin_N = self.columns_FN[feature_K[at_N], rows_N].long()
            below_N = torch.where(left_KB[at_N, bin_N], left_K[at_N], right_K[at_N])
            node_N = torch.where(node_N >= 0, below_N, node_N)
        self._bring(values_L[-1 - node_N], scores_N)

    def histogram(self, start: int, stop: int) -> np.ndarray:
        """The histogram of the rows from one place to another, int64 [F, B, 2]."""
        rows_R, (F, _) = self.places_R[start:stop], self.columns_FN.shape
        if self.rows_NF is not None:
            from kb.gbdt.growing.histogram_triton import histogram

            sums_FB2 = histogram(self.rows_NF, self.pairs_N2, rows_R, F, self.bins.width)
        else:
            sums_FB2 = torch.zeros((F, self.bins.width, 2), dtype=torch.int64, device=self.device)
            for part_R in rows_R.split(_BLOCK):
                bins_FR = self.columns_FN.index_select(1, part_R).long()
                for column, values_R in enumerate(self.pairs_N2.index_select(0, part_R).unbind(1)):
                    sums_FB2[:, :, column].scatter_add_(1, bins_FR, values_R.expand(F, -1))
        made_FB2: np.ndarray = sums_FB2.cpu().numpy()
        return made_FB2

    def thresholds(
        self, histogram_FB2: np.ndarray, sums: Sums
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The best threshold of each feature; see :func:`kb.gbdt.growing.splitting.best_thresholds`."""
        return self.search(histogram_FB2, sums)

    def division(self, histogram_B2: np.ndarray, feature: int, sums: Sums) -> Split | None:
        """The best split by categories; see :func:`kb.gbdt.growing.categorical.best_categories`."""
        return self.best_division(histogram_B2, feature, sums)

    def divide(self, split: Split, start: int, stop: int) -> int:
        """Put the rows that go left first, each side in the order in which it was; returns how many go left."""
        rows_R = self.places_R[start:stop]
        bin_R = self.columns_FN[split.feature].index_select(0, rows_R).int()
        goes_R = self._here(self.goes_left(split)).index_select(0, bin_R)
        upto_R = goes_R.cumsum(0)  # those that go left, the row itself included
        left = upto_R[-1:]
        here_R = torch.arange(len(rows_R), device=self.device)
        place_R = torch.where(goes_R, upto_R - 1, left + here_R - upto_R)
        self.places_R[start:stop] = torch.empty_like(rows_R).scatter_(0, place_R, rows_R)
        return int(left.item())

    def _bring(self, added_N: Tensor, scores_N: np.ndarray) -> None:
        """Add to scores what the device says, by way of memory that it writes to at once."""
        self.spare_N.copy_(added_N)
        scores_N += self.spare_N.numpy()

    def _here(self, values: np.ndarray) -> Tensor:
        return torch.tensor(values, device=self.device)
