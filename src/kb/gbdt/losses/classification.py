"""Losses of classes: logistic for two, softmax for more.

Source: Friedman, Hastie and Tibshirani 2000, Additive Logistic Regression.
Shapes: N rows, C classes.
"""

import math

import numpy as np

from kb.gbdt.losses.exponential import exponential
from kb.gbdt.losses.loss import Loss, average, exact_sum, weighted
from kb.installed import is_installed

_NEVER = 1e-15  # a chance that stands for none


class Logistic(Loss):
    """The negative log-likelihood of two classes, 0 and 1; the probability of 1 is the sigmoid of the score."""

    name = "binary"

    def check(self, targets_N: np.ndarray) -> None:
        """Refuse what is neither 0 nor 1."""
        if not np.isin(targets_N, (0, 1)).all():
            raise ValueError("binary needs targets of 0 and 1")

    def start(self, targets_N: np.ndarray, weights_N: np.ndarray | None) -> np.ndarray:
        """The log-odds of the share of ones."""
        share = min(max(average(targets_N, weights_N), _NEVER), 1 - _NEVER)
        return np.array([math.log(share / (1 - share))])

    def derivatives(
        self, scores_NC: np.ndarray, targets_N: np.ndarray, weights_N: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Probability less target; and probability times its counterpart."""
        if is_installed("numba"):
            from kb.gbdt.losses import classification_numba

            return classification_numba.logistic(scores_NC[:, 0], targets_N, weights_N)
        signs_N = np.where(targets_N > 0, 1.0, -1.0)[:, None]
        gradients_NC = -signs_N / (1.0 + exponential(signs_N * scores_NC))
        sizes_NC = np.abs(gradients_NC)
        return weighted(gradients_NC, sizes_NC * (1.0 - sizes_NC), weights_N)

    def predict(self, scores_NC: np.ndarray) -> np.ndarray:
        """The probabilities of 0 and of 1, [N, 2]."""
        ones_N = 1.0 / (1.0 + exponential(-scores_NC[:, 0]))
        return np.stack([1.0 - ones_N, ones_N], axis=1)


class Softmax(Loss):
    """The negative log-likelihood of several classes, one tree each a round.

    Args:
        classes: How many there are, at least 2.
    """

    name = "multiclass"

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def check(self, targets_N: np.ndarray) -> None:
        """Refuse what is no number of a class."""
        if not np.isin(targets_N, np.arange(self.classes)).all():
            raise ValueError(f"multiclass needs targets from 0 to {self.classes - 1}")

    def start(self, targets_N: np.ndarray, weights_N: np.ndarray | None) -> np.ndarray:
        """The logarithms of the classes' shares."""
        members = [targets_N == c for c in range(self.classes)]
        if weights_N is None:
            shares = [int(one_N.sum()) / len(targets_N) for one_N in members]
        else:
            total = exact_sum(weights_N)
            shares = [exact_sum(weights_N[one_N]) / total for one_N in members]
        return np.array([math.log(max(share, _NEVER)) for share in shares])

    def derivatives(
        self, scores_NC: np.ndarray, targets_N: np.ndarray, weights_N: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities less the targets; and LightGBM's bound on the curvature."""
        chances_NC = self.predict(scores_NC)
        hessians_NC = self.classes / (self.classes - 1) * chances_NC * (1.0 - chances_NC)
        chances_NC[np.arange(len(targets_N)), targets_N.astype(np.int64)] -= 1.0
        return weighted(chances_NC, hessians_NC, weights_N)

    def predict(self, scores_NC: np.ndarray) -> np.ndarray:
        """The probabilities, [N, C]."""
        chances_NC = exponential(scores_NC - scores_NC.max(axis=1, keepdims=True))
        sums_N = np.zeros(len(chances_NC))
        for c in range(self.classes):  # one after the other, where NumPy's own sum has orders that depend on C
            sums_N += chances_NC[:, c]
        chances_NC /= sums_N[:, None]
        return chances_NC
