"""Random-walk Metropolis for many chains at once, and how far its draws can be trusted: R-hat and effective size.

Unusual: the diagnostics are those of 2021, on ranks, so that they also hold for draws without a variance; a chain that
sits elsewhere or has not settled shows in R-hat, one that moves slowly in the effective size.

Sources: Metropolis et al. 1953; Gelman et al. 2013, Bayesian Data Analysis, sections 11.4 and 11.5; Vehtari et al.
2021, Rank-Normalization, Folding, and Localization, Bayesian Analysis 16:667-718, sections 3 and 4.
Shapes: C chains, T draws of each, D dimensions.
"""

from collections.abc import Callable

import numpy as np
from scipy import special, stats

from kb.arguments import require_count


def metropolis(
    log_density: Callable[[np.ndarray], np.ndarray],
    starts_CD: np.ndarray,
    step_DD: np.ndarray,
    *,
    draws: int,
    seed: int,
) -> np.ndarray:
    """Propose a Gaussian step, go there with the probability of the densities' ratio, else stay: draws [C, T, D].

    Args:
        log_density: Of each row of [C, D], up to a constant.
        starts_CD: Where the chains begin; not among the draws.
        step_DD: A proposal is ``step_DD @ standard normal``: the Cholesky factor of its covariance.
        draws: Of each chain, T.
        seed: Of proposals and decisions.

    Raises:
        ValueError: shapes do not fit, or the density is 0 or unknown at a start.
    """
    here_CD = np.array(starts_CD, dtype=np.float64)
    require_count("draws", draws)
    if here_CD.ndim != 2 or np.shape(step_DD) != (here_CD.shape[1],) * 2:
        raise ValueError(f"starts must be [C, D] and step [D, D], got {here_CD.shape} and {np.shape(step_DD)}")
    log_C = np.asarray(log_density(here_CD), dtype=np.float64)
    if log_C.shape != (len(here_CD),) or not np.isfinite(log_C).all():
        raise ValueError("starts must have a finite log density, one a chain")
    generator = np.random.default_rng(seed)
    values_CTD = np.empty((len(here_CD), draws, here_CD.shape[1]))
    for t in range(draws):
        there_CD = here_CD + generator.standard_normal(here_CD.shape) @ np.transpose(step_DD)
        new_C = log_density(there_CD)
        go_C = np.log1p(-generator.random(len(here_CD))) < new_C - log_C
        here_CD[go_C], log_C[go_C] = there_CD[go_C], new_C[go_C]
        values_CTD[:, t] = here_CD
    return values_CTD


def rhat(draws_CT: np.ndarray) -> float:
    """Rank-normalised split R-hat, the larger of bulk and tail: 1 if halves of chains agree, wanted below 1.01.

    NaN where all draws are one number, which is what a sampler gives that is stuck.

    Raises:
        ValueError: fewer than ten draws a chain, or a draw that is not finite.
    """
    halves = _split(_read(draws_CT))
    folded = np.abs(halves - np.median(halves))
    return max(_ratio(_normal_scores(halves)), _ratio(_normal_scores(folded)))


def effective_size(draws_CT: np.ndarray) -> float:
    """Independent draws that would tell the mean as well (bulk, on ranks); NaN and errors as of :func:`rhat`.

    Autocorrelations of all chains together are summed in pairs while the pairs are positive, and made to fall; the
    even one of the first pair left out still counts once, as in Stan.
    """
    return _effective_size(_normal_scores(_split(_read(draws_CT))))


def autocovariance_loop(chain_T: np.ndarray) -> np.ndarray:
    """The reference of the autocovariances: by the definition, divided by T at every lag, [T]."""
    centred, T = chain_T - chain_T.mean(), len(chain_T)
    return np.array([sum(centred[t] * centred[t + lag] for t in range(T - lag)) / T for lag in range(T)])


def autocovariance(draws_CT: np.ndarray) -> np.ndarray:
    """Autocovariances of each chain at every lag, [C, T], by Fourier transforms."""
    T = draws_CT.shape[1]
    centred = draws_CT - draws_CT.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(centred, 2 * T)
    return np.fft.irfft(np.abs(spectrum) ** 2, 2 * T)[:, :T] / T


def _effective_size(draws_CT: np.ndarray) -> float:
    C, T = draws_CT.shape
    covariance_CT = autocovariance(draws_CT)
    within = float(covariance_CT[:, 0].mean()) * T / (T - 1)
    between = float(draws_CT.mean(axis=1).var(ddof=1)) if C > 1 else 0.0
    total = within * (T - 1) / T + between
    if total == 0:
        return float("nan")
    rho_T = 1 - (within - covariance_CT.mean(axis=0)) / total
    rho_T[0] = 1.0
    last = (T - 4 + T % 2) // 2  # the pair that Stan's loop ends at
    pairs = rho_T[: 2 * last].reshape(-1, 2).sum(axis=1)
    kept = int(np.argmax(pairs < 0)) if (pairs < 0).any() else last
    time = -1 + 2 * float(np.minimum.accumulate(pairs[:kept]).sum()) + max(0.0, float(rho_T[2 * kept]))
    return float(C * T / max(time, 1 / np.log10(C * T)))


def _ratio(draws_CT: np.ndarray) -> float:
    T = draws_CT.shape[1]
    within = float(draws_CT.var(axis=1, ddof=1).mean())
    between = float(draws_CT.mean(axis=1).var(ddof=1))
    if within == 0:
        return float("nan") if between == 0 else float("inf")
    return float(np.sqrt((T - 1) / T + between / within))


def _split(draws_CT: np.ndarray) -> np.ndarray:
    half = draws_CT.shape[1] // 2
    return np.concatenate([draws_CT[:, :half], draws_CT[:, -half:]])


def _normal_scores(draws_CT: np.ndarray) -> np.ndarray:
    """Ranks over all chains, as quantiles of a normal distribution."""
    ranks = stats.rankdata(draws_CT, axis=None).reshape(draws_CT.shape)
    return special.ndtri((ranks - 3 / 8) / (draws_CT.size + 1 / 4))


def _read(draws_CT: np.ndarray) -> np.ndarray:
    draws_CT = np.asarray(draws_CT, dtype=np.float64)
    if draws_CT.ndim != 2 or not len(draws_CT) or draws_CT.shape[1] < 10 or not np.isfinite(draws_CT).all():
        raise ValueError(f"draws must be finite, [C, T] with at least ten a chain, got {draws_CT.shape}")
    return draws_CT
