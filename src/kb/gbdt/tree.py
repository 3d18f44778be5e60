"""A grown tree as arrays, numbered as LightGBM numbers them.

The first split is node 0; a split turns a leaf into a node whose left child keeps the leaf's number and whose right
child gets the next one. A child that is a leaf is written as -1 - its number.

Shapes: K nodes, L = K + 1 leaves, N rows.
"""

# Fields end in their shapes.
# ruff: noqa: N815

from dataclasses import dataclass, field

import numpy as np

from kb.gbdt.binning.mapper import Mapper


@dataclass
class Tree:
    """One tree.

    Attributes:
        feature_K: By which feature a node splits.
        bin_K: The last bin that goes left; of a split by category, a place in ``categories``.
        threshold_K: The largest value that goes left; NaN of a split by category.
        missing_left_K: Whether missing values go left.
        left_K, right_K: The children.
        gain_K: What the split gained.
        node_value_K, node_weight_K, node_count_K: What the node would say as a leaf, its second derivatives and rows.
        leaf_value_L, leaf_weight_L, leaf_count_L: The same of the leaves.
        categories: Of each split by category, the bins and the values that go left.
    """

    feature_K: np.ndarray
    bin_K: np.ndarray
    threshold_K: np.ndarray
    missing_left_K: np.ndarray
    left_K: np.ndarray
    right_K: np.ndarray
    gain_K: np.ndarray
    node_value_K: np.ndarray
    node_weight_K: np.ndarray
    node_count_K: np.ndarray
    leaf_value_L: np.ndarray
    leaf_weight_L: np.ndarray
    leaf_count_L: np.ndarray
    categories: list[tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)

    @property
    def leaves(self) -> int:
        """How many there are."""
        return len(self.leaf_value_L)

    def scale(self, factor: float) -> None:
        """Multiply what all leaves and nodes say."""
        self.leaf_value_L *= factor
        self.node_value_K *= factor

    def shift(self, amount: float) -> None:
        """Add to what all leaves and nodes say."""
        self.leaf_value_L += amount
        self.node_value_K += amount


@dataclass
class Model:
    """What boosting made.

    Attributes:
        mappers: How features are put in bins.
        trees: By round, then by class; each already multiplied by the learning rate, the constant added to the first.
        classes: C.
    """

    mappers: list[Mapper]
    trees: list[list[Tree]] = field(default_factory=list)
    classes: int = 1

    def part(self, first: int, count: int) -> "Model":
        """The same with the trees of ``count`` rounds from ``first`` on."""
        return Model(self.mappers, self.trees[first : first + count], self.classes)
