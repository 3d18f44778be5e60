"""Tools over iterators: equal to itertools, lazy, and sure of their arguments."""

import itertools
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.algorithms.iteration import Peekable, chunked, pairwise, tee

ITEMS = st.lists(st.integers(), max_size=20)


def counted(items, drawn):
    for item in items:
        drawn.append(item)
        yield item


def in_slices(items, size):
    """``itertools.batched`` as its documentation describes it; it is there from Python 3.12 on."""
    return [tuple(items[start : start + size]) for start in range(0, len(items), size)]


@given(ITEMS)
def test_pairwise_is_that_of_itertools(items):
    assert list(pairwise(items)) == list(itertools.pairwise(items))
    assert list(pairwise(iter(items))) == list(itertools.pairwise(iter(items)))


@given(ITEMS, st.integers(1, 25))
def test_chunked_is_batched(items, size):
    assert list(chunked(iter(items), size)) == in_slices(items, size)
    if hasattr(itertools, "batched"):
        assert list(chunked(items, size)) == list(itertools.batched(items, size))


def test_chunked_strictly_gives_what_is_whole_before_it_refuses():
    chunks = chunked("abcde", 2, strict=True)
    assert [next(chunks), next(chunks)] == [("a", "b"), ("c", "d")]
    with pytest.raises(ValueError, match="a multiple of 2 items, the last chunk has 1"):
        next(chunks)
    assert list(chunked("abcd", 2, strict=True)) == [("a", "b"), ("c", "d")]


def test_nothing_is_drawn_before_it_is_needed():
    drawn: list[int] = []
    pairs, chunks = pairwise(counted(range(9), drawn)), chunked(counted(range(9), drawn), 3)
    assert drawn == []
    next(pairs)
    assert drawn == [0, 1]
    next(chunks)
    assert drawn == [0, 1, 0, 1, 2]


def test_an_error_of_the_items_passes_after_what_came_before():
    def broken():
        yield from (1, 2, 3)
        raise KeyError("source")

    pairs = pairwise(broken())
    assert [next(pairs), next(pairs)] == [(1, 2), (2, 3)]
    with pytest.raises(KeyError, match="source"):
        next(pairs)


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "2"])
def test_chunked_refuses_a_size_at_the_call_and_not_at_the_first_item(size):
    with pytest.raises(ValueError, match="size must be an integer of at least 1"):
        chunked([1], size)


@pytest.mark.parametrize("tool", [pairwise, Peekable, tee, lambda items: chunked(items, 2)])
def test_what_is_no_iterable_is_refused_at_the_call(tool):
    with pytest.raises(TypeError, match="not iterable"):
        tool(3)


MOVES = st.lists(st.sampled_from(["next", "peek", "peek or", "true", "prepend"]), max_size=25)


@given(ITEMS, MOVES)
def test_peekable_does_what_a_list_would(items, moves):
    iterator, model = Peekable(iter(items)), deque(items)
    for number, move in enumerate(moves):
        if move == "prepend":
            iterator.prepend(number, -number)
            model.extendleft([-number, number])
        elif move == "true":
            assert bool(iterator) == bool(model)
        elif move == "peek or":
            assert iterator.peek("none") == (model[0] if model else "none")
        elif model:
            assert (next(iterator) if move == "next" else iterator.peek()) == model[0]
            if move == "next":
                model.popleft()
        else:
            with pytest.raises(StopIteration):
                next(iterator) if move == "next" else iterator.peek()
    assert list(iterator) == list(model)


def test_peekable_draws_one_item_at_most_and_only_where_one_looks():
    drawn: list[int] = []
    iterator = Peekable(counted(range(5), drawn))
    assert drawn == []
    assert (iterator.peek(), iterator.peek(), next(iterator)) == (0, 0, 0)
    assert drawn == [0]
    assert iter(iterator) is iterator
    assert Peekable([None]).peek("none") is None


@given(ITEMS, st.integers(0, 3), st.lists(st.integers(0, 2), max_size=40))
def test_tee_is_that_of_itertools_and_tells_what_it_holds(items, n, order):
    ours, theirs = tee(iter(items), n), itertools.tee(iter(items), n)
    taken = [0] * n
    for place in order:
        if place < n:
            found = next(ours[place], "end")
            assert found == next(theirs[place], "end")
            taken[place] += found != "end"
            assert [one.held for one in ours] == [max(taken) - count for count in taken]
    assert [list(one) for one in ours] == [list(one) for one in theirs]


@pytest.mark.parametrize("n", [-1, 1.0, None])
def test_tee_refuses_a_number(n):
    with pytest.raises(ValueError, match="n must be an integer of at least 0"):
        tee([1], n)
