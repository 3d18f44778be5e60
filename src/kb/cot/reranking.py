"""The best of many solutions, by a verifier: the highest score, or a vote in which scores are the weights.

A verifier is anything that gives each solution of a question a score. Unusual: the one that is trained here is small
enough to read, a logistic regression on seven features of a solution, among them whether the sums that it writes down
are right; it shows what a verifier does, and how far one that understands nothing gets.

Sources: Cobbe et al. 2021, arXiv 2110.14168, section 4 (train to predict whether a solution is right, take the best of
100, or vote among the top few); Li et al. 2022, arXiv 2206.02336, section 3 (votes weighted by the verifier).
"""

import math
import operator
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kb.arguments import is_number, require_count
from kb.cot.language_model import Completion
from kb.cot.request_checks import require_text

Verifier = Callable[[str, Sequence[Completion]], Sequence[float] | NDArray[np.float64]]

_NUMBER = r"\d[\d,]{0,18}(?:\.\d{1,9})?"
_FREE_NUMBER = re.compile(rf"(?<![\d,.]){_NUMBER}")
_SIGNS = "-+*/×÷−"
# Two numbers and their result. A part of a longer sum is none: of "3 + 4 + 5 = 12", "4 + 5 = 12" would be wrong.
_EQUATION = re.compile(
    rf"(?<![\d,.$])(?<![{_SIGNS}])(?<![{_SIGNS}]\s)\$?({_NUMBER})\s?([{_SIGNS}])\s?\$?({_NUMBER})\s?=\s?\$?(-?{_NUMBER})"
    rf"(?![\d.,]*\d)(?!\s?[{_SIGNS}])"
)
_OPERATORS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": operator.add,
    "-": operator.sub,
    "−": operator.sub,
    "*": operator.mul,
    "×": operator.mul,
    "/": operator.truediv,
    "÷": operator.truediv,
}


@dataclass(frozen=True)
class Reranked:
    """Solutions by what a verifier makes of them.

    Args:
        order: Indices of the solutions, the best first; of equal scores the one that came first.
        scores: One a solution.
        answer: The answer with the largest weight, None where no solution that votes has one. Of equal weights the
            answer of the better solution.
        weights: What each answer got, the largest first.
    """

    order: tuple[int, ...]
    scores: tuple[float, ...]
    answer: Hashable | None
    weights: tuple[tuple[Hashable, float], ...]

    @property
    def best(self) -> int:
        """The solution with the highest score."""
        return self.order[0]


def rerank(
    question: str,
    completions: Sequence[Completion],
    verifier: Verifier,
    *,
    extract: Callable[[str], Hashable | None],
    top: int | None = None,
    weighted: bool = True,
) -> Reranked:
    """Order solutions of a question by a verifier, and let the best of them vote.

    Args:
        question: What they solve.
        completions: The solutions, at least one.
        verifier: Gives each a score; for weights, one that is not negative.
        extract: Reads a solution's answer; one without an answer has no vote.
        top: How many of the best vote; all if not given.
        weighted: Whether a vote weighs as much as its score (Li et al.), or all weigh the same (Cobbe et al.).

    Raises:
        TypeError: the question is no text, the solutions are no sequence, or what was read cannot be hashed.
        ValueError: there is no solution, the verifier gives not one finite score for each, or a negative weight.
    """
    require_text("question", question)
    if not isinstance(completions, Sequence):
        raise TypeError(f"completions must be a sequence of solutions, got {type(completions).__name__}")
    if not completions:
        raise ValueError("completions must hold at least one solution")
    if top is not None:
        require_count("top", top)
    scores = np.asarray(verifier(question, completions), dtype=np.float64)
    if scores.shape != (len(completions),) or not np.isfinite(scores).all():
        raise ValueError(f"verifier must give {len(completions)} finite scores, got {scores.tolist()!r}")
    if weighted and (scores < 0).any():
        raise ValueError(f"verifier must give scores of at least 0 where they are weights, got {scores.min()}")
    order = np.argsort(-scores, kind="stable").tolist()
    weights: dict[Hashable, float] = {}
    for place in order[:top]:
        answer = extract(completions[place].text)
        if not isinstance(answer, Hashable):
            raise TypeError(f"extract must give what can be hashed, or None, got {type(answer).__name__}")
        if answer is not None:
            weights[answer] = weights.get(answer, 0.0) + (float(scores[place]) if weighted else 1.0)
    # sorted is stable, and the answers stand in the order of their best solutions
    ranked = sorted(weights.items(), key=lambda item: -item[1])
    return Reranked(tuple(order), tuple(scores.tolist()), ranked[0][0] if ranked else None, tuple(ranked))


