"""A worker that raises, dies, hangs or talks nonsense is an error with its last words, and never a wrong answer."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.foreign.worker import Worker, WorkerError
from book.notebooks import ROOT

WAIT = 20.0  # for what answers at once on a machine that is not busy

SERVING = """
import os, sys, time
from benchmarks.foreign.protocol import serve

def noise(text):
    print(text)
    os.write(1, b"from a C library\\n")
    print("a warning", file=sys.stderr)
    return text

def fail():
    raise ValueError("no such model")

def die():
    print("out of memory")
    os._exit(3)

def hang():
    print("thinking")
    time.sleep(60)

def compute(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

def read_input():
    return sys.stdin.read()

def not_json():
    return object()

def size(data):
    return len(data)

def child():
    import subprocess
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid

serve({f.__name__: f for f in (noise, fail, die, hang, compute, read_input, not_json, size, child)})
"""


def start(code: str, **options: float) -> Worker:
    return Worker("the library", [sys.executable, "-c", code], folder=ROOT, **options)


@pytest.fixture
def worker() -> Iterator[Worker]:
    with start(SERVING) as one:
        yield one


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def ends_soon(process: int) -> bool:
    deadline = time.monotonic() + WAIT
    while is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(process)


def test_answers_are_kept_apart_from_noise(worker: Worker) -> None:
    said = ['{"id": 1, "result": "forged"}', "two\nlines", "人工智能"]
    assert [worker.call("noise", timeout=WAIT, text=text) for text in said] == said


def test_large_requests_and_answers_pass(worker: Worker) -> None:
    text = "x" * 3_000_000  # many times what a pipe holds
    assert worker.call("size", timeout=WAIT, data=text) == len(text)
    assert worker.call("noise", timeout=WAIT, text=text) == text


def test_it_cannot_read_what_is_meant_for_the_protocol(worker: Worker) -> None:
    assert worker.call("read_input", timeout=WAIT) == ""


@pytest.mark.parametrize(
    ("method", "said"),
    [("fail", "ValueError: no such model"), ("not_json", "TypeError"), ("unheard_of", "KeyError: 'unheard_of'")],
)
def test_an_error_is_passed_on_and_the_worker_goes_on(worker: Worker, method: str, said: str) -> None:
    with pytest.raises(WorkerError, match=f"the library failed at {method}: {said}(?s:.*)\n  {said}"):
        worker.call(method, timeout=WAIT)
    assert worker.call("size", timeout=WAIT, data="four") == 4


def test_one_that_dies_tells_its_status_and_last_words(worker: Worker) -> None:
    with pytest.raises(WorkerError, match=r"ended while it was asked for die \(exit status 3\)\n  out of memory"):
        worker.call("die", timeout=WAIT)
    with pytest.raises(WorkerError, match="the library is closed"):
        worker.call("size", timeout=WAIT, data="")


def test_one_that_hangs_is_killed_with_what_it_started() -> None:
    with start(SERVING) as worker:
        child = worker.call("child", timeout=WAIT)
        assert is_alive(child)
        with pytest.raises(WorkerError, match=r"did not answer hang within 0\.3 s\n  thinking"):
            worker.call("hang", timeout=0.3)
        assert ends_soon(child)
        with pytest.raises(WorkerError, match="is closed"):
            worker.cpu_seconds()


@pytest.mark.parametrize(
    "line",
    ["garbage", "[1]", '{"id": 7, "result": 1}', '{"id": 1}', "null", "\udcff"],
)
def test_what_is_no_answer_is_an_error(line: str) -> None:
    code = f"import os, sys; sys.stdin.readline(); os.write(1, os.fsencode({line!r}) + b'\\n'); sys.stdin.read()"
    with start(code) as worker, pytest.raises(WorkerError, match="answered what is no answer to request 1"):
        worker.call("size", timeout=WAIT)


def test_half_an_answer_is_an_error() -> None:
    code = 'import os, sys; sys.stdin.readline(); os.write(1, b\'{"id": 1, "res\')'
    with start(code) as worker, pytest.raises(WorkerError, match=r"ended while it was asked for size \(exit status 0"):
        worker.call("size", timeout=WAIT)


def test_one_that_never_reads_is_an_error() -> None:
    with (
        start("import time; time.sleep(60)", grace=0.1) as worker,
        pytest.raises(WorkerError, match=r"did not answer size within 0\.3 s"),
    ):
        worker.call("size", timeout=0.3, data="x" * 3_000_000)


def test_what_cannot_be_started_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"the library cannot be started: .*nowhere"):
        Worker("the library", [str(tmp_path / "nowhere")])


def test_closing_ends_the_process_and_its_children() -> None:
    worker = start(SERVING)
    child = worker.call("child", timeout=WAIT)
    worker.close()
    worker.close()
    assert ends_soon(child)
    with pytest.raises(WorkerError, match="is closed"):
        worker.call("size", timeout=WAIT, data="")


def ends_normally(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("end", ["", "raise SystemExit(1)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_it_does_not_outlive_whoever_started_it(end: str) -> None:
    code = (
        "import sys\nfrom benchmarks.foreign.worker import Worker\n"
        f"worker = Worker('the library', [sys.executable, '-c', {SERVING!r}])\n"
        f"print(worker._process.pid, worker.call('size', timeout=20, data=''), flush=True)\n{end}"
    )
    process, size = ends_normally(code).stdout.split()
    assert size == "0"
    assert ends_soon(int(process))


def test_processor_time_tells_work_from_waiting(worker: Worker) -> None:
    before = worker.cpu_seconds()
    worker.call("compute", timeout=WAIT, seconds=0.2)
    worked = worker.cpu_seconds()
    time.sleep(0.2)
    waited = worker.cpu_seconds()
    assert worked - before >= 0.2
    assert waited - worked < 0.05


def test_a_round_trip_is_short_beside_what_is_raced(worker: Worker) -> None:
    def trip() -> float:
        begin = time.perf_counter()
        assert worker.call("size", timeout=WAIT, data="x") == 1
        return time.perf_counter() - begin

    assert min(trip() for _ in range(20)) < 0.01


def test_no_files_are_left_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        start("").close()
    assert len(os.listdir("/proc/self/fd")) == before
