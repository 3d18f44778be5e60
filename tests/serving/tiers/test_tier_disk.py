"""The disk tier: whatever happens to a file, a page comes back as it was or not at all."""

import errno
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kb.serving.tiers import DiskTier, TierError
from kb.serving.tiers.page_file import HEADER_BYTES

Make = Callable[..., DiskTier]
Page = Callable[..., torch.Tensor]


def read(disk: DiskTier, key: bytes, *, dtype: torch.dtype = torch.float32) -> torch.Tensor | None:
    out = torch.full((256 // dtype.itemsize,), 7, dtype=dtype)
    found = disk.read(key, out)
    assert found or bool((out == 7).all())  # not touched
    return out if found else None


def files(disk: DiskTier) -> list[Path]:
    return sorted(path for path in disk.folder.iterdir() if path.name != ".lock")


def run(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Python in another process, which sees the same package."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, **options)


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


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


FULL = """
    import errno, resource, sys
    import torch
    from kb.serving.tiers import DiskTier

    page = torch.arange(1 << 18, dtype=torch.int32)
    for room in map(int, sys.argv[2:]):
        options = {"page_nbytes": 1 << 20, "capacity_pages": 4, "fingerprint": "f", "keep_cached": bool(room % 2)}
        with DiskTier(f"{sys.argv[1]}/{room}", **options) as disk:
            disk.write(b"before", page)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
            try:
                disk.write(b"after", page)
            except OSError as error:
                print(errno.errorcode[error.errno], end=" ")
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            print(sorted(path.suffix for path in disk.folder.iterdir()), end=" ")
            out = torch.empty_like(page)
            print(disk.read(b"before", out), torch.equal(out, page), disk.read(b"after", out))
"""


def test_a_file_that_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    rooms = [0, 100, HEADER_BYTES, 100_001, (1 << 20) + HEADER_BYTES - 1]
    with run(FULL, tmp_path, *rooms) as process:
        printed = process.communicate(timeout=60)[0].splitlines()
    assert printed == ["EFBIG ['', '.page'] True True False"] * len(rooms)  # '' is the lock


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


WRITER = """
    import os, signal, sys, time
    import torch
    from kb.serving.tiers import DiskTier

    options = {"page_nbytes": 4 << 20, "capacity_pages": 4, "fingerprint": "f"}
    for kill_after in (0.005, 0.02, 0.045, 0.08, 0.13):
        ready, writer = os.pipe()
        child = os.fork()
        if child == 0:
            disk, number = DiskTier(sys.argv[1], **options), 0
            os.write(writer, b"!")
            while True:
                number += 1
                disk.write(b"%d" % (number % 3), torch.full((1 << 20,), number, dtype=torch.int32))
        os.read(ready, 1)
        try:
            DiskTier(sys.argv[1], **options)
        except Exception as error:
            print(type(error).__name__)
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        print("unfinished", sum(name.endswith(".unfinished") for name in os.listdir(sys.argv[1])))
        with DiskTier(sys.argv[1], **options) as disk:
            print("left", sum(name.endswith(".unfinished") for name in os.listdir(sys.argv[1])))
            for key in disk.stored():
                out = torch.empty(1 << 20, dtype=torch.int32)
                right = disk.read(key, out) and bool((out == out[0]).all()) and int(out[0]) % 3 == int(key)
                print("right" if right else "wrong")
"""


def test_a_writer_that_is_killed_leaves_whole_pages_only(tmp_path: Path) -> None:
    with run(WRITER, tmp_path / "pages") as process:
        printed = process.communicate(timeout=120)[0].splitlines()
    assert process.returncode == 0
    assert printed.count("TierError") == printed.count("left 0") == 5
    assert "unfinished 1" in printed  # so that at least one was killed in the middle
    assert "right" in printed
    assert "wrong" not in printed


KILLED = """
    import builtins, os, signal, sys
    import torch
    from kb.serving.tiers import DiskTier, disk as module

    class File:
        def __init__(self, file): self.file = file
        def __enter__(self): return self
        def __exit__(self, *_): self.file.close()
        def fileno(self): return self.file.fileno()
        def write(self, part): return step(self.file.write)(part[:3000])

    def step(function):
        def counted(*arguments):
            global steps
            steps += 1
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)
        return counted

    for number, name in enumerate(("header", "rest of header", "page", "rename", "never")):
        options = {"page_nbytes": 256, "capacity_pages": 4, "fingerprint": "f"}
        steps, last = 0, number + 1
        child = os.fork()
        if child == 0:
            disk = DiskTier(f"{sys.argv[1]}/{number}", **options)
            disk.write(b"a", torch.ones(64))
            module.open = lambda *arguments, **options: File(builtins.open(*arguments, **options))
            os.replace = step(os.replace)
            disk.write(b"a", torch.full((64,), 2.0))
            os._exit(0)
        died = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        with DiskTier(f"{sys.argv[1]}/{number}", **options) as disk:
            out = torch.empty(64)
            found = disk.read(b"a", out)
            print(name, died, found, out.unique().tolist(), len(os.listdir(disk.folder)))
"""


def test_a_kill_before_each_step_of_a_write(tmp_path: Path) -> None:
    with run(KILLED, tmp_path) as process:
        printed = process.communicate(timeout=60)[0].splitlines()
    killed = [f"{name} True True [1.0] 2" for name in ("header", "rest of header", "page", "rename")]
    assert printed == [*killed, "never False True [2.0] 2"]  # two files: the page and the lock


def test_one_folder_has_one_user(make_disk: Make) -> None:
    disk = make_disk()
    with pytest.raises(TierError, match="in use by another process"):
        make_disk()
    closing = threading.Thread(target=disk.close)  # not the thread that opened it
    closing.start()
    closing.join(20)
    make_disk()


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
