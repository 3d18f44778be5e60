"""InfoNCE as a bound on mutual information, on pairs of Gaussians whose information is known.

With K candidates, one drawn with x and the others without, log K less the mean loss is at most the information between
the two, whatever the critic; and at most log K, as a loss is not below 0. The best critic is p(y | x) / p(y), up to a
factor that may depend on x. Unusual: the critic is given, not learned, so that what is short of the truth is the
bound's fault alone.

Sources: van den Oord et al. 2018, arXiv 1807.03748, section 2.3 and appendix A.1; Poole et al. 2019, arXiv 1905.06922,
sections 2 and 3 (the Gaussians). Shapes: N, M, K draws, D dimensions.
"""

import math

import torch
from torch import Tensor

from kb.arguments import is_number, require_count
from kb.contrastive.inputs import embeddings


def correlation_for(information: float, dimensions: int) -> float:
    """The ρ at which D pairs of normal numbers have so much information, in nats: I(X; Y) = -D/2 log(1 - ρ²).

    Raises:
        ValueError: the information is below 0, or there is no dimension.
    """
    require_count("dimensions", dimensions)
    if not is_number(information) or information < 0:
        raise ValueError(f"information must be a number of at least 0, got {information!r}")
    return math.sqrt(-math.expm1(-2 * information / dimensions))


def correlated_gaussians(
    count: int, dimensions: int, correlation: float, *, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draws x and y [N, D], float64, standard normal, y correlated with x in each dimension and else independent.

    Raises:
        ValueError: a count is not positive, or the correlation is not between -1 and 1.
    """
    require_count("count", count)
    require_count("dimensions", dimensions)
    _require_correlation(correlation)
    x_ND, noise_ND = torch.randn(2, count, dimensions, generator=generator, dtype=torch.float64)
    return x_ND, correlation * x_ND + math.sqrt(1 - correlation**2) * noise_ND


def log_density_ratio(x_ND: Tensor, y_MD: Tensor, correlation: float) -> Tensor:
    """The best critic, log p(y | x) - log p(y), of all x with all y, [N, M].

    Raises:
        TypeError: x or y is no floating-point tensor, or they are of two dtypes.
        ValueError: they have not one width, or the correlation is not between -1 and 1.
    """
    _require_correlation(correlation)
    x_ND, y_MD = embeddings("x_ND", x_ND), embeddings("y_MD", y_MD, like=x_ND)
    rest = 1 - correlation**2
    square_NM = (y_MD[None] - correlation * x_ND[:, None]).square().sum(2) / rest
    return (y_MD.square().sum(1)[None] - square_NM - y_MD.shape[1] * math.log(rest)) / 2


def info_nce_bound(scores_KK: Tensor) -> Tensor:
    """Log K less the mean cross-entropy of the diagonal, in nats: the lower bound on the information.

    Raises:
        TypeError: the scores are no floating-point tensor.
        ValueError: the scores are not square.
    """
    scores = embeddings("scores_KK", scores_KK)
    if scores.shape[0] != scores.shape[1]:
        raise ValueError(f"scores_KK must be square, got {tuple(scores.shape)}")
    return math.log(len(scores)) + scores.log_softmax(1).diagonal().mean()


def _require_correlation(correlation: float) -> None:
    if not is_number(correlation) or not -1 < correlation < 1:
        raise ValueError(f"correlation must be between -1 and 1, got {correlation!r}")
