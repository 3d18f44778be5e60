"""Losses of classes: logistic for two, softmax for more.

Source: Friedman, Hastie and Tibshirani 2000, Additive Logistic Regression.
Shapes: N rows, C classes.
"""

import numpy as np

from kb.gbdt.losses.loss import Loss, average, weighted

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
        share = np.clip(average(targets_N, weights_N), _NEVER, 1 - _NEVER)
        return np.array([np.log(share / (1 - share))])

    def derivatives(
        self, scores_NC: np.ndarray, targets_N: np.ndarray, weights_N: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Probability less target; and probability times its counterpart."""
        signs_N = np.where(targets_N > 0, 1.0, -1.0)[:, None]
        with np.errstate(over="ignore"):
            gradients_NC = -signs_N / (1.0 + np.exp(signs_N * scores_NC))
        sizes_NC = np.abs(gradients_NC)
        return weighted(gradients_NC, sizes_NC * (1.0 - sizes_NC), weights_N)

    def predict(self, scores_NC: np.ndarray) -> np.ndarray:
        """The probabilities of 0 and of 1, [N, 2]."""
        with np.errstate(over="ignore"):
            ones_N = 1.0 / (1.0 + np.exp(-scores_NC[:, 0]))
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
        shares = np.array([average(targets_N == c, weights_N) for c in range(self.classes)])
        return np.log(np.maximum(shares, _NEVER))

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
        exponentials_NC = np.exp(scores_NC - scores_NC.max(axis=1, keepdims=True))
        return exponentials_NC / exponentials_NC.sum(axis=1, keepdims=True)
