"""Votes against an oracle and a loop; the small verifier on planted solutions, and against its own formula."""

import math
import re
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.cot import Completion, LogisticVerifier, rerank, solution_features


def answer(text: str) -> int | None:
    found = re.findall(r"-?\d+", text)
    return int(found[-1]) if found else None


def written(*texts: str) -> list[Completion]:
    return [Completion(text, len(text.split()), "stop") for text in texts]


def scores(*values: float) -> Any:
    return lambda _, __: values


def test_the_best_and_the_vote_by_hand() -> None:
    found = rerank("q", written("7", "8", "8", "none", "9"), scores(0.9, 0.5, 0.6, 1.0, 0.1), extract=answer)
    assert found.best == 3
    assert found.order == (3, 0, 2, 1, 4)
    assert found.answer == 8
    assert found.weights == ((8, pytest.approx(1.1)), (7, 0.9), (9, 0.1))


def test_only_the_top_vote() -> None:
    solutions, verifier = written("7", "8", "8", "8"), scores(0.9, 0.5, 0.3, 0.2)
    assert rerank("q", solutions, verifier, extract=answer, top=1).answer == 7
    assert rerank("q", solutions, verifier, extract=answer, top=3).answer == 7
    assert rerank("q", solutions, verifier, extract=answer, top=3, weighted=False).answer == 8
    assert rerank("q", solutions, verifier, extract=answer).answer == 8


def test_ties_and_no_answers() -> None:
    tied = rerank("q", written("7", "8"), scores(0.5, 0.5), extract=answer)
    assert (tied.best, tied.answer) == (0, 7)
    none = rerank("q", written("a", "b"), scores(0.5, 0.6), extract=answer)
    assert (none.best, none.answer, none.weights) == (1, None, ())
    zero = rerank("q", written("7", "8"), scores(0.0, 0.0), extract=answer)
    assert zero.answer == 7


