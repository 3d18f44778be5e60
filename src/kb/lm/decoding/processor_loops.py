"""Reference of the processors: one row of scores as a list of floats, one token at a time, as a paper would say it.

Nothing here is fast and nothing is a tensor. In float64, so that a token exactly on a threshold may fall on the other
side than in float32. Every function gives a new list; minus infinity is a token that cannot be chosen.

Sources: as in ``kb.lm.decoding.truncation`` and ``kb.lm.decoding.penalties``.
"""

import math
from collections.abc import Collection, Iterable, Sequence


def softmax_loop(scores: Sequence[float]) -> list[float]:
    """Probabilities of a row of scores."""
    largest = max(scores)
    weights = [math.exp(score - largest) for score in scores]
    return [weight / math.fsum(weights) for weight in weights]


def entropy_loop(probabilities: Sequence[float]) -> float:
    """Entropy in nats; what is impossible adds nothing."""
    return -math.fsum(p * math.log(p) for p in probabilities if p > 0)


def _keep(scores: Sequence[float], kept: Collection[int]) -> list[float]:
    return [score if token in kept else -math.inf for token, score in enumerate(scores)]


def temperature_loop(scores: Sequence[float], temperature: float) -> list[float]:
    """Every score over the temperature."""
    return [score / temperature for score in scores]


def top_k_loop(scores: Sequence[float], k: int) -> list[float]:
    """A token stays where fewer than k are more likely."""
    return _keep(scores, {v for v, own in enumerate(scores) if sum(other > own for other in scores) < k})


def _until(probabilities: Sequence[float], order: Iterable[int], mass: float) -> set[int]:
    """The first tokens of an order that have this mass together; at least one."""
    kept: set[int] = set()
    taken = 0.0
    for token in order:
        if kept and taken >= mass:
            break
        kept.add(token)
        taken += probabilities[token]
    return kept


def top_p_loop(scores: Sequence[float], p: float) -> list[float]:
    """Take tokens from the most likely on until they have probability p together."""
    order = sorted(range(len(scores)), key=lambda v: -scores[v])
    return _keep(scores, _until(softmax_loop(scores), order, p))


def min_p_loop(scores: Sequence[float], min_p: float) -> list[float]:
    """A token stays where it has the share ``min_p`` of the largest probability."""
    probabilities = softmax_loop(scores)
    return _keep(scores, {v for v, p in enumerate(probabilities) if p >= min_p * max(probabilities)})


def typical_loop(scores: Sequence[float], mass: float) -> list[float]:
    """Take tokens from the most typical on until they have this mass together."""
    probabilities = softmax_loop(scores)
    entropy = entropy_loop(probabilities)
    distances = [abs(-math.log(p) - entropy) if p > 0 else math.inf for p in probabilities]
    order = sorted(range(len(scores)), key=lambda v: distances[v])
    return _keep(scores, _until(probabilities, order, mass))


def epsilon_loop(scores: Sequence[float], epsilon: float) -> list[float]:
    """A token stays where its probability is at least epsilon, or it is the most likely."""
    probabilities = softmax_loop(scores)
    return _keep(scores, {v for v, p in enumerate(probabilities) if p >= epsilon or scores[v] == max(scores)})


def eta_loop(scores: Sequence[float], epsilon: float) -> list[float]:
    """Epsilon with the threshold min(epsilon, sqrt(epsilon) exp(-entropy))."""
    entropy = entropy_loop(softmax_loop(scores))
    return epsilon_loop(scores, min(epsilon, math.sqrt(epsilon) * math.exp(-entropy)))


def repetition_loop(scores: Sequence[float], seen: Sequence[int], penalty: float) -> list[float]:
    """Scores of tokens seen times or over the penalty, whichever makes them smaller for a penalty above 1."""
    return [
        score if token not in seen else score * penalty if score < 0 else score / penalty
        for token, score in enumerate(scores)
    ]


def presence_frequency_loop(
    scores: Sequence[float], output: Sequence[int], presence: float, frequency: float
) -> list[float]:
    """mu_j - c_j alpha_frequency - [c_j > 0] alpha_presence."""
    counts = [sum(token == v for token in output) for v in range(len(scores))]
    return [score - count * frequency - (count > 0) * presence for score, count in zip(scores, counts, strict=True)]


def no_repeat_ngram_loop(scores: Sequence[float], tokens: Sequence[int], n: int) -> list[float]:
    """A token stays where the n-gram that it completes is not in the sequence."""
    begun = tuple(tokens[len(tokens) + 1 - n :]) if len(tokens) >= n else None
    grams = {tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)}
    return _keep(scores, {v for v in range(len(scores)) if begun is None or (*begun, v) not in grams})


def no_end_loop(scores: Sequence[float], length: int, least: int, eos_ids: Collection[int]) -> list[float]:
    """No end-of-sequence token before there are ``least`` tokens."""
    return _keep(scores, {v for v in range(len(scores)) if length >= least or v not in eos_ids})
