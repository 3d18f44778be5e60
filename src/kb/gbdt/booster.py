"""Boosting: round after round, a tree on the derivatives of the loss at the scores so far.

Sources: Friedman 2001, Greedy Function Approximation; Ke et al. 2017, LightGBM, algorithm 2 (GOSS).
Shapes: N rows, F features, C trees a round, T rounds, R rows of a tree.
"""

# Fields end in their shapes.
# ruff: noqa: N815

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kb.gbdt.binning.mapper import Mapper
from kb.gbdt.growing.engine import NumpyEngine
from kb.gbdt.growing.grower import Grown, grow
from kb.gbdt.losses.loss import Loss
from kb.gbdt.sampling.row_sampling import RowSampling
from kb.gbdt.tree import Model, Tree


@dataclass(frozen=True)
class Training:
    """What boosting is given.

    Attributes:
        mappers: How the training data were put in bins.
        targets_N: What is to be predicted.
        loss: Of the scores.
        engine: What grows the trees.
        learning_rate: By what each tree is multiplied, unless a callback changes it.
        weights_N: Of the rows; None for all alike.
        init_scores_NC: Where scores start, instead of at the loss's constant.
        rows: Chooses the rows of a tree; None for all.
        features: Gives the features of the next tree as a mask; None for all.
    """

    mappers: list[Mapper]
    targets_N: np.ndarray
    loss: Loss
    engine: NumpyEngine
    learning_rate: float
    weights_N: np.ndarray | None = None
    init_scores_NC: np.ndarray | None = None
    rows: RowSampling | None = None
    features: Callable[[], np.ndarray] | None = None


class Boosting:
    """The model so far, and what it says of the training data.

    Args:
        training: Data, loss and rules.

    Attributes:
        model: Its trees.
        scores_NC: Their sums, and the start.
        learning_rate: By what the trees to come are multiplied.
    """

    def __init__(self, training: Training) -> None:
        N, C, loss = len(training.targets_N), training.loss.classes, training.loss
        self.training, self.learning_rate = training, training.learning_rate
        self.model = Model(training.mappers, classes=C)
        if training.init_scores_NC is None:
            self._start_C = loss.start(training.targets_N, training.weights_N)
            self.scores_NC = np.tile(self._start_C, (N, 1))
        else:
            self._start_C = np.zeros(C)
            self.scores_NC = training.init_scores_NC.copy()

    def step(self) -> list[Tree]:
        """Fit the next round's trees to the derivatives of the loss; returns them."""
        training, number = self.training, len(self.model.trees)
        derivatives = training.loss.derivatives(self.scores_NC, training.targets_N, training.weights_N)
        chosen_R, factors_N = np.arange(len(self.scores_NC), dtype=np.int32), None
        if training.rows is not None:
            chosen_R, factors_N = training.rows.choose(number, *derivatives)
        trees = []
        for c in range(training.loss.classes):
            columns = [values_NC[:, c] for values_NC in derivatives]
            if factors_N is not None:
                columns = [values_N * factors_N for values_N in columns]
            tree = _tree(training, self.learning_rate, columns, self.scores_NC[:, c], chosen_R)
            if number == 0:
                tree.shift(self._start_C[c])
            trees.append(tree)
        self.model.trees.append(trees)
        return trees


def _tree(
    training: Training, learning_rate: float, derivatives: list[np.ndarray], scores_N: np.ndarray, rows_R: np.ndarray
) -> Tree:
    """Grow one tree, and add what it says to the scores."""
    engine = training.engine
    open_F = np.ones(len(training.mappers), bool) if training.features is None else training.features()
    grown = grow(engine, training.mappers, engine.to_fixed_point(*derivatives), rows_R, open_F)
    if training.loss.renews:
        _renew(grown, engine, training.loss, training.targets_N - scores_N, training.weights_N)
    grown.tree.scale(learning_rate)
    if len(rows_R) < len(scores_N):
        engine.add_to_all(scores_N, grown.tree)
    else:
        engine.add(scores_N, grown.tree.leaf_value_L, grown.starts_L, grown.stops_L)
    return grown.tree


def _renew(
    grown: Grown, engine: NumpyEngine, loss: Loss, residuals_N: np.ndarray, weights_N: np.ndarray | None
) -> None:
    """Let each leaf say what the loss wants of the residuals of its rows."""
    order_R = engine.order_R  # once, as it may have to come from another device
    for leaf, (start, stop) in enumerate(zip(grown.starts_L, grown.stops_L, strict=True)):
        rows_R = order_R[start:stop]
        weights_R = None if weights_N is None else weights_N[rows_R]
        grown.tree.leaf_value_L[leaf] = loss.renew(residuals_N[rows_R], weights_R)
