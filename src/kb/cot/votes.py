"""Many sampled answers, one vote: by count or by weight, and when further samples cannot or will hardly change it.

An answer that could not be read (None) has no vote and is counted apart: a share is of all samples, read or not.
Unusual: two rules say when to stop. The certain one asks whether the samples still to come could change the winner at
all; the probable one, from Adaptive-Consistency, puts a uniform prior on the answers' probabilities and asks how
probable it is, after the counts seen, that the leader is the most probable answer.

Sources: Wang et al. 2022, Self-Consistency, arXiv 2203.11171, section 2 and table 1 (majority, weighted sums by
normalised probability); Aggarwal et al. 2023, Let's Sample Step by Step, arXiv 2305.11860, section 3 (stopping).
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from kb.arguments import is_number, require_count

Answer = TypeVar("Answer", bound=Hashable)


@dataclass(frozen=True)
class Vote(Generic[Answer]):
    """What some samples answered together.

    Args:
        answer: The winner; None if no sample was read. Of equal ones, the one that was given first.
        count: Samples that gave it.
        total: All samples.
        unanswered: Samples of which no answer was read.
        weight: The winner's weight; its count where samples weigh the same.
        total_weight: The weight of all samples that were read.
        counts: Answers and how many samples gave each, in the order in which they were first given.
        weights: Their weights, in that order.
    """

    answer: Answer | None
    count: int
    total: int
    unanswered: int
    weight: float
    total_weight: float
    counts: tuple[tuple[Answer, int], ...]
    weights: tuple[float, ...]

    @property
    def share(self) -> float:
        """The winner's part of all samples, those without an answer among them; 0 where there is no winner."""
        return self.count / self.total if self.total else 0.0

    @property
    def weight_share(self) -> float:
        """The winner's part of the weight of what was read; 0 where there is none."""
        return self.weight / self.total_weight if self.total_weight else 0.0


def majority(answers: Sequence[Answer | None]) -> Vote[Answer]:
    """The answer that most samples gave; of several, the one that was given first.

    >>> vote = majority([18, None, 26, 18])
    >>> vote.answer, vote.count, vote.total, vote.share
    (18, 2, 4, 0.5)
    """
    return weighted(answers, [1.0] * len(_checked(answers)))


def weighted(answers: Sequence[Answer | None], weights: Sequence[float]) -> Vote[Answer]:
    """The answer whose samples weigh most together; of equal sums, the one that was given first.

    Args:
        answers: One of each sample, None where none was read.
        weights: At least 0, one for each.

    Raises:
        TypeError: an argument is no sequence, or an answer cannot be hashed.
        ValueError: there is not one weight for each answer, one is negative or not finite, or their sum is too large.
    """
    answers = _checked(answers)
    if not hasattr(weights, "__len__"):
        raise TypeError(f"weights must be a sequence of numbers, got {type(weights).__name__}")
    if len(weights) != len(answers):
        raise ValueError(f"weights must be one for each of {len(answers)} answers, got {len(weights)}")
    for place, weight in enumerate(weights):
        if not is_number(weight) or weight < 0:
            raise ValueError(f"weights[{place}] must be a finite number of at least 0, got {weight!r}")
    if not math.isfinite(sum(map(float, weights))):
        raise ValueError("weights must have a finite sum, got one that is too large for a float")
    given: dict[Answer, list[float]] = {}
    for answer, weight in zip(answers, weights, strict=True):
        if answer is not None:
            given.setdefault(answer, []).append(float(weight))
    # fsum: ties are ties in whatever order the weights came.
    sums = {answer: math.fsum(each) for answer, each in given.items()}
    winner = max(sums, key=sums.__getitem__, default=None)
    return Vote(
        answer=winner,
        count=0 if winner is None else len(given[winner]),
        total=len(answers),
        unanswered=sum(answer is None for answer in answers),
        weight=0.0 if winner is None else sums[winner],
        total_weight=math.fsum(sums.values()),
        counts=tuple((answer, len(each)) for answer, each in given.items()),
        weights=tuple(sums.values()),
    )


def probability_weights(
    log_probabilities: Sequence[float | None], num_tokens: Sequence[int], *, normalised: bool = True
) -> list[float]:
    """The weights of Wang et al.: each sample's probability, by default its tokens' geometric mean.

    Without normalisation, all weights are divided by the largest, as the probability of a long text is too small for a
    float: sums and so winners are the same, and the weights' scale has no meaning.

    Args:
        log_probabilities: ln p of each sample's tokens together, at most 0 but for rounding.
        num_tokens: How many tokens those are; a sample without a token has weight 1.
        normalised: Whether to take exp(ln p / tokens) rather than exp(ln p).

    Raises:
        ValueError: the lengths differ, or a log probability is not known (None), NaN or above 0; counts are no counts.
    """
    if len(log_probabilities) != len(num_tokens):
        raise ValueError(f"num_tokens must be {len(log_probabilities)} counts, got {len(num_tokens)}")
    logs: list[float] = []
    for place, (log, tokens) in enumerate(zip(log_probabilities, num_tokens, strict=True)):
        if log is None or isinstance(log, bool) or not isinstance(log, int | float) or not log <= 1e-6:
            raise ValueError(
                f"log_probabilities[{place}] must be a number of at most 0, got {log!r}; "
                "a back end that gives none cannot weigh its samples"
            )
        require_count(f"num_tokens[{place}]", tokens, least=0)
        logs.append(min(log, 0.0) / (max(tokens, 1) if normalised else 1))
    largest = 0.0 if normalised else max(logs, default=0.0)
    if largest == -math.inf:
        return [0.0] * len(logs)
    return [math.exp(log - largest) for log in logs]


def is_decided(answers: Sequence[Answer | None], remaining: int) -> bool:
    """Whether no ``remaining`` further samples can change the majority's winner, whatever they answer.

    The leader stays if even the best of all others, were all that is to come for it, would not win: an answer that has
    been given needs one sample more than the leader if it was first given later, as many if earlier; a new one, more.

    Raises:
        ValueError: ``remaining`` is no count.
    """
    require_count("remaining", remaining, least=0)
    vote = majority(answers)
    if remaining == 0:
        return True
    if vote.answer is None:
        return False
    if remaining > vote.count:  # all for an answer that nobody gave yet
        return False
    earlier = True
    for answer, count in vote.counts:
        if answer == vote.answer:
            earlier = False
        elif count + remaining > vote.count or (earlier and count + remaining == vote.count):
            return False
    return True


def _checked(answers: Sequence[Answer | None]) -> list[Answer | None]:
    if isinstance(answers, str) or not isinstance(answers, Sequence):
        raise TypeError(f"answers must be a sequence of answers, got {type(answers).__name__}")
    for place, answer in enumerate(answers):
        try:
            hash(answer)  # a tuple is Hashable whatever it holds, so that only trying tells
        except TypeError:
            raise TypeError(f"answers[{place}] must be hashable, got {type(answer).__name__}") from None
        if (isinstance(answer, float) and not is_number(answer)) or answer != answer:
            raise ValueError(f"answers[{place}] must be a finite number, got {answer!r}; None is no answer")
    return list(answers)
