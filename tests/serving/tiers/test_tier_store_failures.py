"""A store whose disk, folder or thread fails: pages are missed, never wrong; and what is refused."""

import errno
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from kb.serving.tiers import PageLostError, TieredStore, TierError
from tests.serving.tiers.storing import LONG, SHAPE, GatedDisk, Page, fill, holds, loaded


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
