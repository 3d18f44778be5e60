"""An external sort under bad input, full disks and kills; and what memory it really takes."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import sorting
from kb.algorithms import external_sort, merge_by_losers
from kb.algorithms.sorting import external, files

MEMORY = external.LEAST_MEMORY
posix = pytest.mark.skipif(os.name != "posix", reason="wants signals and limits of POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads memory as Linux counts it")
OLD = b"what was there before\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file that takes several runs, and an older destination."""
    (tmp_path / "a").write_bytes(b"".join(b"%08d\n" % (n * 7919 % 100_000) for n in range(9_000)))
    (tmp_path / "b").write_bytes(OLD)
    return tmp_path


def assert_untouched(folder: Path, also: tuple[str, ...] = ()) -> None:
    assert sorted(os.listdir(folder)) == sorted(["a", "b", *also])
    assert (folder / "b").read_bytes() == OLD
    assert (folder / "a").stat().st_size == 81_000


def python(folder: Path, code: str, within: Sequence[str] = ()) -> subprocess.Popen[str]:
    start = "from kb.algorithms import *\nimport os, resource, sys, time\n"
    line = [*within, sys.executable, "-c", start + code]
    return subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "error", "said"),
        [
            ({"memory": 1000}, ValueError, "memory must be an integer of at least 131072, got 1000"),
            ({"memory": 64e6}, ValueError, "memory must be an integer"),
            ({"fan_in": 1}, ValueError, "fan_in must be an integer of at least 2, got 1"),
            ({"key": "length"}, TypeError, "key must be a function of a line, got 'length'"),
            ({"encoding": "utf-99"}, ValueError, "there is none called 'utf-99'"),
            ({"encoding": "utf-16"}, ValueError, "in utf-16 they do not"),
            ({"encoding": "utf-16-le"}, ValueError, "in utf-16-le they do not"),
            ({"temporary": "nowhere"}, FileNotFoundError, "temporary: there is no such folder"),
        ],
    )
    def test_arguments(self, folder: Path, options: dict[str, Any], error: type[Exception], said: str) -> None:
        with pytest.raises(error, match=said):
            external_sort(folder / "a", folder / "b", **options)
        assert_untouched(folder)

    def test_places(self, folder: Path) -> None:
        with pytest.raises(FileNotFoundError, match="destination: there is no such folder"):
            external_sort(folder / "a", folder / "nowhere" / "b")
        with pytest.raises(FileNotFoundError, match="none"):
            external_sort(folder / "none", folder / "b")
        with pytest.raises(OSError, match="directory"):  # IsADirectoryError; on Windows PermissionError
            external_sort(folder, folder / "b")
        with pytest.raises(ValueError, match="is there and is no file"):
            external_sort(folder / "a", folder)
        assert_untouched(folder)

    @posix
    def test_the_source_and_a_device_are_no_destination(self, folder: Path) -> None:
        (folder / "soft").symlink_to("a")
        (folder / "hard").hardlink_to(folder / "a")
        for name in ("a", "soft", "hard", "../" + folder.name + "/a"):
            with pytest.raises(ValueError, match="is the source; name another file"):
                external_sort(folder / "a", folder / name)
        with pytest.raises(ValueError, match="is no file"):
            external_sort(folder / "a", os.devnull)
        assert_untouched(folder, ("hard", "soft"))

    def test_a_line_that_is_too_long(self, folder: Path) -> None:
        data = b"ab\n" * 5 + b"x" * (MEMORY // 16) + b"\n"
        for end in (b"", b"more\n" * 1000):
            (folder / "long").write_bytes(data + end)
            with pytest.raises(ValueError, match="line 6 is too long: 8,192 bytes, a sixteenth of memory"):
                external_sort(folder / "long", folder / "b", memory=MEMORY)
        (folder / "long").write_bytes(b"x" * 10**6)
        with pytest.raises(ValueError, match="line 1 is too long"):
            external_sort(folder / "long", folder / "b", memory=MEMORY)
        with pytest.raises(ValueError, match="line 1 is too long"):
            external_sort(folder / "a", folder / "b", memory=MEMORY, key=lambda line: line * 2000)
        assert_untouched(folder, ("long",))

    def test_the_longest_line_that_fits(self, folder: Path) -> None:
        lines = [bytes([n % 256]) * (MEMORY // 16 - 100) for n in range(65, 91)]
        (folder / "long").write_bytes(b"\n".join(lines[::-1]))
        for merging in (external.merge_blocks, merge_by_losers):
            report = external_sort(folder / "long", folder / "b", memory=MEMORY, fan_in=2, merging=merging)
            assert (folder / "b").read_bytes().split() == lines
            assert (len(report.run_lines), report.passes) == (3, 2)


class TestInterrupted:
    @pytest.mark.parametrize("after", [0, 5_000, 9_500, 25_000])
    @pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
    def test_nothing_is_left(self, folder: Path, after: int, error: type[BaseException]) -> None:
        calls = 0

        def key(line: str) -> str:
            nonlocal calls
            calls += 1
            if calls > after:
                raise error
            return line

        with pytest.raises(error):
            external_sort(folder / "a", folder / "b", memory=MEMORY, key=key, fan_in=2)
        assert_untouched(folder)

    @pytest.mark.parametrize("encoding", ["utf-8", None])
    def test_a_key_that_decodes_is_not_a_wrong_line(self, folder: Path, encoding: str | None) -> None:
        with pytest.raises(UnicodeDecodeError, match="can't decode byte 0xfe in position 1"):
            external_sort(folder / "a", folder / "b", encoding=encoding, key=lambda line: b"a\xfe".decode())
        assert_untouched(folder)

    def test_keys_that_do_not_compare(self, folder: Path) -> None:
        with pytest.raises(TypeError, match="not supported"):
            external_sort(folder / "a", folder / "b", key=lambda line: None)
        assert_untouched(folder)

    @linux
    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    def test_a_killed_process_leaves_nothing(self, folder: Path, how: signal.Signals) -> None:
        code = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in the background
            "def key(line):\n    global n; n += 1\n"
            "    if n == 15_000: print('merging', flush=True); time.sleep(60)\n    return line\n"
            f"n = 0; external_sort('a', 'b', memory={MEMORY}, key=key)"
        )
        with python(folder, code) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "merging\n"
            process.send_signal(how)
            assert process.wait(120) != 0
        assert_untouched(folder)

    @posix
    @pytest.mark.parametrize("size", [100, 60_000])
    def test_a_file_that_cannot_grow(self, folder: Path, size: int) -> None:
        code = (
            "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
            f"external_sort('a', 'b', memory={MEMORY})"
        )
        with python(folder, code) as process:
            said = process.communicate(timeout=60)[1]
        assert "File too large while sorting a" in said
        assert_untouched(folder)

    @linux
    @pytest.mark.parametrize("kilobytes", [40, 120])  # full with the first runs, and while they are merged
    def test_a_disk_that_is_really_full(self, folder: Path, kilobytes: int) -> None:
        (folder / "disk").mkdir()
        code = (
            "open('disk/b', 'w').write('old')\n"
            f"try: external_sort('a', 'disk/b', memory={MEMORY})\n"
            "except OSError as error: print(error)\n"
            "print(os.listdir('disk'), open('disk/b').read(), os.statvfs('disk').f_bfree * 4)"
        )
        mounted = f'mount -t tmpfs -o size={kilobytes}k none disk || exit 77; exec "$@"'
        line = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted, "sh"]
        if shutil.which("unshare") is None:
            pytest.skip("there is no unshare")
        with python(folder, code, line) as process:
            said, wrong = process.communicate(timeout=60)
        if process.returncode == 77 or wrong.startswith("unshare: "):
            pytest.skip(f"no disk of one's own can be mounted here: {wrong}")
        assert f"[Errno {errno.ENOSPC}] No space left on device while sorting a" in said, wrong
        assert f"['b'] old {kilobytes - 4}" in said
        assert_untouched(folder, ("disk",))

    @pytest.mark.parametrize("nth", [1, 2, 7, 12])
    def test_a_full_disk_is_named(self, folder: Path, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
        calls, write = 0, files.RunWriter.write

        def full(self: files.RunWriter, entries: list[Any]) -> None:
            nonlocal calls
            calls += 1
            if calls == nth:
                raise OSError(errno.ENOSPC, "No space left on device")
            write(self, entries)

        monkeypatch.setattr(files.RunWriter, "write", full)
        with pytest.raises(OSError, match=r"must have room for its 0 MB, and .* for its runs") as caught:
            external_sort(folder / "a", folder / "b", memory=MEMORY)
        assert caught.value.errno == errno.ENOSPC
        assert_untouched(folder)


class TestPlace:
    def test_the_destination_is_replaced_and_a_link_to_it_kept(self, folder: Path) -> None:
        (folder / "link").symlink_to("b")
        external_sort(folder / "a", folder / "link", memory=MEMORY)
        assert (folder / "link").is_symlink()
        lines = (folder / "b").read_bytes().split()
        assert lines == sorted(lines)
        assert len(lines) == 9_000

    @posix
    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o666])
    @pytest.mark.parametrize("has_nameless", [False, True])
    def test_permissions_are_those_of_what_was_there(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, mode: int, has_nameless: bool
    ) -> None:
        if not has_nameless:
            monkeypatch.delattr(os, "O_TMPFILE", raising=False)
            monkeypatch.setattr(tempfile, "_O_TMPFILE_WORKS", False)
        (folder / "b").chmod(mode)
        external_sort(folder / "a", folder / "b", memory=MEMORY)
        assert (folder / "b").stat().st_mode & 0o777 == mode
        assert (folder / "b").stat().st_size == 81_000

    def test_runs_may_lie_elsewhere(self, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        other = tmp_path_factory.mktemp("runs")
        report = external_sort(str(folder / "a"), str(folder / "b"), memory=MEMORY, temporary=other, fan_in=2)
        assert report.passes == 3
        assert os.listdir(other) == []

    @posix
    def test_a_system_without_nameless_files(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
        monkeypatch.setattr(tempfile, "_O_TMPFILE_WORKS", False)
        seen: list[list[str]] = []

        def key(line: str) -> str:
            seen.append(sorted(os.listdir(folder)))
            return line

        external_sort(folder / "a", folder / "b", memory=MEMORY, key=key)
        assert any(name.startswith(".sorting-") and name.endswith(".unfinished") for name in seen[-1])
        assert sorted(os.listdir(folder)) == ["a", "b"]
        (folder / "b").write_bytes(OLD)
        with pytest.raises(ZeroDivisionError):
            external_sort(folder / "a", folder / "b", memory=MEMORY, key=lambda line: 1 // (line != "00007919"))
        assert_untouched(folder)


@linux
class TestMemory:
    @pytest.mark.parametrize(
        "options",
        ["{}", "{'merging': merge_by_losers}", "{'replacement': True}", "{'key': lambda s: (s[5:9], s)}"],
    )
    def test_what_is_allocated_is_within_memory(self, folder: Path, options: str) -> None:
        (folder / "a").write_bytes(b"".join(b"%d\n" % (n * 7919 % 65_537) for n in range(50_000)))
        code = (
            f"import tracemalloc; options = {options}; external_sort('b', 'c')\ntracemalloc.start()\n"
            f"report = external_sort('a', 'c', memory={1 << 20}, **options)\n"
            "print(tracemalloc.get_traced_memory()[1], report.peak_bytes, len(report.run_lines))"
        )
        with python(folder, code) as process:
            told, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        allocated, accounted, runs = map(int, told.split())
        assert runs > 1
        assert accounted <= 1 << 20
        assert allocated < 1.05 * 2**20  # Python's file objects have buffers of their own

    def test_a_large_file_in_little_memory(self, tmp_path: Path) -> None:
        sorted_in(tmp_path, megabytes=64, memory=4 << 20, most=6 << 20)

    @pytest.mark.slow
    @pytest.mark.skipif("KB_LARGE_FILES" not in os.environ, reason="1 GB and a minute: set KB_LARGE_FILES=1 to run it")
    def test_a_gigabyte_in_64_megabytes(self, tmp_path: Path) -> None:
        sorted_in(tmp_path, megabytes=1024, memory=64 << 20, most=80 << 20)


def sorted_in(folder: Path, megabytes: int, memory: int, most: int) -> None:
    source, target = folder / "a", folder / "b"
    sorting.write_lines(source, megabytes)
    told = json.loads(sorting.sort_apart(source, target, memory))
    assert told["passes"] == 1
    assert told["runs"] > 20
    assert told["peak_bytes"] <= memory
    assert told["resident_bytes"] < most
    assert told["bytes_written"] == told["bytes_read"] == 2 * source.stat().st_size
    with open(target, "rb") as file:
        last, count = b"", 0
        for line in file:
            if line < last:
                pytest.fail(f"line {count + 1} comes before the one above it")
            last, count = line, count + 1
    assert count == megabytes * sorting.LINES
