"""Losses of numbers: squared, absolute, Huber's, of a quantile, and of counts.

Sources: Huber 1964, Robust Estimation of a Location Parameter; Koenker and Bassett 1978, Regression Quantiles;
LightGBM's documentation of ``alpha`` and ``poisson_max_delta_step``.
"""

import math

import numpy as np

from kb.arguments import is_number
from kb.gbdt.losses.exponential import exponential
from kb.gbdt.losses.loss import Loss, average, weighted


class Squared(Loss):
    """Half the squared error: the gradient is the score less the target, the negative residual."""

    name = "regression"

    def start(self, targets_N: np.ndarray, weights_N: np.ndarray | None) -> np.ndarray:
        """The mean."""
        return np.array([average(targets_N, weights_N)])

    def derivatives(
        self, scores_NC: np.ndarray, targets_N: np.ndarray, weights_N: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Residuals, and ones."""
        errors_NC = scores_NC - targets_N[:, None]
        return weighted(errors_NC.astype(np.float32), np.ones_like(errors_NC, np.float32), weights_N)


class Quantile(Loss):
    """The error, times alpha where the target is above, times 1 - alpha where it is below.

    Args:
        alpha: The share of the targets that lies below the quantile, between 0 and 1.

    Raises:
        ValueError: alpha is not between 0 and 1.
    """

    name = "quantile"
    renews = True

    def __init__(self, alpha: float = 0.9) -> None:
        if not is_number(alpha) or not 0 < alpha < 1:
            raise ValueError(f"alpha must be a number between 0 and 1, got {alpha!r}")
        self.alpha = alpha

    def start(self, targets_N: np.ndarray, weights_N: np.ndarray | None) -> np.ndarray:
        """The quantile."""
        return np.array([np.float32(percentile(targets_N.astype(np.float32), weights_N, self.alpha))], np.float64)

    def derivatives(
        self, scores_NC: np.ndarray, targets_N: np.ndarray, weights_N: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Signs, weighed; and ones, as there is no curvature."""
        above = scores_NC - targets_N[:, None] >= 0
        gradients = np.where(above, np.float32(1) - np.float32(self.alpha), -np.float32(self.alpha))
        return weighted(gradients, np.ones_like(gradients), weights_N)

    def renew(self, residuals_R: np.ndarray, weights_R: np.ndarray | None) -> float:
        """The quantile of the leaf's residuals."""
        return percentile(residuals_R, weights_R, self.alpha)


class Absolute(Loss):
    """The absolute error, whose best constant is the median."""

    name = "regression_l1"
    renews = True

    def start(self, targets_N: np.ndarray, weights_N: np.ndarray | None) -> np.ndarray:
        """The median."""
        return np.array([np.float32(percentile(targets_N.astype(np.float32), weights_N, 0.5))], np.float64)

    def derivatives(
        self, scores_NC: np.ndarray, targets_N: np.ndarray, weights_N: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Signs; and ones, as there is no curvature."""
        signs = np.sign(scores_NC - targets_N[:, None])
        return weighted(signs, np.ones_like(signs), weights_N)

    def renew(self, residuals_R: np.ndarray, weights_R: np.ndarray | None) -> float:
        """The median of the leaf's residuals."""
        return percentile(residuals_R, weights_R, 0.5)


class Huber(Loss):
    """Squared near the target, absolute beyond alpha.

    Args:
        alpha: Where the one becomes the other, positive.

    Raises:
        ValueError: alpha is not positive.
    """

    name = "huber"

    def __init__(self, alpha: float = 0.9) -> None:
        if not is_number(alpha) or not alpha > 0:
            raise ValueError(f"alpha must be a positive number, got {alpha!r}")
        self.alpha = alpha

    def start(self, targets_N: np.ndarray, weights_N: np.ndarray | None) -> np.ndarray:
        """The mean."""
        return np.array([average(targets_N, weights_N)])

    def derivatives(
        self, scores_NC: np.ndarray, targets_N: np.ndarray, weights_N: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Residuals, clipped; and ones."""
        errors_NC = np.clip(scores_NC - targets_N[:, None], -self.alpha, self.alpha)
        return weighted(errors_NC, np.ones_like(errors_NC), weights_N)


class Poisson(Loss):
    """The negative log-likelihood of counts whose mean is exp(score).

    Args:
        max_delta_step: Added to the score in the second derivative, which keeps the first steps small.

    Raises:
        ValueError: it is not positive.
    """

    name = "poisson"

    def __init__(self, max_delta_step: float = 0.7) -> None:
        if not is_number(max_delta_step) or not max_delta_step > 0:
            raise ValueError(f"poisson_max_delta_step must be a positive number, got {max_delta_step!r}")
        self.max_delta_step = max_delta_step

    def check(self, targets_N: np.ndarray) -> None:
        """Refuse negative counts, and no counts at all."""
        if targets_N.min() < 0 or targets_N.sum() == 0:
            raise ValueError("objective 'poisson' needs y of at least 0, and above 0 in some row whose weight is not 0")

    def start(self, targets_N: np.ndarray, weights_N: np.ndarray | None) -> np.ndarray:
        """The logarithm of the mean."""
        return np.array([math.log(average(targets_N, weights_N))])

    def derivatives(
        self, scores_NC: np.ndarray, targets_N: np.ndarray, weights_N: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean less count, and the mean, made larger."""
        means_NC = exponential(scores_NC)
        return weighted(means_NC - targets_N[:, None], means_NC * exponential(self.max_delta_step), weights_N)

    def predict(self, scores_NC: np.ndarray) -> np.ndarray:
        """The mean."""
        return exponential(scores_NC[:, 0])


def percentile(values: np.ndarray, weights: np.ndarray | None, alpha: float) -> float:
    """The quantile as LightGBM takes it, with alpha in 32 bits.

    Without weights it lies between two neighbouring values, as ``numpy.quantile`` has it. With weights it lies where
    their running sum passes the share alpha: between two values if the upper one weighs at least 1, else at the lower.
    Where equal values have different weights the first of them may decide, as in LightGBM; nowhere else does it matter
    in which order values are given.

    Args:
        values: At least one.
        weights: Of the values, or None for all alike.
        alpha: The share of the values below.
    """
    alpha = float(np.float32(alpha))
    if weights is None:
        position = (len(values) - 1) * (1.0 - alpha)  # from the top
        upper = len(values) - 1 - int(position)
        lower = max(upper - 1, 0)
        found = np.partition(values, (lower, upper))
        # The difference is of the values' own precision, the rest of float64.
        return float(found[upper] - (found[upper] - found[lower]) * np.float64(position - int(position)))
    order = np.argsort(values, kind="stable")
    ordered, up_to = values[order], weights[order].cumsum()
    wanted = up_to[-1] * alpha
    place = min(int(np.searchsorted(up_to, wanted, side="right")), len(values) - 1)
    if place in (0, len(values) - 1):
        return float(ordered[place])
    weight = up_to[place] - up_to[place - 1]
    share = (wanted - up_to[place - 1]) / weight if weight >= 1.0 else 0.0
    return float(share * (ordered[place] - ordered[place - 1]) + ordered[place - 1])
