"""How unsure a model is of an answer, from several samples of it: over texts, over meanings, or by counting votes.

Predictive entropy is the entropy over *texts*: ten wordings of one answer look like ten answers. Semantic entropy first
puts together what means the same. What *means the same* is handed in as a function of two answers, since it is the
weak place of the method: the paper asks an entailment model in both directions, and equality of a normalised answer is
enough where answers are short. Unusual: the estimate from likelihoods and the one from counts are both here.

Sources: Farquhar et al. 2024, Detecting hallucinations in large language models using semantic entropy, Nature 630,
Methods (greedy clustering, both estimates); Kuhn et al. 2023, Semantic Uncertainty; Malinin and Gales 2021 (length
normalisation). Shapes: S samples of one question.
"""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

from kb.arguments import is_number


def cluster(answers: Sequence[str], same: Callable[[str, str], bool]) -> list[int]:
    """The cluster of each answer, numbered as they come: an answer joins the first cluster whose first member is alike.

    Args:
        answers: Samples of one question.
        same: Whether two mean the same; asked in both directions, and both must hold.

    Raises:
        ValueError: there is no answer.
    """
    if not len(answers):
        raise ValueError("answers must hold at least one")
    heads: list[str] = []
    found = []
    for answer in answers:
        alike = (n for n, head in enumerate(heads) if same(head, answer) and same(answer, head))
        number = next(alike, len(heads))
        if number == len(heads):
            heads.append(answer)
        found.append(number)
    return found


def entropy(shares: Sequence[float]) -> float:
    """-sum p ln p in nats, of shares that are divided by their sum first.

    Raises:
        ValueError: a share is negative or no number, or all are 0.
    """
    if not all(is_number(share) and share >= 0 for share in shares) or not sum(shares):
        raise ValueError(f"shares must be numbers of at least 0 and not all 0, got {list(shares)!r}")
    total = math.fsum(shares)
    return -math.fsum(share / total * math.log(share / total) for share in shares if share) + 0.0


def discrete_semantic_entropy(clusters: Sequence[Hashable]) -> float:
    """Entropy in nats of how many samples fell into each cluster: needs no likelihoods.

    Raises:
        ValueError: there is no sample.
    """
    return entropy([float(count) for count in Counter(clusters).values()])


def semantic_entropy(clusters: Sequence[Hashable], log_probabilities: Sequence[float]) -> float:
    """Entropy in nats over clusters, each as likely as its *different* texts are together, relative to all clusters.

    Args:
        clusters: Of each sample.
        log_probabilities: ln p of each sample's text. A text that came twice must be handed in once.

    Raises:
        ValueError: the lengths differ, or there is no sample.
    """
    _require_log_probabilities(log_probabilities, len(clusters))
    highest = max(log_probabilities)
    masses: dict[Hashable, float] = {}
    for name, log_p in zip(clusters, log_probabilities, strict=True):
        masses[name] = masses.get(name, 0.0) + math.exp(log_p - highest)
    return entropy(list(masses.values()))


def predictive_entropy(log_probabilities: Sequence[float], lengths: Sequence[int] | None = None) -> float:
    """Mean of -ln p over samples drawn from the model, which estimates the entropy over texts, in nats.

    Args:
        log_probabilities: ln p of each sample's text, repeats and all.
        lengths: Tokens of each: then ln p is divided by them, which estimates no entropy but compares better.

    Raises:
        ValueError: the lengths differ, there is no sample, or a length is no positive integer.
    """
    _require_log_probabilities(log_probabilities, len(log_probabilities if lengths is None else lengths))
    over = [1] * len(log_probabilities) if lengths is None else list(lengths)
    if min(over) < 1:
        raise ValueError(f"lengths must be positive integers, got {over!r}")
    return -math.fsum(log_p / length for log_p, length in zip(log_probabilities, over, strict=True)) / len(over)


def self_consistency(clusters: Sequence[Hashable]) -> float:
    """Share of the samples in the largest cluster, 1 where all agree.

    Raises:
        ValueError: there is no sample.
    """
    if not len(clusters):
        raise ValueError("clusters must hold at least one sample")
    return max(Counter(clusters).values()) / len(clusters)


def _require_log_probabilities(log_probabilities: Sequence[float], wanted: int) -> None:
    if not len(log_probabilities) or len(log_probabilities) != wanted:
        raise ValueError(f"log_probabilities must be {wanted or 'at least one'}, got {len(log_probabilities)}")
    if not all(is_number(one) for one in log_probabilities):
        raise ValueError("log_probabilities must be finite numbers")
