"""What ``yield from`` does, written with ``yield`` alone.

Unusual: it is longer than one thinks, since values, exceptions and close all have to go through to the inner iterator,
which may be no generator and then takes only ``next``.

Source: PEP 380, Formal Semantics, with one change: ``throw`` is handed the exception alone, as its form with three
arguments is deprecated since Python 3.12.
"""

from collections.abc import Generator, Iterable
from functools import partial
from typing import Any


def delegate(iterable: Iterable[Any]) -> Generator[Any, Any, Any]:
    """A generator that behaves as one whose body is ``return (yield from iterable)``.

    Raises:
        TypeError: from the first ``next``, where ``iterable`` is none.
    """
    inner: Any = iter(iterable)
    resume = partial(next, inner)
    while True:
        try:
            value = resume()
        except StopIteration as end:
            return end.value
        try:
            sent = yield value
        except GeneratorExit:
            if hasattr(inner, "close"):
                inner.close()
            raise
        except BaseException as error:
            if not hasattr(inner, "throw"):
                raise
            resume = partial(inner.throw, error)
        else:
            resume = partial(next, inner) if sent is None else partial(inner.send, sent)
