"""What workers are given to do."""

import asyncio
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.shared_memory import SharedMemory

import numpy as np
import pytest

from kb.algorithms.concurrency import (
    SlowServer,
    Texts,
    ask,
    ask_async,
    cores_free,
    cores_used,
    count_down,
    double_shared,
    doubled,
    run_in_thread,
)


def test_a_worker_that_was_started_afresh_finds_all_of_it():
    numbers = np.arange(4.0)
    block = SharedMemory(create=True, size=numbers.nbytes)
    try:
        np.ndarray(4, buffer=block.buf)[:] = numbers
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            assert pool.submit(count_down, 1000).result(60) == 0
            assert pool.submit(double_shared, block.name, 4).result(60) == 12
            assert pool.submit(doubled, numbers).result(60).tolist() == [0, 2, 4, 6]
            index, worker = pool.submit(Texts(3, 10).__getitem__, 2).result(60)
        assert np.ndarray(4, buffer=block.buf).tolist() == [0, 2, 4, 6]
        assert (index, worker != os.getpid()) == (2, True)
    finally:
        block.close()
        block.unlink()


def test_the_server_answers_late_and_many_at_once():
    with SlowServer(0.1) as server:
        start = time.perf_counter()
        assert ask(server.address) == b"done"
        assert time.perf_counter() - start >= 0.1

        async def many():
            return await asyncio.gather(*[ask_async(server.address) for _ in range(20)])

        start = time.perf_counter()
        assert run_in_thread(many()) == [b"done"] * 20
        assert 0.1 <= time.perf_counter() - start < 20 * 0.1
    with pytest.raises(ConnectionRefusedError):
        ask(server.address, patience=0.5)


def test_waiting_uses_no_core_and_computing_at_most_one() -> None:
    assert cores_used(lambda: time.sleep(0.3)) < 0.2
    assert 0.01 < cores_used(lambda: count_down(2_000_000)) < 1.5
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(count_down, 1).result(60)  # it has started
        assert cores_used(lambda: pool.submit(count_down, 5_000_000).result(60)) > 0.01  # a worker's time counts


def test_a_dataset_refuses_what_is_outside():
    assert (len(Texts(3, 0)), Texts(3, 0)[1]) == (3, (1, os.getpid()))
    for index in (3, -1):
        with pytest.raises(IndexError, match=r"index must be in 0 to 2"):
            Texts(3, 0)[index]


def test_free_cores_are_some_of_the_machines():
    assert 0 <= cores_free(0.05) <= (os.cpu_count() or 1)


def test_bad_numbers():
    with pytest.raises(ValueError, match="delay must be"):
        SlowServer(-1)
    with pytest.raises(ValueError, match="steps must be an integer of at least 0"):
        count_down(-1)  # would go on for ever
    with pytest.raises(ValueError, match="length must be"):
        Texts(0, 1)


def test_a_worker_needs_neither_torch_nor_numpy_to_start():
    code = "import sys, kb.algorithms.concurrency; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "False"]
