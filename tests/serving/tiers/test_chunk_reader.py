"""Reading ahead: what is begun when, and that a wrong guess, a failure or a stuck disk spoils nothing."""

import threading
from collections.abc import Iterable
from typing import Any, cast

import pytest
import torch

from kb.serving.tiers import PageLostError, TieredStore, TierError
from kb.serving.tiers.chunk_reader import Chunk, ChunkReader

LONG = 60.0


class FakeStore:
    """Page ``b"7"`` is full of sevens; pages wait until the test lets them through."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.announced: list[bytes] = []
        self.lost: set[bytes] = set()
        self.gates: dict[bytes, threading.Event] = {}
        self.changed = threading.Condition()

    def hold(self, key: bytes) -> None:
        self.gates[key] = threading.Event()

    def announce(self, keys: Iterable[bytes]) -> None:
        self.announced += keys

    def require(self, key: bytes, out: torch.Tensor) -> None:
        with self.changed:
            self.begun.append(key)
            self.changed.notify_all()
        if key in self.gates:
            assert self.gates[key].wait(LONG)
        if key in self.lost:
            raise PageLostError(f"page {key!r} was lost")
        out.fill_(float(key))

    def saw(self, *keys: bytes) -> bool:
        """Whether these were begun, if need be after a while."""
        with self.changed:
            return self.changed.wait_for(lambda: set(keys) <= set(self.begun), LONG)


def reader(store: FakeStore, *, buffers: int = 2, **options: Any) -> ChunkReader:
    pages = [torch.full((2, 2, 3), -1.0) for _ in range(buffers)]
    return ChunkReader(cast(TieredStore, store), pages, **{"timeout": LONG} | options)


def chunks(*names: str) -> list[Chunk]:
    """ "12" is a chunk of pages 1 and 2."""
    return [tuple(letter.encode() for letter in name) for name in names]


def numbers(chunk: torch.Tensor) -> list[float]:
    assert bool((chunk == chunk[:1, :, :1]).all())
    return chunk[0, :, 0].tolist()


def test_chunks_come_in_order_and_the_next_is_begun_while_one_is_used() -> None:
    store = FakeStore()
    reading = reader(store)
    stream = reading.read(chunks("12", "34", "5"))
    assert store.saw(b"1", b"2", b"3", b"4")  # before anybody has asked for the first chunk
    assert numbers(next(stream)) == [1, 2]
    assert b"5" not in store.begun  # both buffers are taken
    assert numbers(next(stream)) == [3, 4]
    assert store.saw(b"5")
    assert numbers(next(stream)) == [5]
    assert list(stream) == []
    assert sorted(store.begun) == [b"1", b"2", b"3", b"4", b"5"]
    reading.close()


def test_the_chunks_that_come_next_are_begun_and_then_not_read_again() -> None:
    store = FakeStore()
    reading = reader(store)
    assert [numbers(chunk) for chunk in reading.read(chunks("12"), then=chunks("34", "56"))] == [[1, 2]]
    assert store.saw(b"3", b"4", b"5", b"6")
    assert [numbers(chunk) for chunk in reading.read(chunks("34", "56"))] == [[3, 4], [5, 6]]
    assert len(store.begun) == 6
    reading.close()


def test_a_wrong_guess_costs_a_read_and_nothing_else() -> None:
    store = FakeStore()
    reading = reader(store)
    list(reading.read(chunks("12"), then=chunks("34", "56")))
    assert [numbers(chunk) for chunk in reading.read(chunks("7", "8", "9"))] == [[7], [8], [9]]
    assert [numbers(chunk) for chunk in reading.read([])] == []
    reading.close()


def test_pages_are_announced_once_as_far_as_wanted() -> None:
    store = FakeStore()
    reading = reader(store, ahead_pages=5)
    list(reading.read(chunks("12", "34"), then=chunks("56", "78")))
    assert store.announced[:2] == [b"1", b"2"]
    assert len(store.announced) == len(set(store.announced))
    assert {b"1", b"2", b"3", b"4", b"5", b"6"} <= set(store.announced)
    reading.close()


def test_a_lost_page_is_an_error_for_its_chunk_only() -> None:
    store = FakeStore()
    store.lost = {b"3"}
    reading = reader(store)
    stream = reading.read(chunks("12", "34", "56"))
    assert numbers(next(stream)) == [1, 2]
    with pytest.raises(PageLostError, match="b'3' was lost"):
        next(stream)
    store.lost = set()
    assert [numbers(chunk) for chunk in reading.read(chunks("56", "78", "12"))] == [[5, 6], [7, 8], [1, 2]]
    reading.close()


def test_computing_that_fails_gives_the_buffer_back() -> None:
    reading = reader(FakeStore())
    for _ in range(5):
        stream = reading.read(chunks("12", "34", "56"))
        next(stream)
        del stream
    assert [numbers(chunk) for chunk in reading.read(chunks("1", "2", "3"))] == [[1], [2], [3]]
    reading.close()


def test_a_stuck_disk_is_an_error_and_its_buffer_is_not_used_meanwhile() -> None:
    store = FakeStore()
    store.hold(b"1")
    reading = reader(store, timeout=0.05)
    with pytest.raises(TierError, match="is the disk stuck"):
        next(reading.read(chunks("1", "2")))
    with pytest.raises(TierError, match="is the disk stuck"):
        reading.read(chunks("3", "4"))
    store.gates[b"1"].set()
    reading._timeout = LONG
    assert [numbers(chunk) for chunk in reading.read(chunks("3", "4", "1"))] == [[3], [4], [1]]
    reading.close()
