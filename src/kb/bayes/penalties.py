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

from kb.arguments import is_number, require_positive

MOST_STEPS = 100


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
        ValueError: shapes do not fit, a value is not finite, a deviation is not above 0, or columns that depend on each
            other have a prior so wide that floats lose it beside the data.
    """
    x_ND, y_N = read_examples(x_ND, y_N)
    for name, value in (("noise", noise), ("prior_sd", prior_sd)):
        require_positive(name, value)
    gram_DD = x_ND.T @ x_ND + (noise / prior_sd) ** 2 * np.eye(x_ND.shape[1])
    if singular(gram_DD):
        raise ValueError(
            f"x has columns that depend on each other, and prior_sd={prior_sd!r} is too large to settle their weights"
        )
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
        return float(special.expit(self._log_mass(-1) - self._log_mass(1)))

    @property
    def mean(self) -> float:
        """The posterior mean: y moved by noise**2 / scale, times P(t > 0) - P(t < 0)."""
        # As a sum over both sides: with a narrow prior, y and what moves it would cancel to the last digit.
        negative = self.negative
        return (1 - negative) * self._mean_size(1) - negative * self._mean_size(-1)

    @property
    def median(self) -> float:
        """The posterior median."""
        side = -1 if self.negative > 0.5 else 1
        weight = self.negative if side < 0 else 1 - self.negative
        # In the direction of the side, t > 0 has the mass `weight`, and 1/2 of the whole lies beyond the median.
        h, log_beyond = self._middle(side), min(0.0, math.log(0.5 / weight))
        if h > 0:
            beyond = float(special.ndtri_exp(log_beyond + special.log_ndtr(h)))
            return side * max(0.0, self.noise * (h - beyond))
        return side * self.noise * _cut(h, log_beyond)

    def _middle(self, side: int) -> float:
        """Where the Gaussian piece of a side has its middle, in units of the noise; below 0 it is outside that side."""
        return side * self.y / self.noise - self.noise / self.scale

    def _log_mass(self, side: int) -> float:
        """Of a side, but for what is the same for both."""
        h = self._middle(side)
        return float(h * h / 2 + special.log_ndtr(h)) if h > 0 else math.log(_scaled_tail(-h) / 2)

    def _mean_size(self, side: int) -> float:
        """The mean of abs(t), given the side."""
        h = self._middle(side)
        if h > -50:
            return self.noise * (h + math.sqrt(2 / math.pi) / _scaled_tail(-h))
        # The first terms of the sum would cancel; these are the next of its series in 1 / h.
        r = 1 / (h * h)
        return self.noise / -h * (1 + r * (-2 + r * (10 + r * (-74 + r * 706))))


def _scaled_tail(h: float) -> float:
    """Twice the standard normal's probability beyond h, times exp(h**2 / 2)."""
    return float(special.erfcx(h / math.sqrt(2)))


def _cut(h: float, log_share: float) -> float:
    """What a standard normal known to be above -h, with h at most 0, exceeds -h by with a probability; by Newton."""
    more = 0.0
    for _ in range(MOST_STEPS):
        tail = _scaled_tail(more - h)
        over = more * (h - more / 2) + math.log(tail / _scaled_tail(-h)) - log_share
        step = over * tail / math.sqrt(2 / math.pi)
        more += step
        if abs(step) <= 1e-15 * more:
            break
    return max(0.0, more)


def singular(matrix_DD: np.ndarray) -> bool:
    """Whether floats cannot invert a symmetric matrix that is not negative; scales of columns do not count."""
    size_D = np.sqrt(np.diag(matrix_DD))
    size_D = np.where(size_D > 0, size_D, 1.0)
    rank = np.linalg.matrix_rank(matrix_DD / size_D / size_D[:, None], hermitian=True)
    return bool(rank < len(matrix_DD))


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
