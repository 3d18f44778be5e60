"""Drawn programs of tasks that sleep, spawn, join, fail and cancel go on our event loop as on asyncio."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.algorithms.concurrency.both_loops import on_both

# A drawn program: what a task does, one thing after the other. Numbers choose among the tasks that it has made.
SIMPLE = st.one_of(
    st.tuples(st.just("sleep"), st.integers(1, 3)),
    st.tuples(st.sampled_from(["pause", "fail"])),
    st.tuples(st.sampled_from(["join", "cancel"]), st.integers(0, 3)),
)
ACTIONS: Any = st.recursive(
    st.lists(SIMPLE, max_size=3),
    lambda inner: st.lists(
        st.one_of(
            SIMPLE,
            st.tuples(st.just("spawn"), inner, st.sampled_from(["", "hides", "cleans"])),
            st.tuples(st.just("gather"), inner, inner),
        ),
        max_size=5,
    ),
    max_leaves=8,
)


def drawn_program(actions):
    def program(api, log):
        numbers = iter(range(1, 29))  # asyncio takes times within a nanosecond for the same

        async def nap(seconds):  # no two timers are due at the same time: asyncio does not say which comes first then
            await api.sleep(seconds + 2.0 ** -next(numbers))

        async def task(name, todo, on_cancel):
            made = []
            log.append((name, "begins"))
            try:
                for place, (action, *what) in enumerate(todo):
                    if action == "sleep":
                        await nap(what[0])
                    elif action == "pause":
                        await api.sleep(0)
                    elif action == "fail":
                        raise ValueError(name)
                    elif action == "spawn":
                        made.append(api.create_task(task(f"{name}.{place}", *what)))
                    elif action == "gather":
                        parts = [task(f"{name}.{place}{side}", part, "") for side, part in zip("lr", what, strict=True)]
                        log.append((name, await api.gather(*parts)))
                    elif made:
                        chosen = made[what[0] % len(made)]
                        log.append((name, chosen.done(), chosen.cancel() if action == "cancel" else await chosen))
                    log.append((name, place, action))
            except asyncio.CancelledError:
                log.append((name, "cancelled"))
                if on_cancel == "cleans":
                    await nap(1)
                    log.append((name, "cleaned"))
                if on_cancel != "hides":
                    raise
            return name

        async def main():
            try:
                return await task("m", actions, "")
            finally:
                log.append("end")

        return main()

    return program


@settings(max_examples=60)
@given(ACTIONS)
def test_any_program_goes_as_it_does_on_asyncio(actions):
    on_both(drawn_program(actions))
