"""Four tasks that no guess solves and a few steps do: parity, addition, hops along relations, small word problems.

All steps of a task are of one width, so that filler tokens that stand in for them say nothing of what they hide.

Sources: Nye et al. 2021, Show Your Work, arXiv 2112.00114, section 3 (addition with carries on a scratchpad); Wei et
al. 2022, arXiv 2201.11903, section 2 (word problems and a running result); Anil et al. 2022, arXiv 2207.04901, section
2 (parity, and problems longer than those trained on); Liu et al. 2022, arXiv 2210.10749, section 2 (hops along
relations are the runs of an automaton, and what a few layers can and cannot do about them).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from kb.arguments import is_integer, require_count
from kb.cot.lab.marks import Marks
from kb.cot.lab.task import Example, one_of, require_length, shuffled

_ENTITIES, _RELATIONS = "abcdefghijklmnopq", "rstuvwxyz"
_DIGITS = "0123456789"
_UNSPACED = Marks(step="")


def _matched(task: str, what: str, pattern: str, text: str) -> re.Match[str]:
    found = re.fullmatch(pattern, text, re.ASCII) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"not a {what} of {task}: {text!r}")
    return found


def _require_few(task: str, given: Sequence[str], length: int) -> None:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise TypeError(f"given must be a sequence of steps, got {given!r}")
    if len(given) > length:
        raise ValueError(f"{task} of length {length} has {length} steps, got {len(given)}")


@dataclass(frozen=True)
class Parity:
    """Whether a string of bits has an odd number of ones. Length: bits. Steps: the parity so far, "0" or "1".

    Steps are written without a space, as the bits are: each is as far behind its bit as the one before it was.
    """

    name: ClassVar[str] = "parity"
    longest: ClassVar[int | None] = None
    chance: ClassVar[float] = 0.5

    def question(self, length: int, rng: Random) -> str:
        """Bits, such as "1011"."""
        require_length(self, length)
        return "".join(one_of("01", rng) for _ in range(length))

    def length(self, question: str) -> int:
        """How many bits."""
        return len(_matched(self.name, "question", "[01]+", question)[0])

    def follow(self, question: str, given: Sequence[str] = ()) -> Example:
        """Flip the parity at every one."""
        length = self.length(question)
        _require_few(self.name, given, length)
        steps = [_matched(self.name, "step", "[01]", step)[0] for step in given]
        for bit in question[len(steps) :]:
            steps.append(str(int(bit) ^ int(steps[-1] if steps else 0)))
        return Example(question, tuple(steps), steps[-1], length, _UNSPACED)

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
    """Hops along named relations between a few entities. Length: hops. Steps: the entity after each.

    The tables are no part of a question: they are the same in all of them and have to be learned, as facts are. Every
    relation leads to each entity from just one, so that hops from two entities never meet.

    Args:
        entities: Letters from a on.
        relations: Letters from r on.
        table: Seed of the tables.

    Raises:
        ValueError: there are fewer than 2 entities or more than 17, no relation or more than 9, or the seed is none.
    """

    entities: int = 5
    relations: int = 3
    table: int = 0
    name: ClassVar[str] = "lookup"
    longest: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        for name, least, most in (("entities", 2, len(_ENTITIES)), ("relations", 1, len(_RELATIONS))):
            require_count(name, getattr(self, name), least=least)
            if getattr(self, name) > most:
                raise ValueError(f"{name} must be at most {most}, got {getattr(self, name)}")
        if not is_integer(self.table):
            raise ValueError(f"table must be an integer, got {self.table!r}")

    @property
    def chance(self) -> float:
        """One of the entities."""
        return 1 / self.entities

    @property
    def tables(self) -> dict[str, dict[str, str]]:
        """Of each relation, where it leads from each entity."""
        rng, known = Random(f"tables, {self.table}"), _ENTITIES[: self.entities]
        return {relation: dict(zip(known, shuffled(known, rng), strict=True)) for relation in self._relations}

    def question(self, length: int, rng: Random) -> str:
        """Where to begin, and which relations to follow from there, such as "a:rtr"."""
        require_length(self, length)
        start = one_of(_ENTITIES[: self.entities], rng)
        return f"{start}:{''.join(one_of(self._relations, rng) for _ in range(length))}"

    def length(self, question: str) -> int:
        """How many hops."""
        return len(self._read(question)[1])

    def follow(self, question: str, given: Sequence[str] = ()) -> Example:
        """A step is the entity that is reached."""
        start, hops = self._read(question)
        _require_few(self.name, given, len(hops))
        steps, tables = [self._step(step) for step in given], self.tables
        for relation in hops[len(steps) :]:
            steps.append(tables[relation][steps[-1] if steps else start])
        return Example(question, tuple(steps), steps[-1], len(hops), _UNSPACED)

    def corrupt(self, step: str, rng: Random) -> str:
        """Another entity."""
        return one_of([other for other in _ENTITIES[: self.entities] if other != self._step(step)], rng)

    @property
    def _relations(self) -> str:
        return _RELATIONS[: self.relations]

    def _step(self, step: str) -> str:
        return _matched(self.name, "step", f"[{_ENTITIES[: self.entities]}]", step)[0]

    def _read(self, question: str) -> tuple[str, str]:
        pattern = f"([{_ENTITIES[: self.entities]}]):([{self._relations}]+)"
        start, hops = _matched(self.name, "question", pattern, question).groups()
        return start, hops


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
