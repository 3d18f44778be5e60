"""Growing one tree leaf by leaf: always the leaf whose best split gains most, until there are leaves enough.

Of two children only the smaller one's histogram is made from its rows; the other's is the parent's less that. Unusual:
the grower holds numbers of rows and sums as integers and never sees a row; what touches rows is the engine's.

Sources: Shi 2007, Best-first Decision Tree Learning; Ke et al. 2017, LightGBM, section 2.
"""

# Fields end in their shapes.
# ruff: noqa: N815

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kb.gbdt.binning.mapper import Categories, Mapper
from kb.gbdt.growing.engine import NumpyEngine
from kb.gbdt.growing.fixed_point import FixedPoint
from kb.gbdt.growing.splitting import Split, Sums, leaf_value
from kb.gbdt.tree import Tree


@dataclass
class Leaf:
    """A leaf while the tree grows: where its rows are, what they sum to, and how it would split."""

    start: int
    stop: int
    sums: Sums
    depth: int
    value: float
    histogram: np.ndarray | None = None
    open_F: np.ndarray = field(default_factory=lambda: np.empty(0, bool))
    split: Split | None = None

    @property
    def rows(self) -> int:
        """How many there are."""
        return self.stop - self.start


@dataclass(frozen=True)
class Grown:
    """A tree, and where the rows of each leaf lie in the engine's order."""

    tree: Tree
    starts_L: np.ndarray
    stops_L: np.ndarray


def grow(
    engine: NumpyEngine, mappers: list[Mapper], fixed: FixedPoint, rows_R: np.ndarray, open_F: np.ndarray
) -> Grown:
    """One tree on some rows, splitting by the open features.

    Args:
        engine: Holds the bins and the rules.
        mappers: Of the features, for the thresholds.
        fixed: Gradients and second derivatives of all rows.
        rows_R: Which rows the tree sees.
        open_F: Which features it may use.
    """
    parameters = engine.parameters
    engine.begin(fixed, rows_R)
    histogram = engine.histogram(0, len(rows_R))
    gradient, hessian = histogram[0].sum(axis=0).tolist()  # each feature's bins hold every row once
    sums = Sums(gradient, hessian, len(rows_R), fixed.unit_gradient, fixed.unit_hessian)
    value = _value(sums, parameters.reg_lambda, parameters.reg_alpha)
    root = Leaf(0, len(rows_R), sums, 0, value, histogram, open_F)
    _look(engine, root)
    leaves, nodes = [root], _Nodes(mappers)
    while len(leaves) < parameters.num_leaves:
        number = max(range(len(leaves)), key=lambda place: _gain(leaves[place]))  # of equal ones the first
        leaf = leaves[number]
        if leaf.split is None:
            break
        left, right = _divide(engine, leaf, leaf.split)
        nodes.add(leaf, leaf.split, number, left, right, len(leaves))
        _children_histograms(engine, leaf, left, right)
        leaves[number] = left
        leaves.append(right)
    starts = np.array([leaf.start for leaf in leaves])
    return Grown(nodes.tree(leaves), starts, np.array([leaf.stop for leaf in leaves]))


def _gain(leaf: Leaf) -> float:
    return -np.inf if leaf.split is None else leaf.split.gain


def _value(sums: Sums, l2: float, l1: float) -> float:
    gradient, hessian = sums.gradient * sums.unit_gradient, sums.hessian * sums.unit_hessian
    if hessian + l2 <= 0:
        return 0.0
    return float(np.clip(leaf_value(gradient, hessian, l1, l2), sums.low, sums.high))


def _look(engine: NumpyEngine, leaf: Leaf) -> None:
    """Find the best split of a leaf."""
    assert leaf.histogram is not None
    limit = engine.parameters.max_depth
    if 0 < limit <= leaf.depth:
        return
    leaf.split, leaf.open_F = engine.best(leaf.histogram, leaf.sums, leaf.open_F)