def test_an_oracle_finds_what_is_there() -> None:
    """With a perfect verifier the answer is right exactly where one of the solutions is."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        solutions = written(*(str(value) for value in rng.integers(0, 9, size=6)))

        def oracle(_: str, given: Sequence[Completion]) -> list[float]:
            return [float(answer(one.text) == 7) for one in given]

        found = rerank("q", solutions, oracle, extract=answer)
        there = any(one.text == "7" for one in solutions)
        assert (answer(solutions[found.best].text) == 7) == there
        assert (found.answer == 7) == there or found.weights[0][1] == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8)), min_size=1, max_size=8), st.integers(1, 8))
@settings(max_examples=60)
def test_the_vote_is_that_of_a_loop(given: list[tuple[int, int]], top: int) -> None:
    solutions = written(*(str(value) for value, _ in given))
    found = rerank("q", solutions, scores(*(score / 8 for _, score in given)), extract=answer, top=top)
    order = sorted(range(len(given)), key=lambda place: (-given[place][1], place))
    totals = {
        value: sum(given[place][1] for place in order[:top] if given[place][0] == value)
        for value in {given[place][0] for place in order[:top]}
    }
    first = {value: min(i for i, place in enumerate(order) if given[place][0] == value) for value in totals}
    assert found.answer == min(totals, key=lambda value: (-totals[value], first[value]))


@pytest.mark.parametrize(
    ("solutions", "verifier", "options", "message"),
    [
        ([], scores(), {}, "completions must hold at least one solution"),
        (written("7"), scores(0.1, 0.2), {}, "verifier must give 1 finite scores"),
        (written("7"), scores(math.nan), {}, "verifier must give 1 finite scores"),
        (written("7"), scores(-0.1), {}, "verifier must give scores of at least 0"),
        (written("7"), scores(0.1), {"top": 0}, "top must be an integer of at least 1"),
    ],
)
def test_what_cannot_be_is_refused(solutions: Any, verifier: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rerank("q", solutions, verifier, extract=answer, **options)


def test_what_is_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="completions must be a sequence of solutions, got list_iterator"):
        rerank("q", iter(written("7")), scores(0.1), extract=answer)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="extract must give what can be hashed, or None, got list"):
        rerank("q", written("7"), scores(0.1), extract=lambda text: [text])  # type: ignore[arg-type,return-value]


def test_negative_scores_order_where_they_are_no_weights() -> None:
    assert rerank("q", written("7", "8"), scores(-2.0, -1.0), extract=answer, weighted=False).best == 1


def test_features_by_hand() -> None:
    text = "3 + 4 = 7 apples.\n7 x 2, so 7 * 2 = 15.\n10 / 3 = 3.33"
    found = solution_features("Ann has 3 and 5.", Completion(text, 19, "length", -38.0))
    assert found == [-2.0, math.log(20), 3.0, 0.0, 2.0, 1.0, 0.5]
    assert solution_features("Why?", Completion("", 0, "stop")) == [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    assert solution_features("q", Completion("$1,200 - $200 = $1,000. 5 / 0 = 3. 3 - 5 = -2", 9, "stop"))[4:6] == [
        2.0,
        1.0,
    ]


@pytest.mark.parametrize(
    ("text", "held", "wrong"),
    [
        ("3 + 4 + 5 = 12", 0, 0),  # no sum of two numbers, and not counted
        ("$3 + $4 + $5 = $12", 0, 0),
        ("2 * 3 + 4 = 10", 0, 0),
        ("3 + 4 = 14/2", 0, 0),
        ("<<3+4=7>>7", 1, 0),
        ("13 + 4 = 7", 0, 1),
        ("3 + 4 = 71", 0, 1),
        ("1 / 3 = 0.33, 2 / 3 = 0.66", 1, 1),
        ("3.5 × 2 = 7, and 7 − 9 = -2.", 2, 0),
    ],
)
def test_sums_are_checked(text: str, held: int, wrong: int) -> None:
    assert solution_features("q", Completion(text, 1, "stop"))[4:6] == [held, wrong]


def planted(count: int, seed: int) -> tuple[list[str], list[Completion], list[bool]]:
    """Sums of which half are wrong; the wrong ones say so in their equation."""
    rng = np.random.default_rng(seed)
    questions, solutions, correct = [], [], []
    for _ in range(count):
        a, b, wrong = int(rng.integers(1, 50)), int(rng.integers(1, 50)), bool(rng.integers(2))
        questions.append(f"{a} and {b}?")
        result = a + b + wrong * int(rng.integers(1, 5))
        solutions.append(Completion(f"{a} + {b} = {result}", int(rng.integers(5, 9)), "stop", float(-rng.random())))
        correct.append(not wrong)
    return questions, solutions, correct


def test_the_small_verifier_learns_what_is_planted() -> None:
    verifier = LogisticVerifier.fit(*planted(200, 0))
    questions, solutions, correct = planted(100, 1)
    found = [float(verifier(question, [one])[0]) for question, one in zip(questions, solutions, strict=True)]
    assert all((probability > 0.5) == right for probability, right in zip(found, correct, strict=True))
    one = solution_features(questions[0], solutions[0])
    by_hand = verifier.bias + sum(
        w * (x - m) / s for w, x, m, s in zip(verifier.weights, one, verifier.mean, verifier.scale, strict=True)
    )
    assert found[0] == pytest.approx(1 / (1 + math.exp(-by_hand)))
    assert verifier("2 and 2?", []).shape == (0,)
    ranked = rerank("2 and 2?", written("2 + 2 = 5", "2 + 2 = 5", "2 + 2 = 4"), verifier, extract=answer)
    assert (ranked.best, ranked.answer) == (2, 4)


def test_fits_that_cannot_be() -> None:
    questions, solutions, correct = planted(10, 0)
    with pytest.raises(ValueError, match="must be of one length, got 10, 10 and 9"):
        LogisticVerifier.fit(questions, solutions, correct[:9])
    with pytest.raises(ValueError, match="right and wrong solutions"):
        LogisticVerifier.fit(questions, solutions, [True] * 10)
    with pytest.raises(ValueError, match="strength must be a positive number, got 0"):
        LogisticVerifier.fit(questions, solutions, correct, strength=0)
    with pytest.raises(ValueError, match="features must be finite, and of solution 0 are not"):
        LogisticVerifier.fit(questions, solutions, correct, features=lambda *_: [math.inf])


def test_long_nonsense_costs_no_time() -> None:
    start = time.perf_counter()
    for text in ("1" * 300_000, "1,1" * 100_000, "1 + " * 100_000, "= 1 " * 100_000):
        solution_features(text, Completion(text, 1, "length"))
    assert time.perf_counter() - start < 5
