"""Neighbours and groups of an iterable, lazily, as :func:`itertools.pairwise` and :func:`itertools.batched` give them.

Unusual: arguments are checked when the function is called. In a generator function the check would wait for the first
``next``, as its body does not run before; so the generator is an inner function.

Source: the itertools documentation; ``batched`` came in Python 3.12, its ``strict`` in 3.13.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from kb.arguments import require_count

T = TypeVar("T")


def pairwise(iterable: Iterable[T]) -> Iterator[tuple[T, T]]:
    """(s0, s1), (s1, s2), ...: one pair fewer than there are items, none for fewer than two.

    Raises:
        TypeError: ``iterable`` is none.
    """
    iterator = iter(iterable)

    def pairs() -> Iterator[tuple[T, T]]:
        for before in iterator:
            for item in iterator:
                yield before, item
                before = item

    return pairs()


def chunked(iterable: Iterable[T], size: int, *, strict: bool = False) -> Iterator[tuple[T, ...]]:
    """Tuples of ``size`` items; the last one may be shorter. At most one tuple is held.

    Raises:
        TypeError: ``iterable`` is none.
        ValueError: ``size`` is under 1; or, at the end and where ``strict``, the last tuple is shorter.
    """
    require_count("size", size)
    iterator = iter(iterable)

    def chunks() -> Iterator[tuple[T, ...]]:
        while chunk := tuple(islice(iterator, size)):
            if strict and len(chunk) < size:
                raise ValueError(f"iterable must hold a multiple of {size} items, the last chunk has {len(chunk)}")
            yield chunk

    return chunks()
