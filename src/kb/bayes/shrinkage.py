"""Many parameters at once: James and Stein's estimator, and a hierarchical model of proportions.

Unusual: Stein's result is a frequentist one (for every truth, the summed risk is below that of the means), and it says
what a hierarchical Bayesian does: let the groups tell how far to pull each towards the others. The hierarchy is
integrated on a grid, two parameters at a time, with nothing sampled.

Sources: James and Stein 1961; Efron and Morris 1975, Data Analysis Using Stein's Estimator and Its Generalizations,
Journal of the American Statistical Association 70:311-319 (the batting averages, here as in the R package pscl);
Gelman et al. 2013, Bayesian Data Analysis, section 5.3 (the hierarchy and its prior).
Shapes: D groups, R repetitions, M and S points of the grid.
"""

import math

import numpy as np
from scipy import special

from kb.arguments import require_count, require_positive

AT_BATS = 45
# Hits in the first 45 at-bats of 1970, at-bats in the rest of the season, and the average in it.
BATTING = (
    ("Clemente", 18, 367, 0.346),
    ("F. Robinson", 17, 426, 0.298),
    ("F. Howard", 16, 521, 0.276),
    ("Johnstone", 15, 275, 0.222),
    ("Berry", 14, 418, 0.273),
    ("Spencer", 14, 466, 0.270),
    ("Kessinger", 13, 586, 0.263),
    ("Alvarado", 12, 138, 0.210),
    ("Santo", 11, 510, 0.269),
    ("Swoboda", 11, 200, 0.230),
    ("Unser", 10, 277, 0.264),
    ("Williams", 10, 270, 0.256),
    ("Scott", 10, 435, 0.303),
    ("Petrocelli", 10, 538, 0.264),
    ("Rodriguez", 10, 186, 0.226),
    ("Campaneris", 9, 558, 0.285),
    ("Munson", 8, 408, 0.316),
    ("Alvis", 7, 70, 0.200),
)


def james_stein(values_RD: np.ndarray, variance: float, *, about_mean: bool = False) -> np.ndarray:
    """Each row pulled towards 0, or towards its own mean, by a share that the row itself tells; never past it.

    Args:
        values_RD: Independent normal estimates of known variance, [R, D] or [D].
        variance: Of each.
        about_mean: Pull towards the row's mean, which costs one more dimension.

    Raises:
        ValueError: fewer than three groups (four about the mean), a value that is not finite, or no variance.
    """
    values_RD = np.asarray(values_RD, dtype=np.float64)
    require_positive("variance", variance)
    least = 4 if about_mean else 3
    if values_RD.ndim not in (1, 2) or values_RD.shape[-1] < least or not np.isfinite(values_RD).all():
        raise ValueError(f"values must be finite, of at least {least} groups, got {values_RD.shape}")
    centre = values_RD.mean(axis=-1, keepdims=True) if about_mean else 0.0
    apart_RD = values_RD - centre
    squares = (apart_RD**2).sum(axis=-1, keepdims=True)
    kept = 1 - (values_RD.shape[-1] - least + 1) * variance / np.where(squares > 0, squares, np.inf)
    return centre + np.maximum(kept, 0.0) * apart_RD


def hierarchy(successes_D: np.ndarray, totals_D: np.ndarray, *, grid: int = 120) -> np.ndarray:
    """Posterior means, [D], of proportions that come from one Beta of unknown mean and strength, over a grid of both.

    The prior is flat in the mean and in (a + b)^(-1/2), which is of the size of the spread between groups, up to 1.
    The grid is even in arcsin(sqrt(mean)), so that it is as dense near 0 and 1 as what counts there tell of the mean.

    Raises:
        ValueError: counts do not fit each other, fewer than two groups, or a grid of under ten points.
    """
    k_D, n_D = np.asarray(successes_D, dtype=np.float64), np.asarray(totals_D, dtype=np.float64)
    require_count("grid", grid, least=10)
    if k_D.ndim != 1 or k_D.shape != n_D.shape or len(k_D) < 2:
        raise ValueError(f"successes and totals must be vectors of one length, at least 2, got {k_D.shape} {n_D.shape}")
    whole = (k_D == np.floor(k_D)) & (n_D == np.floor(n_D))
    if not (whole & (k_D >= 0) & (k_D <= n_D) & (n_D >= 1) & (n_D < np.inf)).all():
        raise ValueError("successes must be whole numbers from 0 to totals, and totals at least 1")
    angle_M = (np.arange(grid) + 0.5) / grid * (math.pi / 2)
    s_S = ((np.arange(grid) + 0.5) / grid) ** -2.0
    a_MS, b_MS = np.sin(angle_M)[:, None] ** 2 * s_S, np.cos(angle_M)[:, None] ** 2 * s_S
    # The last term makes an even grid of angles a flat prior of the mean.
    logs_MS = -len(k_D) * special.betaln(a_MS, b_MS) + np.log(np.sin(2 * angle_M))[:, None]
    first_DMS = []
    for k, n in zip(k_D, n_D, strict=True):
        logs_MS = logs_MS + special.betaln(a_MS + k, b_MS + n - k)
        first_DMS.append((a_MS + k) / (s_S + n))
    weight_MS = np.exp(logs_MS - logs_MS.max())
    weight_MS /= weight_MS.sum()
    return np.array([(weight_MS * first).sum() for first in first_DMS])


def hierarchy_loop(successes: list[int], totals: list[int], *, grid: int) -> list[float]:
    """The reference of :func:`hierarchy`'s means: point by point, with sums of logarithms in place of betas."""
    weights, means = [], []
    for row in range(grid):
        for column in range(grid):
            edges = [math.sin(math.pi / 2 * (row + more) / grid) ** 2 for more in (0, 0.5, 1)]
            m, s = edges[1], ((column + 0.5) / grid) ** -2.0
            log_weight = math.log(edges[2] - edges[0])
            for k, n in zip(successes, totals, strict=True):
                chances = [math.log(m * s + i) for i in range(k)] + [math.log((1 - m) * s + i) for i in range(n - k)]
                log_weight += math.fsum(chances) - math.fsum(math.log(s + i) for i in range(n))
            weights.append(log_weight)
            means.append([(m * s + k) / (s + n) for k, n in zip(successes, totals, strict=True)])
    scale = [math.exp(one - max(weights)) for one in weights]
    columns = zip(*means, strict=True)
    return [math.fsum(w * mean for w, mean in zip(scale, column, strict=True)) / math.fsum(scale) for column in columns]
