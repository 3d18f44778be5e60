"""asyncio by a clock that jumps, and asyncio beside a running loop."""

import asyncio
import socket
import time

import pytest

from kb.algorithms.concurrency import run_in_thread, run_virtually


async def naps(*seconds):
    for one in seconds:
        await asyncio.sleep(one)
    return round(asyncio.get_running_loop().time(), 6)


def test_an_hour_of_sleep_takes_no_time_and_ends_at_an_hour():
    start = time.perf_counter()
    assert run_virtually(naps(1800, 1800)) == 3600
    assert time.perf_counter() - start < 60


def test_timers_go_off_in_order_at_their_times():
    async def main():
        log, loop = [], asyncio.get_running_loop()

        async def worker(seconds):
            await asyncio.sleep(seconds)
            log.append((round(loop.time(), 6), seconds))

        async with asyncio.TaskGroup() as group:
            for seconds in (3, 1, 2.5):
                group.create_task(worker(seconds))
        return log

    assert run_virtually(main()) == [(1, 1), (2.5, 2.5), (3, 3)]


def test_timeouts_use_the_virtual_clock():
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(100)
        return round(asyncio.get_running_loop().time(), 6)

    assert run_virtually(main()) == 5


def test_what_is_ready_comes_before_a_jump():
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours, theirs:
            later = asyncio.create_task(asyncio.sleep(100))
            received = asyncio.create_task(loop.sock_recv(ours, 1))
            await asyncio.sleep(0)
            theirs.send(b"x")
            assert await received == b"x"
            later.cancel()
        return loop.time()

    assert run_virtually(main()) == 0


@pytest.mark.parametrize("run", [run_in_thread, run_virtually])
def test_it_runs_beside_a_running_loop_and_hands_on_results_and_errors(run):
    async def fails():
        raise KeyError("inside")

    async def main():
        assert run(naps(0)) == pytest.approx(run(naps(0)), abs=60)
        with pytest.raises(KeyError, match="inside"):
            run(fails())

    asyncio.run(main())


def test_real_time_passes_and_is_bounded():
    start = time.perf_counter()
    run_in_thread(naps(0.05))
    assert time.perf_counter() - start >= 0.05
    with pytest.raises(TimeoutError):
        run_in_thread(naps(60), timeout=0.05)


def test_a_deadlock_is_an_error_after_some_patience():
    async def dead():
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError, match=r"every task waits .* within 0.1 s"):
        run_virtually(dead(), patience=0.1)


@pytest.mark.parametrize("seconds", [0, -1, "1", None])
def test_seconds_that_are_none(seconds):
    with pytest.raises(ValueError, match="timeout must be a positive number of seconds"):
        run_in_thread(naps(1), timeout=seconds)
    with pytest.raises(ValueError, match="patience must be a positive number of seconds"):
        run_virtually(naps(1), patience=seconds)
