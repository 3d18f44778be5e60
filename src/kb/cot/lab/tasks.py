"""Four tasks that no guess solves and a few steps do: parity, addition, hops through a table, small word problems.

All steps of a task are of one width, so that filler tokens that stand in for them say nothing of what they hide.

Sources: Nye et al. 2021, Show Your Work, arXiv 2112.00114, section 3 (addition with carries on a scratchpad); Wei et
al. 2022, arXiv 2201.11903, section 2 (word problems and a running result); Anil et al. 2022, arXiv 2207.04901, section
2 (parity, and problems longer than those trained on).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from kb.arguments import require_count
from kb.cot.lab.task import Example, one_of, require_length, shuffled

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"


def _matched(task: str, what: str, pattern: str, text: str) -> re.Match[str]:
    found = re.fullmatch(pattern, text, re.ASCII) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"not a {what} of {task}: {text!r}")
    return found


def _require_few(task: str, given: Sequence[str], length: int) -> None:
    if len(given) > length:
        raise ValueError(f"{task} of length {length} has {length} steps, got {len(given)}")


@dataclass(frozen=True)
class Parity:
    """Whether a string of bits has an odd number of ones. Length: bits. Steps: the parity so far, "0" or "1".

    Bits stand apart as steps do, so that a step is always as far behind its bit as the one before it was.
    """

    name: ClassVar[str] = "parity"
    longest: ClassVar[int | None] = None
    chance: ClassVar[float] = 0.5

    def question(self, length: int, rng: Random) -> str:
        """Bits, such as "1 0 1 1"."""
        require_length(self, length)
        return " ".join(one_of("01", rng) for _ in range(length))

    def length(self, question: str) -> int:
        """How many bits."""
        return len(_matched(self.name, "question", "[01](?: [01])*", question)[0].split(" "))

    def follow(self, question: str, given: Sequence[str] = ()) -> Example:
        """Flip the parity at every one."""
        length = self.length(question)
        _require_few(self.name, given, length)
        steps = [_matched(self.name, "step", "[01]", step)[0] for step in given]
        for bit in question.split(" ")[len(steps) :]:
            steps.append(str(int(bit) ^ int(steps[-1] if steps else 0)))
        return Example(question, tuple(steps), steps[-1], length)

    def corrupt(self, step: str, rng: Random) -> str:
        """The other parity."""
        return "10"[int(_matched(self.name, "step", "[01]", step)[0])]


@dataclass(frozen=True)
class Addition:
    """The sum of two numbers. Length: digits of each. Steps: from the last digits on, both, the carry and their sum."""

    name: ClassVar[str] = "addition"
    longest: ClassVar[int | None] = None
    chance: ClassVar[float] = 0.0

    def question(self, length: int, rng: Random) -> str:
        """Two numbers, such as "57+68"; the first digit of neither is 0, but for numbers of one digit."""
        require_length(self, length)
        numbers = []
        for _ in range(2):
            first = one_of(_DIGITS[1:] if length > 1 else _DIGITS, rng)
            numbers.append(first + "".join(one_of(_DIGITS, rng) for _ in range(length - 1)))
        return "+".join(numbers)

    def length(self, question: str) -> int:
        """How many digits each number has."""
        one, other = _matched(self.name, "question", r"(\d+)\+(\d+)", question).groups()
        if len(one) != len(other):
            raise ValueError(f"not a question of {self.name}: {question!r} has numbers of unequal length")
        return len(one)

    def follow(self, question: str, given: Sequence[str] = ()) -> Example:
        """A step such as "7+8+0=15": two digits, the carry to them, and the sum, whose last digit is the answer's."""
        length = self.length(question)
        _require_few(self.name, given, length)
        sums = [int(self._parts(step)[1]) for step in given]
        steps = list(given)
        for a, b in list(zip(*question.split("+"), strict=True))[::-1][len(steps) :]:
            carry = sums[-1] // 10 if sums else 0
            sums.append(int(a) + int(b) + carry)
            steps.append(f"{a}+{b}+{carry}={sums[-1]:02d}")
        digits = "".join(str(one % 10) for one in sums[::-1])
        answer = str(int(str(sums[-1] // 10) + digits))
        return Example(question, tuple(steps), answer, length)

    def corrupt(self, step: str, rng: Random) -> str:
        """The step with another sum of two digits, at most 19."""
        before, total = self._parts(step)
        return before + one_of([f"{other:02d}" for other in range(20) if other != int(total)], rng)

    def _parts(self, step: str) -> tuple[str, str]:
        before, total = _matched(self.name, "step", r"(\d\+\d\+[01]=)([01]\d)", step).groups()
        return before, total


@dataclass(frozen=True)
class Lookup:
    """Hops through a shuffled table, whose entries form one circle. Length: hops. Steps: from where to where.

    An entry is written backwards, "ca" for a hop from a to c: a letter then stands behind what it leads to, where a
    model that only looks back can learn with less training to find it.

    Args:
        entities: Letters in the circle.
    """

    entities: int = 5
    name: ClassVar[str] = "lookup"

    def __post_init__(self) -> None:
        require_count("entities", self.entities, least=2)
        if self.entities > 10:
            raise ValueError(f"entities must be at most 10, so that hops are one digit, got {self.entities}")

    @property
    def longest(self) -> int:
        """One hop less than would lead back to where it began."""
        return self.entities - 1

    @property
    def chance(self) -> float:
        """One of the letters that are not the first."""
        return 1 / (self.entities - 1)

    def question(self, length: int, rng: Random) -> str:
        """Entries, where to begin and how many hops, such as "ca ab bc:a2"."""
        require_length(self, length)
        circle = shuffled(_LETTERS[: self.entities], rng)
        entries = [b + a for a, b in zip(circle, circle[1:] + circle[:1], strict=True)]
        return f"{' '.join(shuffled(entries, rng))}:{one_of(circle, rng)}{length}"

    def length(self, question: str) -> int:
        """How many hops."""
        return self._read(question)[2]

    def follow(self, question: str, given: Sequence[str] = ()) -> Example:
        """A step such as "ac": from a to c."""
        table, at, hops = self._read(question)
        _require_few(self.name, given, hops)
        steps = [_matched(self.name, "step", f"[{_LETTERS[: self.entities]}]{{2}}", step)[0] for step in given]
        while len(steps) < hops:
            at = steps[-1][1] if steps else at
            steps.append(at + table[at])
        return Example(question, tuple(steps), steps[-1][1], hops)

    def corrupt(self, step: str, rng: Random) -> str:
        """A hop from the same letter to another, neither itself nor where it leads."""
        known = _LETTERS[: self.entities]
        _matched(self.name, "step", f"[{known}]{{2}}", step)
        others = [letter for letter in known if letter not in step]
        if not others:
            raise ValueError(f"no other hop is left to corrupt {step!r} with: entities is {self.entities}")
        return step[0] + one_of(others, rng)

    def _read(self, question: str) -> tuple[dict[str, str], str, int]:
        known = _LETTERS[: self.entities]
        pattern = rf"([{known}]{{2}}(?: [{known}]{{2}})*):([{known}])([1-9])"
        entries, start, hops = _matched(self.name, "question", pattern, question).groups()
        table = {entry[1]: entry[0] for entry in entries.split(" ")}
        reached, at = set[str](), start
        while at in table and at not in reached:
            reached.add(at)
            at = table[at]
        one_circle = reached == set(known) and len(entries.split(" ")) == self.entities
        if not one_circle or int(hops) > self.longest:
            raise ValueError(
                f"not a question of {self.name}: {question!r} needs entries that are one circle of the letters {known}, "
                f"and at most {self.longest} hops"
            )
        return table, start, int(hops)


@dataclass(frozen=True)
class WordProblems:
    """Someone has things, and gets or gives some. Length: changes. Steps: the running total, 0 to 9 at all times."""

    name: ClassVar[str] = "word problems"
    longest: ClassVar[int | None] = None
    chance: ClassVar[float] = 1 / 10

    def question(self, length: int, rng: Random) -> str:
        """Such as "ann has 3 pens. buys 4. drops 2. how many"."""
        require_length(self, length)
        total = int(rng.random() * 10)
        sentences = [f"{one_of(_NAMES, rng)} has {total} {one_of(_THINGS, rng)}"]
        for _ in range(length):
            changes = [change for change in range(-9, 10) if change and 0 <= total + change <= 9]
            change = one_of(changes, rng)
            total += change
            sentences.append(f"{one_of(_GETS if change > 0 else _GIVES, rng)} {abs(change)}")
        return ". ".join([*sentences, "how many"])

    def length(self, question: str) -> int:
        """How many changes."""
        return len(self._read(question)[1])

    def follow(self, question: str, given: Sequence[str] = ()) -> Example:
        """A step such as "3+4=7": the total, the change and the total after it.

        What follows from a false total may be below 0 or above 9.
        """
        total, changes = self._read(question)
        _require_few(self.name, given, len(changes))
        steps = list(given)
        totals = [int(self._parts(step)[1]) for step in steps]
        for change in changes[len(steps) :]:
            before = totals[-1] if totals else total
            totals.append(before + change)
            steps.append(f"{before}{change:+d}={totals[-1]}")
        return Example(question, tuple(steps), str(totals[-1]), len(changes))

    def corrupt(self, step: str, rng: Random) -> str:
        """The step with another total from 0 to 9."""
        before, total = self._parts(step)
        return before + one_of([str(other) for other in range(10) if other != int(total)], rng)

    def _parts(self, step: str) -> tuple[str, str]:
        before, total = _matched(self.name, "step", r"(-?\d{1,4}[+-]\d=)(-?\d{1,4})", step).groups()
        return before, total

    def _read(self, question: str) -> tuple[int, list[int]]:
        verbs = "|".join((*_GETS, *_GIVES))
        pattern = rf"(?:{'|'.join(_NAMES)}) has (\d) (?:{'|'.join(_THINGS)})((?:\. (?:{verbs}) \d)+)\. how many"
        total, rest = _matched(self.name, "question", pattern, question).groups()
        changes = [sentence.split(" ") for sentence in rest.removeprefix(". ").split(". ")]
        return int(total), [int(count) if verb in _GETS else -int(count) for verb, count in changes]


_NAMES = ("ann", "bob", "eve", "tim")
_THINGS = ("pens", "cups", "nuts", "eggs")
_GETS = ("buys", "gets", "wins")
_GIVES = ("uses", "lends", "drops")
