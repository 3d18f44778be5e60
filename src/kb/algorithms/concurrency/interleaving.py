"""Every order in which threads can run, one after the other: a model checker for programs of a few steps.

A thread is a generator. It can be interrupted at each ``yield`` and before it begins; what stands between happens at
once. ``yield condition`` waits: the thread may go on only when ``condition()`` is true, and no other runs
between that and its next step. Generators cannot be copied, so that each order is run from the start.

Unusual: a test with real threads sees the order that happened to occur, and may pass for years; this sees all of them,
deadlocks too, and gives the same list every time.

Source: stateless search as of Godefroid 1997, Model Checking for Programming Languages using VeriSoft.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from kb.arguments import require_count

S = TypeVar("S")
Condition = Callable[[], bool]
Thread = Generator[Condition | None, None, None]
Program = Callable[[], tuple[S, Mapping[str, Thread]]]


class Lock:
    """A lock between model threads; unlike :class:`threading.RLock` not to be acquired twice."""

    def __init__(self) -> None:
        self.held = False

    def acquire(self) -> Thread:
        """Wait until it is free, and take it: ``yield from lock.acquire()``."""
        yield lambda: not self.held
        self.held = True

    def release(self) -> None:
        """Give it back.

        Raises:
            RuntimeError: nobody holds it.
        """
        if not self.held:
            raise RuntimeError("release of a lock that is not held")
        self.held = False


@dataclass(frozen=True)
class Order(Generic[S]):
    """One order and what came of it.

    Args:
        steps: The names of the threads, one a step.
        state: What the program made, as this order left it.
        stuck: The threads that wait for ever; where there are any, it is a deadlock.
    """

    steps: tuple[str, ...]
    state: S
    stuck: tuple[str, ...]


def explore(program: Program[S], *, most_runs: int = 100_000, most_steps: int = 1_000) -> Iterator[Order[S]]:
    """Run ``program`` in every order of its threads' steps, in lexicographic order of their places in the mapping.

    Args:
        program: Makes the shared state and the threads, anew at each call, and the same each time.
        most_runs: Orders after which to give up.
        most_steps: Steps of one order after which to give up, as in a loop that waits by looking again and again.

    Raises:
        RuntimeError: there are more orders, or steps, than that. What a thread raises is raised as it is.
        TypeError: a thread yields neither None nor a condition.
        ValueError: a number is no positive integer.
    """
    require_count("most_runs", most_runs)
    require_count("most_steps", most_steps)

    def runs() -> Iterator[Order[S]]:
        untried: list[list[str]] = [[]]  # beginnings; the last one is the next in order
        count = 0
        while untried:
            if count == most_runs:
                raise RuntimeError(f"more than {most_runs:,} orders: use fewer threads or fewer steps")
            count += 1
            yield _replay(program, untried.pop(), untried, most_steps)

    return runs()


def _replay(program: Program[S], beginning: list[str], untried: list[list[str]], most_steps: int) -> Order[S]:
    """One run along a beginning and then always the first thread that can go on; the other choices are noted."""
    state, made = program()
    threads = dict(made)
    waits: dict[str, Condition | None] = dict.fromkeys(made)
    order: list[str] = []
    while able := [name for name in threads if _may_go_on(waits[name])]:
        if len(order) == most_steps:
            raise RuntimeError(f"more than {most_steps:,} steps: wait by `yield condition`, not in a loop")
        if len(order) < len(beginning):
            chosen = beginning[len(order)]
        else:
            chosen = able[0]
            untried += [[*order, other] for other in reversed(able[1:])]
        order.append(chosen)
        try:
            waits[chosen] = found = next(threads[chosen])
        except StopIteration:
            del threads[chosen]
            continue
        if found is not None and not callable(found):
            hint = "; a lock is acquired by `yield from`" if isinstance(found, Generator) else ""
            raise TypeError(f"thread {chosen} must yield None or a condition, got {found!r}{hint}")
    return Order(tuple(order), state, tuple(threads))


def _may_go_on(condition: Condition | None) -> bool:
    return condition is None or condition()
