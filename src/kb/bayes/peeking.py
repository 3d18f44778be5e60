"""Looking at a coin's tosses again and again: how often a rule ever calls it unfair, counted exactly.

A rule is a region: for each look, which numbers of heads stop the experiment. A coin walks from look to look, what
enters the region is counted and taken out, and so no simulation is needed. Unusual: four rules from both schools share
this form, and the Bayes factor of a point hypothesis is at once an e-value: under the hypothesis its expectation is 1
at every stopping time, so it ever reaches 1/alpha with probability at most alpha (Ville 1939).

Sources: Armitage, McPherson and Rowe 1969 (repeated tests); Lan and DeMets 1983 (spending); Robbins 1970 and Johari et
al. 2022 (mixtures); Ramdas et al. 2023 (e-values).
Shapes: L looks, a region is a list of L arrays [n + 1] of bool.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
from scipy import special

from kb.arguments import require_count
from kb.bayes.beta import FLAT, Beta, require_share
from kb.bayes.coin import log_probabilities

Region = list[np.ndarray]


def fixed_level(looks: Sequence[int], level: float = 0.05, chance: float = 0.5) -> Region:
    """Stop when the usual two-sided z-test of this look alone is significant.

    Raises:
        ValueError: looks do not rise from 1 on, or a number is not between 0 and 1.
    """
    _require(looks, chance)
    require_share("level", level)
    z = -NormalDist().inv_cdf(level / 2)
    return [np.abs(np.arange(n + 1) - n * chance) >= z * math.sqrt(n * chance * (1 - chance)) for n in looks]


def posterior_sure(looks: Sequence[int], sure: float = 0.975, chance: float = 0.5, prior: Beta = FLAT) -> Region:
    """Stop when the posterior probability of either side of ``chance`` reaches ``sure``; errors as above."""
    _require(looks, chance)
    require_share("sure", sure)
    region = []
    for n in looks:
        k = np.arange(n + 1)
        a_K, b_K = prior.a + k, prior.b + n - k
        if not (a_K > 0).all() or not (b_K > 0).all():
            raise ValueError(f"prior must be proper, as all tosses may agree, got {prior}")
        region.append((special.betainc(a_K, b_K, chance) >= sure) | (special.betaincc(a_K, b_K, chance) >= sure))
    return region


def log_e_values(n: int, chance: float = 0.5, prior: Beta = FLAT) -> np.ndarray:
    """Log of the Bayes factor against ``chance`` for each number of heads in ``n`` tosses, [n + 1].

    Probability of the tosses with the chance drawn from the prior, over their probability with the chance given.

    Raises:
        ValueError: no tosses, an improper prior, or a chance that is not between 0 and 1.
    """
    _require([n], chance)
    prior.require_proper()
    k = np.arange(n + 1)
    mixed = special.betaln(prior.a + k, prior.b + n - k) - special.betaln(prior.a, prior.b)
    return mixed - special.xlogy(k, chance) - special.xlog1py(n - k, -chance)


def e_value(looks: Sequence[int], level: float = 0.05, chance: float = 0.5, prior: Beta = FLAT) -> Region:
    """Stop when the Bayes factor against ``chance`` reaches 1 / ``level``; errors as of :func:`fixed_level`."""
    _require(looks, chance)
    require_share("level", level)
    return [log_e_values(n, chance, prior) >= -math.log(level) for n in looks]


def obrien_fleming(level: float = 0.05) -> Callable[[float], float]:
    """The spending function of Lan and DeMets that is like O'Brien and Fleming's bounds: almost nothing early."""
    require_share("level", level)
    z = -NormalDist().inv_cdf(level / 2)
    return lambda share: 2 * NormalDist().cdf(-z / math.sqrt(share)) if share > 0 else 0.0


def spending(looks: Sequence[int], spend: Callable[[float], float], chance: float = 0.5) -> Region:
    """Stop in the most extreme counts whose exact probability, on either side, stays within what may be spent.

    Args:
        looks: Tosses at each look; the last one is the planned end.
        spend: From the share of the planned tosses to the error that may be made until then.
        chance: Of the hypothesis.

    Raises:
        ValueError: looks do not rise from 1 on, or the chance is not between 0 and 1.
    """
    _require(looks, chance)
    alive, before, region, spent = np.ones(1), 0, [], [0.0, 0.0]
    for n in looks:
        alive = np.convolve(alive, np.exp(log_probabilities(n - before, chance)))
        room = spend(n / looks[-1]) / 2
        stop = np.zeros(n + 1, dtype=bool)
        for side, order in enumerate((slice(None), slice(None, None, -1))):
            sums = spent[side] + np.cumsum(alive[order])
            reached = int((sums <= room).sum())
            stop[order][:reached] = True
            spent[side] = float(sums[reached - 1]) if reached else spent[side]
        region.append(stop)
        alive, before = np.where(stop, 0.0, alive), n
    return region


def ever_stopped(looks: Sequence[int], region: Region, chance: float) -> np.ndarray:
    """The probability that a coin of this chance has been stopped by each look, exactly, [L].

    Raises:
        ValueError: looks do not rise from 1 on, the region does not fit them, or the chance is not between 0 and 1.
    """
    _require(looks, chance)
    _require_fit(looks, region)
    alive, before, stopped = np.ones(1), 0, []
    for n, stop in zip(looks, region, strict=True):
        alive = np.convolve(alive, np.exp(log_probabilities(n - before, chance)))
        stopped.append(float(alive[stop].sum()))
        alive, before = np.where(stop, 0.0, alive), n
    return np.minimum(1.0, np.cumsum(stopped))


def ever_stopped_loop(looks: Sequence[int], region: Region, chance: float) -> np.ndarray:
    """The reference: every sequence of tosses, one by one; for a dozen tosses."""
    _require(looks, chance)
    _require_fit(looks, region)
    by_look = np.zeros(len(looks))
    for tosses in itertools.product((0, 1), repeat=looks[-1]):
        probability = math.prod(chance if toss else 1 - chance for toss in tosses)
        for place, n in enumerate(looks):
            if region[place][sum(tosses[:n])]:
                by_look[place:] += probability
                break
    return by_look


def simulated(
    looks: Sequence[int], region: Region, chances_R: np.ndarray, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each run's look at which it stopped, L where it never did, and its heads then, [R] and [R].

    Args:
        looks: Tosses at each look.
        region: As for :func:`ever_stopped`.
        chances_R: Of each run's coin; they may come from a prior.
        seed: Of the tosses.

    Raises:
        ValueError: looks do not rise from 1 on, or the region does not fit them.
    """
    _require(looks, 0.5)
    _require_fit(looks, region)
    generator = np.random.default_rng(seed)
    heads_R, before = np.zeros(len(chances_R), dtype=np.int64), 0
    stopped_R, then_R = np.full(len(chances_R), len(looks)), np.zeros(len(chances_R), dtype=np.int64)
    for place, n in enumerate(looks):
        heads_R += generator.binomial(n - before, chances_R)
        before = n
        new_R = (stopped_R == len(looks)) & region[place][heads_R]
        stopped_R[new_R] = place
        then_R[new_R] = heads_R[new_R]
    then_R[stopped_R == len(looks)] = heads_R[stopped_R == len(looks)]
    return stopped_R, then_R


def _require(looks: Sequence[int], chance: float) -> None:
    if not len(looks):
        raise ValueError("looks must be at least one")
    before = 0
    for n in looks:
        require_count("looks", n)
        if n <= before:
            raise ValueError(f"looks must rise, got {n} after {before}")
        before = n
    require_share("chance", chance)


def _require_fit(looks: Sequence[int], region: Region) -> None:
    wanted, came = [n + 1 for n in looks], [len(stop) for stop in region]
    if wanted != came:
        raise ValueError(f"region must have arrays of length {wanted}, got {came}")
    if any(np.asarray(stop).dtype != np.bool_ for stop in region):  # 0 and 1 would be taken for places
        raise ValueError("region must be of True and False")