def solution_features(question: str, completion: Completion) -> list[float]:
    """Seven numbers that say something of a solution without understanding it.

    The mean ln p of its tokens (0 where the back end gives none); ln of 1 + its tokens; its lines; whether it came to
    an end; equations that hold, and that do not; the share of the question's numbers that it uses.
    """
    text, tokens = completion.text, completion.num_tokens
    held = [_holds(*parts) for parts in _EQUATION.findall(text)]
    asked, used = _numbers(question), _numbers(text)
    return [
        0.0 if completion.log_probability is None else completion.log_probability / max(tokens, 1),
        math.log1p(tokens),
        float(sum(bool(line.strip()) for line in text.splitlines())),
        float(completion.finish_reason == "stop"),
        float(sum(held)),
        float(len(held) - sum(held)),
        len(asked & used) / len(asked) if asked else 1.0,
    ]


@dataclass(frozen=True, eq=False)
class LogisticVerifier:
    """The probability that a solution is right, from its features: sigmoid(w · (x - mean) / scale + b).

    Args:
        weights: One a feature.
        bias: b.
        mean: Of each feature, over the examples that it was fitted to.
        scale: Standard deviations; 1 where a feature never changed.
        features: What they are features of.
    """

    weights: NDArray[np.float64]
    bias: float
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    features: Callable[[str, Completion], Sequence[float]] = solution_features

    @classmethod
    def fit(
        cls,
        questions: Sequence[str],
        completions: Sequence[Completion],
        correct: ArrayLike,
        *,
        features: Callable[[str, Completion], Sequence[float]] = solution_features,
        strength: float = 1.0,
    ) -> "LogisticVerifier":
        """Fit to solutions of which it is known whether they are right.

        Args:
            questions: The question of each solution.
            completions: The solutions.
            correct: Whether each is right.
            features: What to look at.
            strength: Inverse of the quadratic penalty's, as scikit-learn's C.

        Raises:
            ValueError: lengths differ, all are right or all wrong, or a feature is not finite.
        """
        from sklearn.linear_model import LogisticRegression

        right = np.asarray(correct, dtype=bool)
        if not len(questions) == len(completions) == right.size or right.ndim != 1:
            raise ValueError(
                "questions, completions and correct must be of one length, got "
                f"{len(questions)}, {len(completions)} and {right.size}"
            )
        if right.all() or not right.any():
            raise ValueError("correct must hold right and wrong solutions: nothing can be learned from one kind")
        if not is_number(strength) or strength <= 0:
            raise ValueError(f"strength must be a positive number, got {strength!r}")
        rows = _rows(features, questions, completions)
        mean, scale = rows.mean(axis=0), rows.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        model = LogisticRegression(C=strength, max_iter=1000).fit((rows - mean) / scale, right)
        return cls(model.coef_[0], float(model.intercept_[0]), mean, scale, features)

    def __call__(self, question: str, completions: Sequence[Completion]) -> NDArray[np.float64]:
        """Probabilities, one a solution."""
        from scipy.special import expit

        if not completions:
            return np.zeros(0)
        rows = _rows(self.features, [question] * len(completions), completions)
        found: NDArray[np.float64] = expit((rows - self.mean) / self.scale @ self.weights + self.bias)
        return found


def _rows(
    features: Callable[[str, Completion], Sequence[float]], questions: Sequence[str], completions: Sequence[Completion]
) -> NDArray[np.float64]:
    rows = np.array([features(*pair) for pair in zip(questions, completions, strict=True)], dtype=np.float64)
    if not np.isfinite(rows).all():
        raise ValueError(
            f"features must be finite, and of solution {int(np.argwhere(~np.isfinite(rows))[0, 0])} are not"
        )
    return rows


def _numbers(text: str) -> set[Fraction]:
    return {Fraction(found.replace(",", "")) for found in set(_FREE_NUMBER.findall(text))}


def _holds(first: str, sign: str, second: str, result: str) -> bool:
    """Whether an equation is right, to the digits that its result is written with."""
    a, b, shown = (Fraction(number.replace(",", "")) for number in (first, second, result))
    if sign in "/÷" and b == 0:
        return False
    decimals = len(result.partition(".")[2])
    return abs(_OPERATORS[sign](a, b) - shown) <= (Fraction(1, 2 * 10**decimals) if decimals else 0)
