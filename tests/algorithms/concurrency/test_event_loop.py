"""The event loop by hand: what it does to the letter, and that asyncio does the same."""

import asyncio
from typing import Any

from kb.algorithms.concurrency import Loop
from tests.algorithms.concurrency.both_loops import on_both


def test_two_sleepers_take_turns_as_on_paper():
    loop, log = Loop(), []

    async def worker(name, naps):
        for nap in naps:
            await loop.sleep(nap)
            log.append((loop.time(), name))
        return name

    async def main():
        return await loop.gather(worker("A", [2, 2]), worker("B", [1, 2]))

    assert loop.run(main()) == ["A", "B"]
    assert log == [(1, "B"), (2, "A"), (3, "B"), (4, "A")]
    assert loop.time() == 4


def test_a_task_does_not_begin_before_the_one_that_made_it_waits():
    def program(api, log):
        async def child():
            log.append("child")

        async def main():
            task = api.create_task(child())
            log.append("main")
            await api.sleep(0)
            log.append("main again")
            await task

        return main()

    assert on_both(program) == ["main", "child", "main again", None]


def test_cancellation_is_an_exception_where_the_task_waits_and_cleaning_up_may_take_time():
    def program(api, log):
        async def worker():
            try:
                await api.sleep(10)
            except Exception:
                log.append("never: it is no Exception")
            finally:
                await api.sleep(1)
                log.append("cleaned")

        async def main():
            task = api.create_task(worker())
            await api.sleep(2)
            log.append(task.cancel())
            log.append(task.done())
            try:
                await task
            except asyncio.CancelledError:
                log.append("seen")
            log.append(task.cancel())

        return main()

    assert on_both(program) == [True, False, "cleaned", "seen", False, None]


def test_a_task_that_is_cancelled_before_it_began_runs_nothing():
    def program(api, log):
        async def worker():
            log.append("never")

        async def main():
            task = api.create_task(worker())
            task.cancel()
            await api.sleep(1)
            return task.done()

        return main()

    assert on_both(program) == [True]


def test_gather_raises_the_first_error_and_the_others_run_on():
    def program(api, log):
        async def worker(name, nap, fails=False):
            await api.sleep(nap)
            if fails:
                raise ValueError(name)
            log.append(name)

        async def main():
            try:
                await api.gather(worker("a", 3), worker("b", 1, fails=True), worker("c", 2))
            except ValueError as error:
                log.append(f"error {error}")
            await api.sleep(5)

        return main()

    assert on_both(program) == ["error b", "c", "a", None]


def test_gather_raises_an_error_of_the_round_in_which_all_end():
    def program(api, log):
        async def worker(fails):
            if fails:
                raise ValueError
            return "done"

        async def main():
            return await api.gather(worker(False), worker(True))

        return main()

    assert on_both(program) == ["ValueError"]


def test_a_task_that_cancels_itself_goes_on_to_its_next_wait():
    def program(api, log):
        made: list[Any] = []

        async def worker():
            made[0].cancel()
            log.append("still running")
            try:
                await api.sleep(50)
            except asyncio.CancelledError:
                log.append("cancelled")
            await api.sleep(1)
            return "once only"

        async def main():
            made.append(api.create_task(worker()))
            made.append(api.create_task(tick()))
            return await made[0]

        async def tick():
            await api.sleep(0.5)
            log.append("tick")

        return main()

    assert on_both(program) == ["still running", "cancelled", "tick", "once only"]


def test_timers_of_the_same_time_go_off_in_the_order_in_which_they_were_set():
    loop, log = Loop(), []

    async def worker(name):
        await loop.sleep(1)
        log.append(name)

    async def main():
        await loop.gather(*(worker(name) for name in "abcde"))

    loop.run(main())
    assert "".join(log) == "abcde"


def test_cancelling_a_gather_cancels_its_tasks_even_where_they_hide_it():
    def program(api, log):
        async def worker(name):
            try:
                await api.sleep(5)
            except asyncio.CancelledError:
                log.append(name)

        async def main():
            both = api.gather(worker("a"), worker("b"))
            await api.sleep(1)
            both.cancel()
            await both

        return main()

    assert on_both(program) == ["a", "b", "CancelledError"]


def test_an_empty_gather_is_done():
    def program(api, log):
        async def main():
            return await api.gather()

        return main()

    assert on_both(program) == [[]]


def test_tasks_that_are_left_are_cancelled_at_the_end():
    def program(api, log):
        async def worker():
            try:
                await api.sleep(100)
            finally:
                log.append("closed")

        async def main():
            api.create_task(worker())
            await api.sleep(1)
            return "over"

        return main()

    assert on_both(program) == ["closed", "over"]


def test_timers_of_the_same_time_go_off_in_the_same_round():
    loop, log = Loop(), []

    async def worker(name):
        await loop.sleep(1)
        log.append(name)
        await loop.sleep(0)
        log.append(name + " again")

    async def main():
        await loop.gather(worker("a"), worker("b"))

    loop.run(main())
    assert log == ["a", "b", "a again", "b again"]


def test_a_pause_is_one_round_and_no_timer():
    def program(api, log):
        async def nothing():
            return None

        async def chain():
            await api.create_task(nothing())  # it is done in one round, which is seen in the next
            log.append("chain")

        async def pauses():
            await api.sleep(0)
            log.append("pause")

        async def main():
            await api.gather(chain(), pauses())

        return main()

    assert on_both(program) == ["pause", "chain", None]


def test_a_task_that_never_rests_does_not_keep_the_program_from_its_end():
    def program(api, log):
        async def spins():
            for _ in range(1000):
                await api.sleep(0)
            log.append("to its end")

        async def main():
            api.create_task(spins())
            await api.sleep(0)
            return "over"

        return main()

    assert on_both(program) == ["over"]
