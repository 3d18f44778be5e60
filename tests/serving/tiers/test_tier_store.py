"""The store: a page that went in comes out equal or not at all, whatever the tiers and the threads did meanwhile."""

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kb.serving.tiers import HostTier, TieredStore
from tests.serving.tiers.storing import LONG, SHAPE, GatedDisk, Page, fill, holds, loaded


def test_pages_come_back_from_every_tier(disk: GatedDisk, page: Page) -> None:
    with TieredStore(SHAPE, torch.float32, host_pages=2, disk=disk) as store:
        fill(store, page, b"abcd")
        assert all(holds(store, bytes([letter]), page(letter)) for letter in b"abcd")
        assert loaded(store, b"e") is None
        traffic = store.traffic
        assert (traffic.host.hits, traffic.host.misses) == (2, 3)
        assert (traffic.disk.hits, traffic.disk.misses, traffic.disk.failures) == (2, 1, 0)
        assert (traffic.host.read_bytes, traffic.disk.read_bytes) == (512, 512)
        assert (traffic.host.written_bytes, traffic.disk.written_bytes) == (1024, 512)
        assert traffic.disk.read_bandwidth > 0 < traffic.disk.write_bandwidth
        assert store.nbytes == (2 + 4) * 256
        fill(store, page, b"efg")  # seven pages, six places
        assert len(store) == 6
        assert loaded(store, b"a") is None
        assert all(holds(store, bytes([letter]), page(letter)) for letter in b"bcdefg")


def test_without_a_disk_the_oldest_page_is_gone(page: Page) -> None:
    with TieredStore(SHAPE, torch.float32, host_pages=2) as store:
        fill(store, page, b"ab")
        assert holds(store, b"a", page(97))
        fill(store, page, b"c")
        assert [store.contains(key) for key in (b"a", b"b", b"c")] == [True, False, True]


def test_a_page_is_copied_before_store_returns(disk: GatedDisk, page: Page) -> None:
    disk.hold()
    with TieredStore(SHAPE, torch.float32, host_pages=0, disk=disk) as store:
        mine = page(1)
        store.store(b"a", mine)
        mine.zero_()
        assert disk.begun.acquire(timeout=LONG)
        disk.go.release(2)
        assert store.wait(b"a")
        assert holds(store, b"a", page(1))


def test_pinned_pages_are_never_evicted_and_say_so_where_they_fill_everything(disk: GatedDisk, page: Page) -> None:
    with TieredStore(SHAPE, torch.float32, host_pages=2, disk=disk) as store:
        fill(store, page, b"abcdef", pinned=True)
        before = store.traffic
        assert not store.store(b"g", page(103))
        assert not store.store(b"h", page(104), pinned=True)
        assert store.traffic == before
        assert all(holds(store, bytes([letter]), page(letter)) for letter in b"abcdef")
        store.unpin(b"c")
        fill(store, page, b"g")
        assert not store.contains(b"c")
        store.drop(b"a")
        store.drop(b"a")
        assert not store.contains(b"a")
        fill(store, page, b"h")
        assert store.pin(b"h")
        assert not store.pin(b"c")
        with pytest.raises(ValueError, match="not pinned"):
            store.unpin(b"g")


def test_swapping_out_and_in_leaves_nothing_behind(disk: GatedDisk, page: Page) -> None:
    with TieredStore(SHAPE, torch.float32, host_pages=1, disk=disk) as store:
        for _ in range(5):
            fill(store, page, b"abc", pinned=True)
            assert all(holds(store, bytes([letter]), page(letter)) for letter in b"abc")
            for letter in b"abc":
                store.drop(bytes([letter]))
        assert len(store) == 0
        assert not list(disk.folder.glob("*.page"))


def test_the_next_process_finds_what_is_on_disk(tmp_path: Path, page: Page) -> None:
    for turn in range(2):
        with (
            GatedDisk(tmp_path / "pages", capacity_pages=4) as disk,
            TieredStore(SHAPE, torch.float32, host_pages=1, disk=disk) as store,
        ):
            assert store.contains(b"a") == bool(turn)
            if turn:
                assert holds(store, b"a", page(97))
            fill(store, page, b"ab")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls=st.lists(
        st.tuples(
            st.sampled_from(["store", "pinned", "load", "prefetch", "drop", "damage", "flush"]), st.integers(0, 9)
        ),
        min_size=10,
        max_size=80,
    ),
    host_pages=st.integers(0, 4),
    queue_pages=st.integers(1, 3),
)
def test_any_calls_in_any_order_never_give_a_wrong_page(
    disk: GatedDisk, page: Page, calls: list[tuple[str, int]], host_pages: int, queue_pages: int
) -> None:
    with TieredStore(SHAPE, torch.float32, host_pages=host_pages, disk=disk, queue_pages=queue_pages) as store:
        for name, number in calls:
            key = b"%d" % number
            if name in ("store", "pinned"):
                store.store(key, page(number), pinned=name == "pinned")
            elif name == "load":
                found = loaded(store, key)
                assert found is None or torch.equal(found, page(number))
            elif name == "prefetch":
                store.prefetch([key, b"%d" % (number + 1)])
            elif name == "drop":
                store.drop(key)
            elif name == "damage":
                for path in sorted(disk.folder.glob("*.page"))[:1]:
                    with suppress(FileNotFoundError), path.open("r+b") as file:  # it may just have been let go
                        file.seek(-1, os.SEEK_END)
                        file.write(b"?")
            else:
                store.flush()
        store.flush()
        for number in range(11):
            found = loaded(store, b"%d" % number)
            assert found is None or torch.equal(found, page(number))
            store.drop(b"%d" % number)
    assert not list(disk.folder.glob("*.page"))


def test_several_threads_at_once(disk: GatedDisk, page: Page) -> None:
    wrong: list[int] = []

    def work(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for number in torch.randint(12, (150,), generator=generator).tolist():
            if int(torch.randint(3, (), generator=generator)):
                store.store(b"%d" % number, page(number))
            found = loaded(store, b"%d" % number)
            if found is not None and not torch.equal(found, page(number)):
                wrong.append(number)

    with TieredStore(SHAPE, torch.float32, host_pages=3, disk=disk) as store:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads)
        assert wrong == []
        store.flush()
        assert len(store) == 7


def test_pages_may_be_stored_and_loaded_in_inference_mode(disk: GatedDisk, page: Page) -> None:
    with torch.inference_mode(), TieredStore(SHAPE, torch.float32, host_pages=1, disk=disk) as store:
        fill(store, lambda number: page(number) + 0, b"abc")
        assert all(holds(store, bytes([letter]), page(letter)) for letter in b"abc")


def test_the_host_tier_is_one_tensor() -> None:
    tier = HostTier((2, 3), torch.bfloat16, 5)
    assert (len(tier), tier.nbytes, tier.page_nbytes) == (5, 60, 12)
    tier[3].fill_(1)
    assert float(tier.pages.sum()) == 6 or tier.pages[3].eq(1).all()
