"""A map over a pool of threads or processes that draws its items as they are needed.

``Executor.map`` draws all items at once, an endless iterator never returns from it, and all results wait in memory if
the one who asks is slow. From Python 3.14 on its ``buffersize`` bounds that; this does so on every version.

Unusual: what can be had before an error is had. Where the items' own iterator raises, the results of the items before
come first, as with the built-in ``map``.

Source: the documentation of concurrent.futures, ``Executor.map``.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

from kb.arguments import require_count

T = TypeVar("T")
R = TypeVar("R")


def ordered_map(function: Callable[[T], R], items: Iterable[T], executor: Executor, *, ahead: int) -> Iterator[R]:
    """The results in the order of the items, as ``map``; at most ``ahead`` of them wait or are at work.

    Nothing is drawn before the first result is asked for. Closing the iterator, or an error, cancels what has not
    begun; what has begun runs to its end.

    Raises:
        TypeError: ``items`` is no iterable.
        ValueError: ``ahead`` is no positive integer.
    """
    require_count("ahead", ahead)
    iterator = iter(items)

    def results() -> Iterator[R]:
        waiting: deque[Future[R]] = deque()
        error: Exception | None = None
        ended = False
        try:
            while True:
                while not ended and len(waiting) < ahead:
                    try:
                        waiting.append(executor.submit(function, next(iterator)))
                    except StopIteration:
                        ended = True
                    except Exception as raised:
                        ended, error = True, raised
                if not waiting:
                    break
                yield waiting.popleft().result()
            if error is not None:
                raise error
        finally:
            for future in waiting:
                future.cancel()

    return results()
