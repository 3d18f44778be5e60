"""The disk tier: whatever happens to a file, a page comes back as it was or not at all."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kb.serving.tiers import DiskTier, TierError
from kb.serving.tiers.page_file import HEADER_BYTES
from tests.serving.tiers.pages_on_disk import Make, Page, files, read


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("keep_cached", [True, False])
def test_a_page_comes_back_to_the_bit(make_disk: Make, page: Page, dtype: torch.dtype, keep_cached: bool) -> None:
    disk = make_disk(keep_cached=keep_cached)
    first, second = (page(number, (256 // dtype.itemsize,)).to(dtype) for number in (1, 2))
    first[0] = torch.nan  # a bit pattern like any other
    disk.write(b"a", first)
    disk.write(b"b", second)
    again = read(disk, b"a", dtype=dtype)
    assert again is not None
    assert torch.equal(again.view(torch.uint8), first.view(torch.uint8))
    disk.write(b"a", second)  # replaced as a whole
    assert torch.equal(read(disk, b"a", dtype=dtype), second)  # type: ignore[arg-type]
    disk.delete(b"a")
    disk.delete(b"a")
    assert read(disk, b"a", dtype=dtype) is None
    assert len(files(disk)) == 1


def test_any_strides_are_written_to_and_read_from(make_disk: Make, page: Page) -> None:
    disk = make_disk()
    disk.write(b"a", page(1, (8, 8)).t())
    out = torch.zeros(8, 3, 8)
    assert disk.read(b"a", out[:, 1])
    assert torch.equal(out[:, 1], page(1, (8, 8)).t())
    assert not out[:, ::2].any()


def test_another_process_finds_the_pages_again_in_the_order_of_use(make_disk: Make, page: Page) -> None:
    disk = make_disk()
    for number, key in enumerate((b"a", b"b", b"c")):
        disk.write(key, page(number))
    for number, path in enumerate(files(disk)):
        os.utime(path, ns=(number, number))
    by_time = _keys_by_time(disk)
    assert read(disk, by_time[0]) is not None  # used: now the newest
    disk.close()
    again = make_disk()
    assert again.stored() == (*by_time[1:], by_time[0])
    again.close()
    assert make_disk(capacity_pages=2).stored() == (by_time[2], by_time[0])


def _keys_by_time(disk: DiskTier) -> list[bytes]:
    times = {key: disk._path(key).stat().st_mtime_ns for key in (b"a", b"b", b"c")}
    return sorted(times, key=times.__getitem__)


@pytest.mark.parametrize("other", [{"fingerprint": "model B"}, {"page_nbytes": 128}])
def test_pages_of_another_model_or_layout_are_not_found(make_disk: Make, page: Page, other: dict[str, Any]) -> None:
    disk = make_disk()
    disk.write(b"a", page(1))
    disk.close()
    again = make_disk(**other)
    assert again.stored() == ()
    assert files(again) == []


def test_a_page_put_there_by_another_model_is_a_miss(make_disk: Make, page: Page, tmp_path: Path) -> None:
    ours, theirs = make_disk(), make_disk(folder=tmp_path / "theirs", fingerprint="model B")
    theirs.write(b"a", page(1))
    (ours.folder / files(theirs)[0].name).write_bytes(files(theirs)[0].read_bytes())
    assert read(ours, b"a") is None
    assert files(ours) == []


def test_a_page_under_the_name_of_another_is_a_miss(make_disk: Make, page: Page) -> None:
    disk = make_disk()
    disk.write(b"a", page(1))
    written = files(disk)[0]
    disk.write(b"b", page(2))
    other = next(path for path in files(disk) if path != written)
    written.replace(other)
    assert read(disk, b"b") is None
    disk.write(b"b", page(2))
    other.rename(written)
    disk.close()
    assert make_disk().stored() == ()


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bit=st.integers(0, 8 * (HEADER_BYTES + 256) - 1))
def test_any_bit_that_flips_is_noticed(make_disk: Make, page: Page, bit: int) -> None:
    with make_disk(keep_cached=True) as disk:
        disk.write(b"a", page(1))
        path = disk._path(b"a")
        data = bytearray(path.read_bytes())
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        assert read(disk, b"a") is None
        assert not path.exists()
        path.write_bytes(data)
    with make_disk() as disk:  # found by its header, or not; never read as something else
        assert set(disk.stored()) <= {b"a"}
        assert read(disk, b"a") is None


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    length=st.one_of(st.integers(0, HEADER_BYTES + 255), st.sampled_from([0, 1, HEADER_BYTES, HEADER_BYTES + 257])),
)
def test_any_other_length_is_noticed(make_disk: Make, page: Page, length: int) -> None:
    with make_disk(keep_cached=True) as disk:
        disk.write(b"a", page(1))
        path = disk._path(b"a")
        path.write_bytes((path.read_bytes() + b"more")[:length])
        data = path.read_bytes()
        assert read(disk, b"a") is None
        path.write_bytes(data)
    with make_disk() as disk:
        assert disk.stored() == ()


def test_random_bytes_in_a_page_are_noticed(make_disk: Make, page: Page) -> None:
    disk = make_disk(keep_cached=True)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        disk.write(b"a", page(1))
        path = disk._path(b"a")
        data = bytearray(path.read_bytes())
        start = HEADER_BYTES + int(torch.randint(200, (), generator=generator))
        data[start : start + 56] = torch.randint(256, (56,), generator=generator, dtype=torch.uint8).numpy().tobytes()
        path.write_bytes(data)
        assert read(disk, b"a") is None


def test_a_file_that_cannot_be_read_is_a_miss(make_disk: Make, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = make_disk()
    disk.write(b"a", page(1))
    opened = os.open

    def fail(path: Any, *rest: Any, **options: Any) -> int:
        if str(path).endswith(".page"):
            raise OSError(errno.EIO, "input/output error")
        return opened(path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        assert read(disk, b"a") is None
    assert read(disk, b"a") is None
    disk._path(b"b").mkdir()  # what is no file at all
    assert read(disk, b"b") is None


def test_a_folder_that_vanished_is_an_error_to_write_and_a_miss_to_read(make_disk: Make, page: Page) -> None:
    disk = make_disk()
    disk.write(b"a", page(1))
    disk.folder.rename(disk.folder.with_name("elsewhere"))
    assert read(disk, b"a") is None
    with pytest.raises(FileNotFoundError):
        disk.write(b"b", page(2))
    disk.announce([b"a"])
    disk.delete(b"a")


@pytest.mark.parametrize("where", ["write", "rename"])
def test_a_disk_that_is_full_leaves_nothing_behind(
    make_disk: Make, page: Page, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    disk = make_disk()
    disk.write(b"a", page(1))

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    if where == "write":
        monkeypatch.setattr("kb.serving.tiers.disk.pack_header", fail)
    else:
        monkeypatch.setattr(os, "replace", fail)
    for key in (b"a", b"b"):
        with pytest.raises(OSError, match="no space"):
            disk.write(key, page(2))
    monkeypatch.undo()
    assert torch.equal(read(disk, b"a"), page(1).flatten())  # type: ignore[arg-type]
    assert len(files(disk)) == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"page_nbytes": 0}, ValueError, "page_nbytes"),
        ({"capacity_pages": 0}, ValueError, "capacity_pages"),
        ({"capacity_pages": True}, ValueError, "capacity_pages"),
        ({"fingerprint": ""}, ValueError, "fingerprint"),
        ({"fingerprint": b"x"}, ValueError, "fingerprint"),
        ({"folder": __file__}, ValueError, "is a file"),
        ({"folder": Path(__file__) / "pages"}, TierError, "cannot be used"),
        ({"page_nbytes": 1 << 40, "capacity_pages": 1000}, TierError, "are free"),
    ],
)
def test_refuses_bad_input(make_disk: Make, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_disk(**options)


def test_refuses_keys_and_pages_of_another_size(make_disk: Make, page: Page) -> None:
    disk = make_disk()
    for key in (b"", b"x" * 256, "text"):
        with pytest.raises(ValueError, match="key must be"):
            disk.write(key, page(1))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="key must be"):
            disk.read(key, page(1))  # type: ignore[arg-type]
    disk.write(b"x" * 255, page(1))
    assert read(disk, b"x" * 255) is not None
    with pytest.raises(ValueError, match="260 bytes, wanted 256"):
        disk.write(b"a", torch.zeros(65))
    with pytest.raises(ValueError, match="252 bytes, wanted 256"):
        disk.read(b"a", torch.zeros(63))
