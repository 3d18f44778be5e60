"""The Beta distribution as knowledge of one proportion: prior, posterior, and the intervals read off it.

Unusual: improper priors are allowed as priors. Beta(0, 0) (Haldane) or Beta(0, 1) have no area of 1; counts may make a
proper posterior of them, and until then every question about probability is refused.

Sources: Gelman et al. 2013, Bayesian Data Analysis, sections 2.1 to 2.4 and 2.8; Jeffreys 1946 (the prior a = b = 1/2).
Shapes: anything that is an array here is elementwise.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, special

from kb.arguments import is_number, require_count, require_positive
from kb.intervals import Interval


@dataclass(frozen=True)
class Beta:
    """A density proportional to x^(a-1) (1-x)^(b-1) on 0 to 1.

    Args:
        a: Successes that it is worth, 0 or more.
        b: Failures that it is worth, 0 or more.

    Raises:
        ValueError: a or b is no finite number of at least 0.
    """

    a: float
    b: float

    def __post_init__(self) -> None:
        for name in ("a", "b"):
            value = getattr(self, name)
            if not is_number(value) or value < 0:
                raise ValueError(f"{name} must be a number of at least 0, got {value!r}")

    @property
    def proper(self) -> bool:
        """Whether its area is finite, so that it is a distribution."""
        return self.a > 0 and self.b > 0

    def updated(self, successes: int, failures: int) -> "Beta":
        """The posterior: Bayes' rule is an addition here.

        Raises:
            ValueError: a count is none.
        """
        require_count("successes", successes, least=0)
        require_count("failures", failures, least=0)
        return Beta(self.a + int(successes), self.b + int(failures))

    @property
    def mean(self) -> float:
        """The mean, which has the least expected squared error."""
        self.require_proper()
        return self.a / (self.a + self.b)

    @property
    def mode(self) -> float:
        """Where the density is highest (MAP).

        Raises:
            ValueError: improper, flat, or as high at 0 as at 1.
        """
        self.require_proper()
        if self.a <= 1 and self.b <= 1:
            if self.a == 1 or self.b == 1:
                if self.a == self.b:
                    raise ValueError("Beta(1, 1) is flat and has no mode")
                return 0.0 if self.a < self.b else 1.0
            raise ValueError(f"Beta({self.a:g}, {self.b:g}) is infinite at 0 and at 1 and has no mode")
        return min(1.0, max(0.0, (self.a - 1) / (self.a + self.b - 2)))

    def log_density(self, x: Any) -> Any:
        """Natural logarithm of the density at x, minus infinity outside of 0 to 1."""
        self.require_proper()
        x = np.asarray(x, dtype=np.float64)
        inside = (x >= 0) & (x <= 1)
        at = np.where(inside, x, 0.5)
        logs = special.xlogy(self.a - 1, at) + special.xlog1py(self.b - 1, -at) - special.betaln(self.a, self.b)
        return np.where(inside, logs, -np.inf)[()]

    def below(self, x: Any) -> Any:
        """The probability of at most x."""
        self.require_proper()
        return special.betainc(self.a, self.b, np.clip(x, 0.0, 1.0))

    def above(self, x: Any) -> Any:
        """The probability of more than x, not as a difference from 1, so that small ones keep their digits."""
        self.require_proper()
        return special.betaincc(self.a, self.b, np.clip(x, 0.0, 1.0))

    def quantile(self, share: Any) -> Any:
        """The point below which there is a ``share`` of the probability."""
        self.require_proper()
        return special.betaincinv(self.a, self.b, share)

    def equal_tailed(self, confidence: float = 0.95) -> Interval:
        """The interval that leaves the same probability on either side; its estimate is the mean."""
        require_share("confidence", confidence)
        tail = (1 - confidence) / 2
        high = special.betainccinv(self.a, self.b, tail) if self.proper else math.nan
        return Interval(self.mean, float(self.quantile(tail)), float(high))

    def hpd(self, confidence: float = 0.95) -> Interval:
        """The shortest interval, whose density is nowhere below the density outside; its estimate is the mean.

        Raises:
            ValueError: improper; or infinite at both ends, where the highest density is two intervals.
        """
        require_share("confidence", confidence)
        self.require_proper()
        if self.a < 1 and self.b < 1:
            raise ValueError(
                f"Beta({self.a:g}, {self.b:g}) is infinite at 0 and at 1: its highest density is no interval"
            )
        if self.a == 1 and self.b == 1:
            return self.equal_tailed(confidence)
        if self.a <= 1 <= self.b:  # the density falls all the way
            return Interval(self.mean, 0.0, float(self.quantile(confidence)))
        if self.b <= 1:
            return Interval(self.mean, float(self.quantile(1 - confidence)), 1.0)

        def higher_on_the_left(tail: float) -> float:
            low, high = self.quantile(tail), special.betainccinv(self.a, self.b, 1 - confidence - tail)
            return float(np.clip(self.log_density(low) - self.log_density(high), -1e9, 1e9))

        tail = optimize.brentq(higher_on_the_left, 0.0, 1 - confidence, xtol=1e-15, rtol=1e-14)
        high = special.betainccinv(self.a, self.b, 1 - confidence - tail)
        return Interval(self.mean, float(self.quantile(tail)), float(high))

    def require_proper(self) -> None:
        """Refuse an improper one.

        Raises:
            ValueError: it is.
        """
        if not self.proper:
            raise ValueError(f"Beta({self.a:g}, {self.b:g}) is improper: nothing has a probability under it")


FLAT, JEFFREYS, HALDANE = Beta(1, 1), Beta(0.5, 0.5), Beta(0, 0)


def hpd_loop(posterior: Beta, confidence: float = 0.95, *, points: int = 20_000) -> Interval:
    """The reference: cells of a grid from the densest down, until they hold the probability wanted.

    Raises:
        ValueError: as of :meth:`Beta.hpd`.
    """
    require_share("confidence", confidence)
    require_count("points", points)
    edges = np.linspace(0, 1, points + 1)
    held = np.diff(posterior.below(edges))
    kept, total = [], 0.0
    for cell in sorted(range(points), key=lambda cell: -held[cell]):
        kept.append(cell)
        total += held[cell]
        if total >= confidence:
            break
    if max(kept) - min(kept) + 1 != len(kept):
        raise ValueError(f"Beta({posterior.a:g}, {posterior.b:g}): its highest density is no interval")
    return Interval(posterior.mean, float(edges[min(kept)]), float(edges[max(kept) + 1]))


def distance_to_normal(posterior: Beta, mean: float, deviation: float, *, cells: int = 20_000) -> float:
    """Total variation between a Beta and a normal distribution: how far the probability of an event can differ.

    Half the summed differences over small cells (van der Vaart 1998, theorem 10.1, says when it goes to 0).

    Cells that the densities' crossing cuts make it too small by a share of about 1 / cells.

    Raises:
        ValueError: an improper posterior, a mean that is not finite, no deviation, or no cell.
    """
    posterior.require_proper()
    require_count("cells", cells)
    require_positive("deviation", deviation)
    if not is_number(mean):
        raise ValueError(f"mean must be a finite number, got {mean!r}")
    ends = posterior.quantile(np.array([1e-9, 1 - 1e-9]))
    low, high = min(ends[0], mean - 7 * deviation), max(ends[1], mean + 7 * deviation)
    edges = np.concatenate([[-np.inf], np.linspace(low, high, cells + 1), [np.inf]])
    differences = np.diff(posterior.below(edges)) - np.diff(special.ndtr((edges - mean) / deviation))
    return float(np.abs(differences).sum() / 2)


def require_share(name: str, value: object) -> None:
    """Refuse what is not a number strictly between 0 and 1.

    Raises:
        ValueError: it is not; the message names the argument, and what came.
    """
    if not (is_number(value) and 0 < value < 1):
        raise ValueError(f"{name} must be a number between 0 and 1, got {value!r}")
