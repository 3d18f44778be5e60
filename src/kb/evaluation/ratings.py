"""Ratings from pairwise wins: Elo, which walks through the games, and Bradley-Terry, which fits all of them at once.

Elo is a stochastic gradient step on Bradley-Terry's likelihood with a step that never shrinks: its result depends on
the order of the games. That suits players who get better, not models that stay what they are. Unusual: the intervals
come twice, from the sandwich (right also where the model is wrong) and from a bootstrap over games.

Sources: Elo 1978; Bradley and Terry 1952; Hunter 2004, MM algorithms for generalized Bradley-Terry models, equation 3;
Chiang et al. 2024, Chatbot Arena (Bradley-Terry with the sandwich). Shapes: G games, M models.
"""

# Names of fields end in their shapes.
# ruff: noqa: N815

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kb.arguments import is_number, require_count

SCALE = 400 / math.log(10)  # points of a rating for one logit: 400 points are odds of 10
Game = tuple[int, int, float]  # first, second, and 1 where the first won, 0 where the second, 0.5 for a draw


@dataclass(frozen=True)
class Ratings:
    """Strengths in points around a mean of 0.

    Args:
        points_M: One for each model.
        covariance_MM: The sandwich's, in points squared.
    """

    points_M: NDArray[np.float64]
    covariance_MM: NDArray[np.float64]

    def standard_errors(self) -> NDArray[np.float64]:
        """Of each model's points, [M]."""
        return np.sqrt(np.diag(self.covariance_MM))

    def difference_error(self, first: int, second: int) -> float:
        """Standard error of the first's points less the second's, which their own errors do not give."""
        C = self.covariance_MM
        return math.sqrt(C[first, first] + C[second, second] - 2 * C[first, second])


def win_chance(points: float) -> float:
    """Chance to win with so many points more than the other."""
    odds = math.exp(-abs(points) / SCALE)  # at most 1, so that nothing overflows
    return (1 if points >= 0 else odds) / (1 + odds)


def elo(games: Sequence[Game], models: int, *, k: float = 32.0, initial: float = 1000.0) -> NDArray[np.float64]:
    """Ratings after the games, one by one in their order, [M]: the winner takes k times what it was not expected to.

    Raises:
        ValueError: a game is none, or a number is.
    """
    _require_games(games, models)
    if not is_number(k) or k <= 0 or not is_number(initial):
        raise ValueError(f"k must be a positive number and initial a number, got {k!r} and {initial!r}")
    rating_M = np.full(models, float(initial))
    for first, second, outcome in games:
        step = k * (outcome - win_chance(rating_M[first] - rating_M[second]))
        rating_M[first] += step
        rating_M[second] -= step
    return rating_M


def bradley_terry_loop(games: Sequence[Game], models: int, *, steps: int = 2000) -> NDArray[np.float64]:
    """The most likely points by Hunter's MM steps, [M]: the reference, slow and without a matrix.

    Raises:
        ValueError: as in :func:`bradley_terry`.
    """
    _require_games(games, models)
    _require_connected(games, models)
    strength = [1.0] * models
    for _ in range(steps):
        wins, meetings = [0.0] * models, [0.0] * models
        for first, second, outcome in games:
            wins[first] += outcome
            wins[second] += 1 - outcome
            share = 1 / (strength[first] + strength[second])
            meetings[first] += share
            meetings[second] += share
        strength = [won / met for won, met in zip(wins, meetings, strict=True)]
    logits = np.log(strength)
    return SCALE * (logits - logits.mean())


def bradley_terry(games: Sequence[Game], models: int) -> Ratings:
    """The most likely points by Newton's steps, with their covariance.

    Args:
        games: In any order; a draw counts as half a win for both.
        models: M.

    Raises:
        ValueError: a game is none, or some models never lost to the others (or never met them), so that no finite
            ratings are the most likely.
    """
    _require_games(games, models)
    _require_connected(games, models)
    design_GM, outcome_G = _design(games, models)
    return _fit(design_GM, outcome_G, np.ones(len(games)))


def bootstrap_ratings(games: Sequence[Game], models: int, *, draws: int = 200, seed: int = 0) -> NDArray[np.float64]:
    """Points of so many resamples of the games, [draws, M]; resamples without finite ratings are drawn again.

    Raises:
        ValueError: as in :func:`bradley_terry`, or fewer than one draw.
    """
    require_count("draws", draws)
    bradley_terry(games, models)
    generator = np.random.default_rng(seed)
    found: list[NDArray[np.float64]] = []
    design_GM, outcome_G = _design(games, models)
    while len(found) < draws:
        places = generator.integers(len(games), size=len(games))
        if _is_connected([games[place] for place in places], models):
            weights_G = np.bincount(places, minlength=len(games)).astype(float)
            found.append(_fit(design_GM, outcome_G, weights_G).points_M)
    return np.stack(found)


def _design(games: Sequence[Game], models: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows = np.arange(len(games))
    design_GM = np.zeros((len(games), models))
    design_GM[rows, [game[0] for game in games]] = 1
    design_GM[rows, [game[1] for game in games]] = -1
    return design_GM, np.array([game[2] for game in games], dtype=float)


def _fit(design_GM: NDArray[np.float64], outcome_G: NDArray[np.float64], weights_G: NDArray[np.float64]) -> Ratings:
    models = design_GM.shape[1]
    logits_M, centre_MM = np.zeros(models), np.full((models, models), 1 / models)
    for _ in range(100):
        chance_G = 1 / (1 + np.exp(-design_GM @ logits_M))
        gradient_M = design_GM.T @ (weights_G * (outcome_G - chance_G))
        information_MM = design_GM.T @ ((weights_G * chance_G * (1 - chance_G))[:, None] * design_GM)
        # The likelihood does not change when all move together: the mean is held at 0.
        step_M = np.linalg.solve(information_MM + centre_MM, gradient_M)
        logits_M += step_M * min(1.0, 2 / max(np.abs(step_M).max(), 1e-300))
        if np.abs(step_M).max() < 1e-10:
            break
    logits_M -= logits_M.mean()
    chance_G = 1 / (1 + np.exp(-design_GM @ logits_M))
    bread_MM = np.linalg.inv(information_MM + centre_MM) - centre_MM
    scores_GM = (weights_G * (outcome_G - chance_G))[:, None] * design_GM
    return Ratings(SCALE * logits_M, SCALE**2 * bread_MM @ (scores_GM.T @ scores_GM) @ bread_MM)


def _require_games(games: Sequence[Game], models: int) -> None:
    require_count("models", models, least=2)
    if not len(games):
        raise ValueError("games must hold at least one")
    for place, (first, second, outcome) in enumerate(games):
        if first == second or not (0 <= first < models and 0 <= second < models) or not 0 <= outcome <= 1:
            raise ValueError(f"games[{place}] must be two models below {models} and 0 to 1, got {games[place]!r}")


def _require_connected(games: Sequence[Game], models: int) -> None:
    if not _is_connected(games, models):
        raise ValueError("games: some models never lost to the others, so that no finite ratings are the most likely")


def _is_connected(games: Sequence[Game], models: int) -> bool:
    """Whether from every model a chain of wins leads to every other: Ford's condition."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = {(first, second) for first, second, won in games if won > 0}
    edges |= {(second, first) for first, second, won in games if won < 1}
    sources, targets = zip(*edges, strict=True)
    graph = coo_array((np.ones(len(edges)), (sources, targets)), shape=(models, models))
    return int(connected_components(graph, directed=True, connection="strong")[0]) == 1
