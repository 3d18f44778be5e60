"""The store: a page that went in comes out equal or not at all, whatever the tiers and the threads did meanwhile."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kb.serving.tiers import DiskTier, HostTier, PageLostError, TieredStore, TierError

Page = Callable[..., torch.Tensor]
SHAPE = (2, 4, 8)
LONG = 60.0  # seconds that a test may wait for a thread


class GatedDisk(DiskTier):
    """A disk that waits before it writes or reads until the test lets it, and may refuse to write."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, page_nbytes=256, fingerprint="f", keep_cached=True, **options)
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(10**6)
        self.refuses: BaseException | None = None

    def hold(self) -> None:
        """From now on every write and read waits."""
        self.go = threading.Semaphore(0)

    def _gate(self) -> None:
        self.begun.release()
        assert self.go.acquire(timeout=LONG)

    def write(self, key: bytes, page: torch.Tensor) -> None:
        self._gate()
        if self.refuses is not None:
            raise self.refuses
        super().write(key, page)

    def read(self, key: bytes, out: torch.Tensor) -> bool:
        self._gate()
        return super().read(key, out)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[GatedDisk]:
    with GatedDisk(tmp_path / "pages", capacity_pages=4) as disk:
        yield disk
        disk.go.release(1000)


def loaded(store: TieredStore, key: bytes) -> torch.Tensor | None:
    out = torch.full(SHAPE, 7.0)
    return out if store.load(key, out) else None


def holds(store: TieredStore, key: bytes, page: torch.Tensor) -> bool:
    found = loaded(store, key)
    return found is not None and torch.equal(found, page)


def fill(store: TieredStore, page: Page, keys: bytes, **options: Any) -> None:
    for letter in keys:
        assert store.store(bytes([letter]), page(letter), **options)
    store.flush()


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


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_store_that_fails_leaves_no_entry(disk: GatedDisk, page: Page, code: int) -> None:
    with TieredStore(SHAPE, torch.float32, host_pages=1, disk=disk) as store:
        fill(store, page, b"a")
        disk.refuses = OSError(code, os.strerror(code))
        fill(store, page, b"b")  # a cannot go down: it is lost, b is kept
        assert not store.contains(b"a")
        assert holds(store, b"b", page(98))
        assert store.pin(b"b")
        fill(store, page, b"c")  # b may not go, so c is written to disk, and cannot be
        assert not store.contains(b"c")
        assert store.traffic.disk.failures == 2
        disk.refuses = None
        fill(store, page, b"c")
        assert holds(store, b"b", page(98))
        assert holds(store, b"c", page(99))


def test_a_damaged_page_is_a_miss_and_forgotten(disk: GatedDisk, page: Page) -> None:
    with TieredStore(SHAPE, torch.float32, host_pages=1, disk=disk) as store:
        fill(store, page, b"abc")
        for path, damage in zip(disk.folder.glob("*.page"), (b"", b"\0" * (4096 + 256)), strict=True):
            path.write_bytes(damage)
        assert store.prefetch([b"a"]) == 1  # found out in the background
        store.flush()
        assert not store.contains(b"a")
        assert store.contains(b"b")  # nobody has looked yet
        assert loaded(store, b"b") is None
        assert not store.contains(b"b")
        assert store.traffic.disk.failures == 2
        fill(store, page, b"b")
        assert holds(store, b"b", page(98))


def test_a_page_that_is_required_is_waited_for_or_an_error(disk: GatedDisk, page: Page) -> None:
    disk.hold()
    with TieredStore(SHAPE, torch.float32, host_pages=0, disk=disk) as store:
        store.store(b"a", page(1))
        disk.go.release(1000)
        out = torch.empty(SHAPE)
        store.require(b"a", out)
        assert torch.equal(out, page(1))
        for path in disk.folder.glob("*.page"):
            path.write_bytes(b"")
        with pytest.raises(PageLostError, match=r"computed again; reading .*it has 0 bytes, wanted 4352"):
            store.require(b"a", out)
    with TieredStore(SHAPE, torch.float32, host_pages=1) as store, pytest.raises(PageLostError, match="dropped"):
        store.require(b"a", out)


