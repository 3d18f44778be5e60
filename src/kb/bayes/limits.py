"""How near a posterior is to the normal distribution that large samples promise (Bernstein and von Mises).

Unusual: the distance is total variation, the largest difference of probability that any event can have, and it is had
from the two distribution functions alone: half the summed differences over small cells.

Source: van der Vaart 1998, Asymptotic Statistics, theorem 10.1.
"""

import numpy as np
from scipy import special

from kb.arguments import is_number, require_count
from kb.bayes.beta import Beta
from kb.bayes.penalties import require_positive


def distance_to_normal(posterior: Beta, mean: float, deviation: float, *, cells: int = 20_000) -> float:
    """Total variation between a Beta and a normal distribution, from 0 to 1.

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
