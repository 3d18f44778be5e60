"""A penalty is a prior: ridge is a Gaussian one, the lasso a Laplace one; and where the likeness ends.

Unusual: with a Laplace prior the most probable weight may be exactly 0 (soft thresholding), the mean and the median of
the same posterior never are for an observation that is not 0. All three are closed forms here, since that posterior is
two pieces of Gaussians.

Sources: Hoerl and Kennard 1970; Tibshirani 1996 (lasso as a posterior mode); Park and Casella 2008; Bishop
2006, Pattern Recognition and Machine Learning, equations 3.53 to 3.55.
Shapes: N examples, D weights.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from kb.arguments import is_number
from kb.bayes.beta import require_positive


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian posterior: mean [D] and covariance [D, D]."""

    mean: np.ndarray
    covariance: np.ndarray

    @property
    def deviation(self) -> np.ndarray:
        """The standard deviation of each weight alone, [D]."""
        return np.sqrt(np.diag(self.covariance))


def ridge_posterior(x_ND: np.ndarray, y_N: np.ndarray, *, noise: float, prior_sd: float) -> Gaussian:
    """Weights of a linear model whose noise and whose prior about 0 are Gaussian, of known deviations.

    The mean, which is also the mode, is ridge regression with the penalty ``noise**2 / prior_sd**2``.

    Raises:
        ValueError: shapes do not fit, a value is not finite, or a deviation is not above 0.
    """
    x_ND, y_N = read_examples(x_ND, y_N)
    for name, value in (("noise", noise), ("prior_sd", prior_sd)):
        require_positive(name, value)
    gram_DD = x_ND.T @ x_ND + (noise / prior_sd) ** 2 * np.eye(x_ND.shape[1])
    covariance_DD = noise**2 * np.linalg.inv(gram_DD)
    return Gaussian(np.linalg.solve(gram_DD, x_ND.T @ y_N), covariance_DD)


@dataclass(frozen=True)
class LaplacePosterior:
    """What is known of t after one y with Gaussian noise, if t has the prior density exp(-|t| / scale) / (2 scale).

    Args:
        y: What was observed.
        noise: Standard deviation of y about t.
        scale: Mean size of t under the prior.

    Raises:
        ValueError: y is not finite, or one of the others is not above 0.
    """

    y: float
    noise: float
    scale: float

    def __post_init__(self) -> None:
        if not is_number(self.y):
            raise ValueError(f"y must be a finite number, got {self.y!r}")
        require_positive("noise", self.noise)
        require_positive("scale", self.scale)

    @property
    def mode(self) -> float:
        """MAP: y moved towards 0 by noise**2 / scale, and 0 if that passes it."""
        return math.copysign(max(0.0, abs(self.y) - self.noise**2 / self.scale), self.y) + 0.0  # no -0.0

    @property
    def negative(self) -> float:
        """The probability that t is below 0."""
        logs = [self._log_mass(side) for side in (-1, 1)]
        return math.exp(logs[0] - np.logaddexp(logs[0], logs[1]))

    @property
    def mean(self) -> float:
        """The posterior mean: y moved by noise**2 / scale, times P(t > 0) - P(t < 0)."""
        # What truncation adds to the means of the two halves is equal and cancels, as the density has no jump at 0.
        return self.y - self.noise**2 / self.scale * (1 - 2 * self.negative)

    @property
    def median(self) -> float:
        """The posterior median."""
        side = -1 if self.negative > 0.5 else 1
        weight = self.negative if side < 0 else 1 - self.negative
        # In the direction of the side, t > 0 has the mass `weight`, and 1/2 of the whole lies beyond the median.
        centre = self._centre(side)
        log_beyond = math.log(0.5 / weight) + special.log_ndtr(centre / self.noise)
        return side * max(0.0, centre - self.noise * float(special.ndtri_exp(log_beyond)))

    def _centre(self, side: int) -> float:
        return side * self.y - self.noise**2 / self.scale

    def _log_mass(self, side: int) -> float:
        return float(-side * self.y / self.scale + special.log_ndtr(self._centre(side) / self.noise))


def read_examples(x_ND: np.ndarray, y_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Examples as float64, once their shapes and values are known to be fit.

    Raises:
        ValueError: x is no matrix with a row for each y, there is none, or a value is not finite.
    """
    x_ND, y_N = np.asarray(x_ND, dtype=np.float64), np.asarray(y_N, dtype=np.float64)
    if x_ND.ndim != 2 or y_N.ndim != 1 or len(x_ND) != len(y_N) or not x_ND.size:
        raise ValueError(f"x must be a matrix with a row for each y, got {x_ND.shape} and {y_N.shape}")
    if not np.isfinite(x_ND).all() or not np.isfinite(y_N).all():
        raise ValueError("x and y must be finite")
    return x_ND, y_N
