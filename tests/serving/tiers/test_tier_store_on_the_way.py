"""Pages on their way between tiers: read, waited for, dropped or prefetched meanwhile."""

import threading
from collections.abc import Callable

import pytest
import torch

from kb.serving.tiers import TieredStore, TierError
from tests.serving.tiers.storing import LONG, SHAPE, GatedDisk, Page, fill, holds, loaded


def test_a_page_on_its_way_cannot_be_read(disk: GatedDisk, page: Page) -> None:
    disk.hold()
    with TieredStore(SHAPE, torch.float32, host_pages=0, disk=disk) as store:
        assert store.store(b"a", page(1))
        assert disk.begun.acquire(timeout=LONG)  # the worker is in the middle of it
        assert not store.contains(b"a")
        assert loaded(store, b"a") is None
        assert store.store(b"a", page(1))  # known: nothing to do
        disk.go.release(2)
        assert store.wait(b"a")
        assert store.contains(b"a")
        assert holds(store, b"a", page(1))
        assert not store.wait(b"never stored")


def test_a_page_on_its_way_down_can_be_read(disk: GatedDisk, page: Page) -> None:
    with TieredStore(SHAPE, torch.float32, host_pages=1, disk=disk) as store:
        fill(store, page, b"a")
        disk.hold()
        store.store(b"b", page(98))
        assert disk.begun.acquire(timeout=LONG)
        assert holds(store, b"a", page(97))
        assert not store.contains(b"b")
        disk.go.release(1000)
        store.flush()
        assert holds(store, b"a", page(97))
        assert holds(store, b"b", page(98))


def test_a_page_that_is_read_is_not_evicted(disk: GatedDisk, page: Page) -> None:
    with TieredStore(SHAPE, torch.float32, host_pages=0, disk=disk) as store:
        fill(store, page, b"abcd")
        disk.begun = threading.Semaphore(0)
        disk.hold()
        found: list[bool] = []
        reader = threading.Thread(target=lambda: found.append(holds(store, b"a", page(97))))
        reader.start()
        assert disk.begun.acquire(timeout=LONG)  # the oldest page is being read
        assert store.store(b"e", page(101))
        assert store.contains(b"a")
        assert not store.contains(b"b")  # the next oldest went instead
        disk.go.release(1000)
        reader.join(LONG)
        store.flush()
        assert found == [True]
        assert holds(store, b"a", page(97))


def test_a_prefetched_page_is_waited_for_and_then_in_memory(disk: GatedDisk, page: Page) -> None:
    with TieredStore(SHAPE, torch.float32, host_pages=1, disk=disk) as store:
        fill(store, page, b"ab")
        disk.begun = threading.Semaphore(0)
        disk.hold()
        assert store.prefetch([b"a", b"unknown"]) == 1
        found: list[bool] = []
        reader = threading.Thread(target=lambda: found.append(holds(store, b"a", page(97))))
        reader.start()
        for _ in range(2):  # b goes down, a comes up
            assert disk.begun.acquire(timeout=LONG)
            assert not found
            disk.go.release()
        reader.join(LONG)
        assert found == [True]
        assert store.traffic.disk.hits == 1  # once, by the prefetch
        assert store.traffic.host.hits == 1
        disk.go.release(1000)


def test_prefetch_takes_no_more_than_the_queue_has_room_for(disk: GatedDisk, page: Page) -> None:
    with TieredStore(SHAPE, torch.float32, host_pages=3, disk=disk, queue_pages=2) as store:
        fill(store, page, b"abcdef")
        disk.hold()
        assert store.prefetch([b"a", b"b", b"c"]) == 2
        disk.go.release(1000)
        store.flush()
        assert holds(store, b"a", page(97))
        assert holds(store, b"b", page(98))
        assert store.traffic.host.hits == 2


def test_storing_waits_for_room_in_the_queue(disk: GatedDisk, page: Page) -> None:
    disk.hold()
    with TieredStore(SHAPE, torch.float32, host_pages=0, disk=disk, queue_pages=1, timeout=0.05) as store:
        assert store.store(b"a", page(1))
        with pytest.raises(TierError, match="is the disk stuck"):
            store.store(b"b", page(2))
        with pytest.raises(TierError, match="is the disk stuck"):
            store.flush()
        disk.go.release(1000)
        assert _eventually(store.contains, b"a")
        assert not store.contains(b"b")


def _eventually(holds: Callable[[bytes], bool], key: bytes) -> bool:
    for _ in range(2000):
        if holds(key):
            return True
        threading.Event().wait(0.01)
    return False


@pytest.mark.parametrize("when", ["queued", "being written"])
def test_a_page_dropped_on_its_way_never_appears(disk: GatedDisk, page: Page, when: str) -> None:
    disk.hold()
    with TieredStore(SHAPE, torch.float32, host_pages=0, disk=disk) as store:
        if when == "queued":
            store.store(b"first", page(0))
        store.store(b"a", page(1))
        assert disk.begun.acquire(timeout=LONG)
        store.drop(b"a")
        disk.go.release(1000)
        store.flush()
        assert not store.contains(b"a")
        assert len(list(disk.folder.glob("*.page"))) == (when == "queued")


def test_whoever_waits_for_a_page_that_is_dropped_is_told(disk: GatedDisk, page: Page) -> None:
    disk.hold()
    with TieredStore(SHAPE, torch.float32, host_pages=0, disk=disk) as store:
        store.store(b"a", page(1))
        found: list[bool] = []
        waiter = threading.Thread(target=lambda: found.append(store.wait(b"a")))
        waiter.start()
        assert disk.begun.acquire(timeout=LONG)
        store.drop(b"a")
        waiter.join(LONG)  # although the worker is still held
        assert found == [False]
        disk.go.release(1000)


def test_a_page_dropped_and_stored_again_is_the_new_one(disk: GatedDisk, page: Page) -> None:
    disk.hold()
    with TieredStore(SHAPE, torch.float32, host_pages=0, disk=disk) as store:
        store.store(b"a", page(1))
        store.drop(b"a")
        store.store(b"a", page(2))
        disk.go.release(1000)
        assert store.wait(b"a")
        assert holds(store, b"a", page(2))