def test_a_folder_that_vanishes_costs_its_pages_and_no_more(disk: GatedDisk, page: Page) -> None:
    with TieredStore(SHAPE, torch.float32, host_pages=1, disk=disk) as store:
        fill(store, page, b"ab")
        disk.folder.rename(disk.folder.with_name("elsewhere"))
        assert loaded(store, b"a") is None
        assert holds(store, b"b", page(98))
        fill(store, page, b"c")
        assert holds(store, b"c", page(99))
        assert len(store) == 1


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


def test_a_worker_that_dies_is_an_error_everywhere(disk: GatedDisk, page: Page) -> None:
    store = TieredStore(SHAPE, torch.float32, host_pages=0, disk=disk)
    disk.hold()
    disk.refuses = ZeroDivisionError("a defect")
    store.store(b"a", page(1))
    waiting: list[object] = []

    def wait() -> None:
        try:
            store.wait(b"a")
        except TierError as error:
            waiting.append(error.__cause__)

    waiter = threading.Thread(target=wait)
    waiter.start()
    disk.go.release(1000)
    waiter.join(LONG)
    assert [type(cause) for cause in waiting] == [ZeroDivisionError]
    calls: list[Callable[[], object]] = [
        lambda: store.store(b"b", page(2)),
        lambda: store.load(b"b", page(2)),
        lambda: store.prefetch([b"a"]),
        store.flush,
    ]
    for call in calls:
        with pytest.raises(TierError, match="worker of this store failed"):
            call()
    store.close()


def test_a_store_that_is_closed_says_so(page: Page) -> None:
    store = TieredStore(SHAPE, torch.float32, host_pages=1)
    store.store(b"a", page(1))
    store.close()
    store.close()
    with pytest.raises(TierError, match="closed"):
        store.load(b"a", page(1))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"host_pages": -1}, ValueError, "host_pages"),
        ({"host_pages": 0, "disk": None}, ValueError, "host_pages"),
        ({"host_pages": 10**12}, ValueError, "this machine has"),
        ({"queue_pages": 0}, ValueError, "queue_pages"),
        ({"timeout": 0}, ValueError, "timeout"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
        ({"disk": "pages"}, TypeError, "DiskTier or None, got str"),
        ({"dtype": "float32"}, TypeError, "dtype"),
        ({"dtype": torch.float16}, ValueError, "pages of 256 bytes, wanted 128"),
        ({"page_shape": ()}, ValueError, "page_shape"),
        ({"page_shape": (2, 0)}, ValueError, "page_shape"),
        ({"pin": True}, ValueError, "needs CUDA"),
    ],
)
def test_refuses_bad_input(disk: GatedDisk, options: Any, error: type[Exception], message: str) -> None:
    if options.get("pin") and torch.cuda.is_available():
        pytest.skip("there is CUDA")
    arguments = {"page_shape": SHAPE, "dtype": torch.float32, "host_pages": 2, "disk": disk} | options
    with pytest.raises(error, match=message):
        TieredStore(arguments.pop("page_shape"), arguments.pop("dtype"), **arguments)


def test_refuses_other_pages_before_anything_is_done(page: Page) -> None:
    with TieredStore(SHAPE, torch.float32, host_pages=1) as store:
        for call in (store.store, store.load):
            with pytest.raises(ValueError, match=r"must be \(2, 4, 8\), got \(2, 4\)"):
                call(b"a", torch.zeros(2, 4))
            with pytest.raises(TypeError, match=r"must be torch\.float32, got"):
                call(b"a", torch.zeros(SHAPE, dtype=torch.float64))
            with pytest.raises(ValueError, match="key must be"):
                call(b"", torch.zeros(SHAPE))
        assert len(store) == 0


def test_the_host_tier_is_one_tensor() -> None:
    tier = HostTier((2, 3), torch.bfloat16, 5)
    assert (len(tier), tier.nbytes, tier.page_nbytes) == (5, 60, 12)
    tier[3].fill_(1)
    assert float(tier.pages.sum()) == 6 or tier.pages[3].eq(1).all()
