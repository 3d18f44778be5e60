"""Which examples go into a prompt: five ways to choose from a pool, each giving indices into it.

Unusual: all work on embeddings alone, and all break ties by the lower index, so that a choice can be checked by hand.

Sources: Liu et al. 2021, arXiv 2101.06804 (nearest neighbours of the question); Zhang et al. 2022, arXiv 2210.03493
(k-means, closest to each centre); Gonzalez 1985 (k-centre, greedy: the largest distance left is at most twice the best
possible); Carbonell and Goldstein 1998 (maximal marginal relevance). Shapes: N items of the pool, D width, Q questions,
K chosen.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kb.arguments import is_integer, is_number, require_count
from kb.cot.clustering import k_means, require_embeddings


def select_random(size: int, count: int, *, seed: int) -> NDArray[np.int64]:
    """``count`` different indices below ``size``, [K], in the order in which they were drawn.

    Raises:
        ValueError: a number is out of its range.
    """
    require_count("size", size)
    require_count("seed", seed, least=0)
    _require_fits(count, size)
    return np.random.default_rng(seed).permutation(size)[:count].astype(np.int64)


def select_nearest(
    questions_QD: ArrayLike, pool_ND: ArrayLike, count: int, *, exclude: Sequence[int] | None = None
) -> NDArray[np.int64]:
    """The pool's items nearest to each question, [Q, K], the nearest first.

    A prompt that is to have the nearest example last, next to the question, takes them in reverse.

    Args:
        questions_QD: What the examples are for.
        pool_ND: What they are chosen from.
        count: K.
        exclude: For each question an index that it must not get, its own where it is part of the pool.

    Raises:
        TypeError: embeddings are no numbers.
        ValueError: shapes do not fit, or there are not so many items.
    """
    from scipy.spatial.distance import cdist

    questions_QD = require_embeddings("questions", questions_QD)
    pool_ND = require_embeddings("pool", pool_ND)
    _require_width(questions_QD, pool_ND)
    _require_fits(count, len(pool_ND) - (exclude is not None))
    distances_QN = cdist(questions_QD, pool_ND)
    if exclude is not None:
        own_Q = require_indices("exclude", exclude, len(pool_ND))
        if len(own_Q) != len(questions_QD):
            raise ValueError(f"exclude must hold {len(questions_QD)} indices, one a question, got {len(own_Q)}")
        distances_QN[np.arange(len(questions_QD)), own_Q] = np.inf
    return np.argsort(distances_QN, axis=1, kind="stable")[:, :count].astype(np.int64)


def select_k_means(pool_ND: ArrayLike, count: int, *, seed: int) -> NDArray[np.int64]:
    """The item closest to the centre of each of ``count`` groups, [K]: Auto-CoT's choice before its filters.

    Raises:
        TypeError: embeddings are no numbers.
        ValueError: there are not so many different ones.
    """
    groups = k_means(pool_ND, count, seed=seed).order()
    return np.array([items[0] for items in groups], dtype=np.int64)


def select_k_center(pool_ND: ArrayLike, count: int, *, first: int | None = None) -> NDArray[np.int64]:
    """Items each of which is, when it is taken, the farthest from those taken before, [K].

    Args:
        pool_ND: What they are chosen from.
        count: K.
        first: Where to begin; the item closest to the mean of all if not given.

    Raises:
        TypeError: embeddings are no numbers.
        ValueError: there are not so many items, or ``first`` is none of them.
    """
    pool_ND = require_embeddings("pool", pool_ND)
    _require_fits(count, len(pool_ND))
    if first is None:
        first = int(np.argmin(np.linalg.norm(pool_ND - pool_ND.mean(axis=0), axis=1)))
    chosen = [int(require_indices("first", [first], len(pool_ND))[0])]
    nearest_N = np.full(len(pool_ND), np.inf)
    while len(chosen) < count:
        nearest_N = np.minimum(nearest_N, np.linalg.norm(pool_ND - pool_ND[chosen[-1]], axis=1))
        nearest_N[chosen] = -1.0  # where only copies of what was taken are left, no index comes twice
        chosen.append(int(np.argmax(nearest_N)))
    return np.array(chosen, dtype=np.int64)


def select_mmr(question_D: ArrayLike, pool_ND: ArrayLike, count: int, *, balance: float = 0.5) -> NDArray[np.int64]:
    """Items like the question and unlike each other, [K], in the order in which they were taken.

    Each is the largest of ``balance`` times its cosine to the question, less ``1 - balance`` times its largest cosine
    to one that was taken before. A row of zeros is like nothing: its cosine is 0.

    Args:
        question_D: What the examples are for.
        pool_ND: What they are chosen from.
        count: K.
        balance: 1 looks at the question alone, 0 at the others alone.

    Raises:
        TypeError: embeddings are no numbers.
        ValueError: shapes do not fit, there are not so many items, or ``balance`` is not from 0 to 1.
    """
    pool_ND = require_embeddings("pool", pool_ND)
    question_1D = require_embeddings("question", np.atleast_2d(np.asarray(question_D)))
    _require_width(question_1D, pool_ND)
    if len(question_1D) != 1:
        raise ValueError(f"question must be one embedding, got {len(question_1D)}")
    _require_fits(count, len(pool_ND))
    if not is_number(balance) or not 0 <= balance <= 1:
        raise ValueError(f"balance must be from 0 to 1, got {balance!r}")
    pool_ND, question_1D = unit_rows(pool_ND), unit_rows(question_1D)
    wanted_N = balance * (pool_ND @ question_1D[0])
    likeness_N = np.zeros(len(pool_ND))  # nothing is taken yet
    chosen: list[int] = []
    while len(chosen) < count:
        score_N = wanted_N - (1 - balance) * likeness_N
        score_N[chosen] = -np.inf
        chosen.append(int(np.argmax(score_N)))
        to_newest_N = pool_ND @ pool_ND[chosen[-1]]
        likeness_N = to_newest_N if len(chosen) == 1 else np.maximum(likeness_N, to_newest_N)
    return np.array(chosen, dtype=np.int64)


def unit_rows(rows_ND: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows at length 1; a row of zeros stays one."""
    lengths_N1 = np.linalg.norm(rows_ND, axis=1, keepdims=True)
    return rows_ND / np.where(lengths_N1 > 0, lengths_N1, 1.0)


def require_indices(name: str, indices: object, size: int) -> NDArray[np.int64]:
    """Indices as an array.

    Raises:
        TypeError: they are no sequence.
        ValueError: one of them is no integer from 0 to ``size - 1``.
    """
    listed = indices.tolist() if isinstance(indices, np.ndarray) else indices
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise TypeError(f"{name} must be a sequence of indices, got {type(indices).__name__}")
    for index in listed:
        plain = index.item() if isinstance(index, np.generic) else index
        if not is_integer(plain) or not 0 <= plain < size:
            raise ValueError(f"{name} must hold indices from 0 to {size - 1}, got {index!r}")
    return np.array(listed, dtype=np.int64)


def _require_fits(count: int, size: int) -> None:
    require_count("count", count)
    if count > size:
        raise ValueError(f"count must be at most {size}, the items there are, got {count}")


def _require_width(first_QD: NDArray[np.float64], pool_ND: NDArray[np.float64]) -> None:
    if first_QD.shape[1] != pool_ND.shape[1]:
        raise ValueError(f"questions and pool must be of one width, got {first_QD.shape[1]} and {pool_ND.shape[1]}")
