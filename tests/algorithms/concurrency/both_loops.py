"""A program on both event loops: ours, and asyncio with a clock that jumps."""

import asyncio
import logging
from typing import Any

from kb.algorithms.concurrency import Loop, run_virtually


def on_both(program):
    """What happens on our loop, which must be what happens on asyncio: ``program(api, log)`` makes a coroutine."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # of errors that no task of the program looks at
    logs = []
    for run, api in ((Loop.run, loop := Loop()), (lambda _, main: run_virtually(main, patience=2), asyncio)):
        log: list[Any] = []
        try:
            log.append(run(loop, program(api, log)))
        except (ValueError, asyncio.CancelledError) as error:
            log.append(type(error).__name__)
        logs.append(log)
    ours, theirs = (log[: log.index("end") + 1] if "end" in log else log for log in logs)
    assert ours == theirs
    assert sorted(map(str, logs[0])) == sorted(map(str, logs[1]))  # what is left at the end goes in any order
    return logs[0]
