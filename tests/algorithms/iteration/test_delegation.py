"""``yield from`` by hand: the same as the real one, whatever is sent, thrown or closed."""

import sys
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kb.algorithms.iteration import delegate


class Plain:
    """An iterator that is no generator: neither send nor throw nor close."""

    def __init__(self, items):
        self._items = iter(items)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._items)


class Closable(Plain):
    def __init__(self, items, log):
        super().__init__(items)
        self._log = log

    def close(self):
        self._log.append("closed")


class BadClose(Plain):
    def close(self):
        raise ValueError("close")


def generator(log, on_error=""):
    total = 0
    try:
        for item in range(4):
            try:
                got = yield item
                log.append(("got", got))
                total += got or 1
            except KeyError as error:
                log.append(("caught", str(error)))
                if on_error == "ends":
                    return "early"
                if on_error == "other":
                    raise ValueError("other") from error
            except GeneratorExit:
                log.append("exit")
                if on_error == "ignores":
                    yield "still here"
                raise
    finally:
        log.append("finally")
    return total


INNER: dict[str, Any] = {
    "list": lambda log: [1, 2, 3],
    "empty": lambda log: [],
    "no iterable": lambda log: 3,
    "plain": lambda log: Plain("ab"),
    "closable": lambda log: Closable("ab", log),
    "bad close": lambda log: BadClose("ab"),
    "generator": generator,
    "ends": lambda log: generator(log, "ends"),
    "other": lambda log: generator(log, "other"),
    "ignores": lambda log: generator(log, "ignores"),
}
MOVES = st.lists(
    st.one_of(
        st.just(("next", None)),
        st.tuples(st.just("send"), st.sampled_from([None, 0, 5])),
        st.tuples(st.just("throw"), st.sampled_from([KeyError("k"), StopIteration(7), GeneratorExit(), ValueError()])),
        st.just(("close", None)),
    ),
    max_size=7,
)


def by_syntax(iterable):
    return (yield from iterable)


def trace(make, kind, moves):
    """What each move gives: a value, or the type of an error with its value, and what the inner one noted."""
    log: list[Any] = []
    inner = INNER[kind](log)  # kept, so that neither notes anything when it is thrown away
    outer = make(inner)
    for move, argument in moves:
        try:
            if move == "next":
                log.append(next(outer))
            elif move == "close":
                log.append(("close", outer.close()))
            else:
                log.append(getattr(outer, move)(argument))
        except BaseException as error:  # GeneratorExit is one
            log.append((type(error).__name__, getattr(error, "value", None)))
    found = list(log)  # closing notes more
    with suppress(ValueError, RuntimeError):
        outer.close()
    return found


def stops_where_nothing_takes_it(kind, moves):
    """Where CPython from 3.12 on leaves the PEP: see the last test."""
    return not hasattr(INNER[kind]([]), "throw") and any(isinstance(thrown, StopIteration) for _, thrown in moves)


@given(st.sampled_from(sorted(INNER)), MOVES)
def test_every_sequence_of_moves_gives_what_yield_from_gives(kind, moves):
    assume(not stops_where_nothing_takes_it(kind, moves))
    assert trace(delegate, kind, moves) == trace(by_syntax, kind, moves)


@pytest.mark.parametrize("kind", sorted(INNER))
def test_each_kind_to_its_end(kind):
    moves = [("next", None), ("send", None), ("send", None), *[("next", None)] * 4]
    assert trace(delegate, kind, moves) == trace(by_syntax, kind, moves)


def test_by_hand():
    log: list[Any] = []
    outer = delegate(generator(log))
    assert [next(outer), outer.send(5), outer.send(10), outer.send(20)] == [0, 1, 2, 3]
    with pytest.raises(StopIteration) as end:
        outer.send(None)
    assert end.value.value == 5 + 10 + 20 + 1


def test_a_stop_iteration_thrown_where_the_inner_iterator_has_no_throw():
    """By the PEP an error like any other, which no generator may raise; CPython from 3.12 on takes it for the end."""
    moves = [("next", None), ("throw", StopIteration(7))]
    assert trace(delegate, "list", moves) == [1, ("RuntimeError", None)]
    by_cpython = ("StopIteration", 7) if sys.version_info >= (3, 12) else ("RuntimeError", None)
    assert trace(by_syntax, "list", moves) == [1, by_cpython]
