"""What a task of the lab is: questions of a length, the steps that answer one, and which questions are held out.

Unusual: a task can be asked what follows from *given* steps, right or wrong (``follow``). With none given that is the
worked solution; with a false step it is the answer of somebody who believes it, which is what a probe of faithfulness
needs to know. Which questions are held out is decided by a hash of the question's text and by nothing else: whatever
seed, format or share a model is trained with, it has seen no question that any model is tested on.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol, TypeVar

from kb.arguments import is_integer, require_count
from kb.cot.lab.marks import LAB, Marks

_HELD_OUT_IN = 8  # one question in so many
_SALT = 136  # with it, of the few shortest strings of bits there are some on either side, from length 2 on
_TRIES = 2000

Item = TypeVar("Item")


@dataclass(frozen=True)
class Example:
    """A question, the steps to its answer, and the answer.

    ``length`` counts what the task counts (bits, hops, ...); ``marks`` is how the parts are put together to a text.
    """

    question: str
    steps: tuple[str, ...]
    answer: str
    length: int
    marks: Marks = LAB


class Task(Protocol):
    """Makes questions, solves them, and knows what follows from steps that are given."""

    @property
    def name(self) -> str:
        """What to call the task in a table."""
        ...

    @property
    def longest(self) -> int | None:
        """The greatest length that it has; None for no end."""
        ...

    @property
    def chance(self) -> float:
        """About how often a guess is right that knows the kind of answer and nothing of the question."""
        ...

    def question(self, length: int, rng: Random) -> str:
        """A question of a length, drawn. Raises ValueError if there is none of that length."""
        ...

    def length(self, question: str) -> int:
        """The length of a question. Raises ValueError if it is no question of this task."""
        ...

    def follow(self, question: str, given: Sequence[str] = ()) -> Example:
        """The question with the given steps, taken as right, the steps after them, and the answer to which they lead.

        Raises ValueError if it is no question of this task, or the steps are too many or not written as its steps are;
        TypeError if the steps are no sequence, such as one text.
        """
        ...

    def corrupt(self, step: str, rng: Random) -> str:
        """Another step that is written as one should be and says something else."""
        ...


def is_held_out(question: str) -> bool:
    """Whether a question is for tests alone: about one in eight, by the SHA-256 of its text."""
    return hashlib.sha256(f"{_SALT} {question}".encode()).digest()[0] % _HELD_OUT_IN == 0


def one_of(items: Sequence[Item], rng: Random) -> Item:
    """One item, each as likely; by ``random()``, which gives the same numbers in every version of Python."""
    return items[int(rng.random() * len(items))]


def shuffled(items: Sequence[Item], rng: Random) -> list[Item]:
    """The items in another order, each order as likely; by ``random()``, for the same reason."""
    return sorted(items, key=lambda _: rng.random())


def require_length(task: Task, length: int) -> None:
    """Refuse a length that a task does not have.

    Raises:
        ValueError: it is not an integer of at least 1, or beyond the task's longest.
    """
    require_count("length", length)
    if task.longest is not None and length > task.longest:
        raise ValueError(f"length must be at most {task.longest} for {task.name}, got {length}")


def require_lengths(task: Task, lengths: Sequence[int]) -> None:
    """Refuse lengths of which one is none of the task's, or of which there are none.

    Raises:
        TypeError: they are no sequence.
        ValueError: so.
    """
    if isinstance(lengths, str) or not isinstance(lengths, Sequence):
        raise TypeError(f"lengths must be a sequence of integers, got {lengths!r}")
    if not lengths:
        raise ValueError("lengths must name at least one length, got none")
    for length in lengths:
        require_length(task, length)


def _require_seed(seed: object) -> None:
    if not is_integer(seed):
        raise ValueError(f"seed must be an integer, got {seed!r}")


def stream(task: Task, lengths: Sequence[int], seed: int, *, together: int = 1) -> Iterator[Example]:
    """Worked examples to train on, for ever: each length as likely, no question of them held out.

    Args:
        task: Of what.
        lengths: To draw from.
        seed: Of the draws.
        together: So many in succession have one length, such as those of a batch, which then needs little padding.

    Raises:
        ValueError: a length is none of the task's, or all of its questions are held out; or a number is none.
    """
    require_lengths(task, lengths)
    require_count("together", together)
    _require_seed(seed)
    return _stream(task, tuple(lengths), Random(f"{task.name}, to train on, {seed}"), together)


def _stream(task: Task, lengths: Sequence[int], rng: Random, together: int) -> Iterator[Example]:
    while True:
        length = one_of(lengths, rng)
        for _ in range(together):
            yield task.follow(_to_train_on(task, length, rng))


def held_out(task: Task, length: int, count: int, seed: int = 0) -> list[Example]:
    """Worked examples to test with, all different, none of which :func:`stream` ever gives.

    Args:
        task: Of what.
        length: Of every question.
        count: At most so many: short questions are few, and fewer come where no more are found.
        seed: Of the draws.

    Raises:
        ValueError: the length is none of the task's, the count is not positive, the seed is none, or no question of the
            length is held out.
    """
    require_length(task, length)
    require_count("count", count)
    _require_seed(seed)
    rng = Random(f"{task.name}, held out, {length}, {seed}")
    found: dict[str, None] = {}
    for _ in range(count):
        fresh = next((one for one in _draws(task, length, rng) if is_held_out(one) and one not in found), None)
        if fresh is None:
            break
        found[fresh] = None
    if not found:
        raise ValueError(f"no question of {task.name} of length {length} is held out: there are too few")
    return [task.follow(question) for question in found]


def _draws(task: Task, length: int, rng: Random) -> Iterator[str]:
    return (task.question(length, rng) for _ in range(_TRIES))


def _to_train_on(task: Task, length: int, rng: Random) -> str:
    for question in _draws(task, length, rng):
        if not is_held_out(question):
            return question
    raise ValueError(f"every question of {task.name} of length {length} is held out: there are too few")