def _divide(engine: NumpyEngine, leaf: Leaf, split: Split) -> tuple[Leaf, Leaf]:
    """Two leaves of one."""
    middle = leaf.start + engine.divide(split, leaf.start, leaf.stop)
    sums, l1 = leaf.sums, engine.parameters.reg_alpha
    left = sums._replace(gradient=split.gradient, hessian=split.hessian, rows=middle - leaf.start)
    right = sums._replace(
        gradient=sums.gradient - split.gradient, hessian=sums.hessian - split.hessian, rows=leaf.stop - middle
    )
    values = _value(left, split.l2, l1), _value(right, split.l2, l1)
    direction = int(engine.shape.monotone_F[split.feature])
    if direction:
        halfway = (values[0] + values[1]) / 2
        lower, upper = (left, right) if direction > 0 else (right, left)
        lower, upper = lower._replace(high=min(lower.high, halfway)), upper._replace(low=max(upper.low, halfway))
        left, right = (lower, upper) if direction > 0 else (upper, lower)
    return (
        Leaf(leaf.start, middle, left, leaf.depth + 1, values[0], open_F=leaf.open_F),
        Leaf(middle, leaf.stop, right, leaf.depth + 1, values[1], open_F=leaf.open_F),
    )


def _children_histograms(engine: NumpyEngine, leaf: Leaf, left: Leaf, right: Leaf) -> None:
    assert leaf.histogram is not None
    if max(left.rows, right.rows) < 2 * engine.parameters.min_child_samples:
        leaf.histogram = None  # neither can be split
        return
    small, large = (left, right) if left.rows < right.rows else (right, left)
    small.histogram, large.histogram = engine.siblings(leaf.histogram, small.start, small.stop)
    leaf.histogram = None
    _look(engine, left)
    _look(engine, right)


class _Nodes:
    """The splits so far."""

    def __init__(self, mappers: list[Mapper]) -> None:
        self.mappers = mappers
        self.rows: list[dict[str, Any]] = []
        self.categories: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        self.places: dict[int, tuple[int, str]] = {}  # of each leaf, the node above and the side

    def add(self, leaf: Leaf, split: Split, number: int, left: Leaf, right: Leaf, new: int) -> None:
        """Note that a leaf became a node."""
        node = len(self.rows)
        if number in self.places:
            above, side = self.places[number]
            self.rows[above][side] = node
        mapper = self.mappers[split.feature]
        if isinstance(mapper, Categories):
            bin_, threshold = len(self.categories), np.nan
            bins = tuple(sorted(split.categories))
            self.categories.append((bins, tuple(sorted(mapper.values[bin_ - 1] for bin_ in bins))))
        else:
            bin_, threshold = split.threshold, mapper.threshold(split.threshold)
        self.rows.append(
            {
                "feature": split.feature,
                "bin": bin_,
                "threshold": threshold,
                "missing_left": split.missing_left,
                "left": -1 - number,
                "right": -1 - new,
                "gain": split.gain,
                "value": leaf.value,
                "weight": leaf.sums.hessian * leaf.sums.unit_hessian,
                "count": leaf.rows,
            }
        )
        self.places[number], self.places[new] = (node, "left"), (node, "right")

    def tree(self, leaves: list[Leaf]) -> Tree:
        """The tree as arrays."""

        def column(name: str, dtype: type) -> np.ndarray:
            return np.array([row[name] for row in self.rows], dtype)

        return Tree(
            column("feature", np.int32),
            column("bin", np.int32),
            column("threshold", np.float64),
            column("missing_left", np.bool_),
            column("left", np.int32),
            column("right", np.int32),
            column("gain", np.float64),
            column("value", np.float64),
            column("weight", np.float64),
            column("count", np.int64),
            np.array([leaf.value for leaf in leaves], np.float64),
            np.array([leaf.sums.hessian * leaf.sums.unit_hessian for leaf in leaves], np.float64),
            np.array([leaf.rows for leaf in leaves], np.int64),
            self.categories,
        )
