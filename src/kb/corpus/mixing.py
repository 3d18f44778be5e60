"""How much of each source to draw: in proportion to its size, evenly, or between the two by a temperature.

p_i is proportional to n_i^(1/T): T = 1 is proportional, T to infinity even. Unusual: what matters is told as well, the
number of times that each source is read, since a small source drawn evenly is read again and again.

Sources: Arivazhagan et al. 2019 (temperature); Conneau and Lample 2019 (exponent alpha = 1/T);
Muennighoff et al. 2023, Scaling Data-Constrained Language Models (about four epochs cost little). Shapes: S sources.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kb.arguments import is_integer, is_number, require_count


def temperature_weights(sizes: Mapping[str, float], temperature: float = 1.0) -> dict[str, float]:
    """Shares that add up to 1, each as the source's size to the power 1/T; infinity is allowed, and means even.

    Raises:
        ValueError: no source, a size that is no positive number, or a temperature that is not positive.
    """
    if not sizes or not all(is_number(size) and size > 0 for size in sizes.values()):
        raise ValueError(f"sizes must be positive numbers, at least one, got {dict(sizes)!r}")
    if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not temperature > 0:
        raise ValueError(f"temperature must be a positive number, got {temperature!r}")
    largest = math.log(max(sizes.values()))
    powers = {name: math.exp((math.log(size) - largest) / temperature) for name, size in sizes.items()}
    total = math.fsum(powers.values())
    return {name: power / total for name, power in powers.items()}


def epochs(sizes: Mapping[str, float], weights: Mapping[str, float], budget: float) -> dict[str, float]:
    """How often each source is read where ``budget`` tokens are drawn by the weights.

    Raises:
        ValueError: the sources differ, or a number is not positive.
    """
    if set(sizes) != set(weights) or not all(size > 0 for size in sizes.values()):
        raise ValueError(f"sizes and weights must name the same sources, got {sorted(sizes)} and {sorted(weights)}")
    if not all(is_number(weight) and weight >= 0 for weight in weights.values()):
        raise ValueError(f"weights must be numbers of at least 0, got {dict(weights)!r}")
    if not is_number(budget) or budget <= 0:
        raise ValueError(f"budget must be a positive number, got {budget!r}")
    return {name: budget * weights[name] / sizes[name] for name in sizes}


def capped_weights(sizes: Mapping[str, float], budget: float, most_epochs: float) -> dict[str, float]:
    """As even as can be with no source read more than ``most_epochs`` times: small ones are capped, the rest shared.

    The smallest sources come first: each gets an even share of the budget that is left, or all that it may give.

    Raises:
        ValueError: no source, a number is not positive, or all sources together have not enough.
    """
    temperature_weights(sizes)
    for name, value in (("budget", budget), ("most_epochs", most_epochs)):
        if not is_number(value) or value <= 0:
            raise ValueError(f"{name} must be a positive number, got {value!r}")
    if budget > most_epochs * sum(sizes.values()):
        raise ValueError(
            f"budget must be at most {most_epochs * sum(sizes.values()):g}, all that there is, got {budget!r}"
        )
    left, found = float(budget), {}
    order = sorted(sizes, key=lambda name: sizes[name])
    for place, name in enumerate(order):
        found[name] = min(left / (len(order) - place), most_epochs * sizes[name])
        left -= found[name]
    return {name: found[name] / budget for name in sizes}


def draw_sources(weights: Mapping[str, float], count: int, *, seed: int) -> NDArray[np.int64]:
    """The place of the source of each of ``count`` draws, [count], independent draws by the weights.

    Raises:
        ValueError: the weights do not add up to 1, or a number is none.
    """
    require_count("count", count, least=0)
    if not is_integer(seed):
        raise ValueError(f"seed must be an integer, got {seed!r}")
    shares_S = np.array(list(weights.values()), dtype=float)
    if not len(shares_S) or (shares_S < 0).any() or not math.isclose(shares_S.sum(), 1):
        raise ValueError(f"weights must be shares that add up to 1, got {dict(weights)!r}")
    return np.random.default_rng(seed).choice(len(shares_S), size=count, p=shares_S / shares_S.sum())
