"""Small recommenders, to have something to judge: popularity, neighbours, means, factors of ratings and of clicks.

Unusual: one routine, weighted alternating least squares, is both matrix factorisation of ratings (weights 1 where there
is one, 0 elsewhere) and of what was seen (weights above 0 everywhere, targets 1 and 0); the two differ in nothing else.
Tables are dense, which is right for a million entries and wrong for a billion.

Sources: Koren, Bell and Volinsky 2009, Matrix Factorization Techniques for Recommender Systems; Hu, Koren and Volinsky
2008, Collaborative Filtering for Implicit Feedback Datasets; Sarwar et al. 2001, Item-based collaborative filtering
recommendation algorithms. Shapes: U users, I items, F factors.
"""

import numpy as np

from kb.arguments import is_integer, is_number, require_count
from kb.metrics.arrays import numbers


def popularity(seen_UI: np.ndarray) -> np.ndarray:
    """How many users have seen each item, for every user alike, [U, I].

    Raises:
        ValueError: ``seen_UI`` is no table of 0 and 1, or of booleans; stars are none.
    """
    seen_UI = _seen(seen_UI)
    return np.repeat(seen_UI.sum(axis=0, keepdims=True), len(seen_UI), axis=0)


def item_knn(seen_UI: np.ndarray, neighbours: int) -> np.ndarray:
    """The sum of an item's cosines with those that a user has seen, over its nearest neighbours only, [U, I].

    Raises:
        ValueError: ``neighbours`` is no positive number, or the table as of :func:`popularity`.
    """
    require_count("neighbours", neighbours)
    seen_UI = _seen(seen_UI)
    norm_I = np.sqrt(seen_UI.sum(axis=0))
    near_II = seen_UI.T @ seen_UI / np.maximum(np.outer(norm_I, norm_I), 1)
    np.fill_diagonal(near_II, 0)
    kept = min(neighbours, near_II.shape[1])
    floor_I1 = -np.partition(-near_II, kept - 1, axis=1)[:, kept - 1 : kept]
    return np.asarray(seen_UI @ np.where(near_II >= floor_I1, near_II, 0).T)


def bias_ratings(stars_UI: np.ndarray, *, damping: float = 10.0) -> np.ndarray:
    """Predicted ratings [U, I]: the mean, plus an item's deviation from it, plus a user's from those two.

    Args:
        stars_UI: Ratings, 0 where there is none.
        damping: Deviations are means over that many more ratings, of deviation 0.

    Raises:
        ValueError: ``damping`` is negative, or there is no rating.
    """
    rated_UI = stars_UI > 0
    if not is_number(damping) or damping < 0 or not rated_UI.any():
        raise ValueError(f"damping must be at least 0 and ratings must be there, got {damping!r}")
    mean = stars_UI[rated_UI].mean()
    rest_UI = np.where(rated_UI, stars_UI - mean, 0)
    item_I = rest_UI.sum(axis=0) / np.maximum(rated_UI.sum(axis=0) + damping, 1e-9)
    rest_UI = np.where(rated_UI, rest_UI - item_I, 0)
    user_U = rest_UI.sum(axis=1) / np.maximum(rated_UI.sum(axis=1) + damping, 1e-9)
    return np.asarray(mean + item_I[None] + user_U[:, None])


def factor_ratings(
    stars_UI: np.ndarray, *, factors: int = 8, penalty: float = 12.0, rounds: int = 10, seed: int = 0
) -> np.ndarray:
    """Predicted ratings [U, I]: :func:`bias_ratings` plus factors of what is left; errors as of the two."""
    base_UI = bias_ratings(stars_UI)
    rated_UI = (stars_UI > 0).astype(np.float64)
    sides = alternate(
        (stars_UI - base_UI) * rated_UI, rated_UI, factors=factors, penalty=penalty, rounds=rounds, seed=seed
    )
    return np.asarray(base_UI + sides[0] @ sides[1].T)


def factor_seen(
    seen_UI: np.ndarray,
    *,
    factors: int = 16,
    penalty: float = 50.0,
    weight: float = 10.0,
    rounds: int = 8,
    seed: int = 0,
) -> np.ndarray:
    """Scores [U, I] near 1 for what is like the seen: an entry that was seen weighs 1 + weight; errors: both's."""
    target_UI = _seen(seen_UI)
    sides = alternate(target_UI, 1 + weight * target_UI, factors=factors, penalty=penalty, rounds=rounds, seed=seed)
    return np.asarray(sides[0] @ sides[1].T)


def alternate(
    target_UI: np.ndarray, weight_UI: np.ndarray, *, factors: int, penalty: float, rounds: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """User and item factors, [U, F] and [I, F], that lower the weighted squared error plus penalty, side by side.

    Args:
        target_UI: What products of factors should come near to.
        weight_UI: How much each entry counts, at least 0.
        factors: F.
        penalty: Times the squared length of all factors; above 0, so that each side has one solution.
        rounds: Of solving for users, then for items.
        seed: Of the items' first factors.

    Raises:
        ValueError: shapes differ, a weight is negative, or a number is out of its range.
    """
    require_count("factors", factors)
    require_count("rounds", rounds)
    if not is_number(penalty) or penalty <= 0 or not is_integer(seed):
        raise ValueError(f"penalty must be above 0 and seed an integer, got {penalty!r} and {seed!r}")
    if target_UI.shape != weight_UI.shape or target_UI.ndim != 2 or (weight_UI < 0).any():
        raise ValueError(f"wanted targets and weights [U, I], got {target_UI.shape} and {weight_UI.shape}")
    item_IF = np.random.default_rng(seed).normal(0, 0.1, (target_UI.shape[1], factors))
    for _ in range(rounds):
        user_UF = _solve(target_UI, weight_UI, item_IF, penalty)
        item_IF = _solve(target_UI.T, weight_UI.T, user_UF, penalty)
    return user_UF, item_IF


def _seen(seen_UI: np.ndarray) -> np.ndarray:
    """The table in float64; stars are refused, since they would pass for having seen an item five times."""
    table_UI = numbers("seen_UI", seen_UI, ndim=2)
    if not np.isin(table_UI, (0, 1)).all():
        raise ValueError("seen_UI must be 0 and 1 or booleans, got other entries: of stars give stars > 0")
    return table_UI.astype(np.float64)


def _solve(target_AB: np.ndarray, weight_AB: np.ndarray, other_BF: np.ndarray, penalty: float) -> np.ndarray:
    """For each row of A the factors that fit it best, given those of B: a ridge regression a row, all at once."""
    F = other_BF.shape[1]
    squares_BFF = (other_BF[:, :, None] * other_BF[:, None, :]).reshape(-1, F * F)
    left_AFF = (weight_AB @ squares_BFF).reshape(-1, F, F) + penalty * np.eye(F)
    right_AF = (weight_AB * target_AB) @ other_BF
    return np.asarray(np.linalg.solve(left_AFF, right_AF[:, :, None])[:, :, 0])
