"""The disk tier in other processes: killed, cut short, or there at the same time."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from kb.serving.tiers import TierError
from kb.serving.tiers.page_file import HEADER_BYTES
from tests.serving.tiers.pages_on_disk import Make


def run(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Python in another process, which sees the same package."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, **options)


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


WRITER = """
    import os, signal, sys, time
    import torch
    from kb.serving.tiers import DiskTier

    options = {"page_nbytes": 4 << 20, "capacity_pages": 4, "fingerprint": "f"}

    def unfinished():
        return sum(name.endswith(".unfinished") for name in os.listdir(sys.argv[1]))

    rounds, cut, found = 0, 0, 0
    deadline = time.monotonic() + 100
    # On until five kills, one of them in the middle of a page and one after a whole page: when that is, is chance.
    while (rounds < 5 or not cut or not found) and time.monotonic() < deadline:
        rounds += 1
        ready, writer = os.pipe()
        child = os.fork()
        if child == 0:
            disk, number = DiskTier(sys.argv[1], **options), 0
            os.write(writer, b"!")
            while True:
                number += 1
                disk.write(b"%d" % (number % 3), torch.full((1 << 20,), number, dtype=torch.int32))
        os.read(ready, 1)
        os.close(ready)
        os.close(writer)
        try:
            DiskTier(sys.argv[1], **options)
        except Exception as error:
            print(type(error).__name__)
        time.sleep((0.005, 0.02, 0.045, 0.08, 0.13)[rounds % 5])
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        cut += unfinished()
        with DiskTier(sys.argv[1], **options) as disk:
            print("left", unfinished())
            for key in disk.stored():
                out = torch.empty(1 << 20, dtype=torch.int32)
                right = disk.read(key, out) and bool((out == out[0]).all()) and int(out[0]) % 3 == int(key)
                print("right" if right else "wrong")
                found += right
    print("rounds", rounds, "cut", bool(cut), "found", bool(found))
"""


def test_a_writer_that_is_killed_leaves_whole_pages_only(tmp_path: Path) -> None:
    with run(WRITER, tmp_path / "pages") as process:
        printed = process.communicate(timeout=120)[0].splitlines()
    assert process.returncode == 0
    rounds = printed.count("TierError")
    assert rounds == printed.count("left 0") >= 5
    assert printed[-1] == f"rounds {rounds} cut True found True"
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
