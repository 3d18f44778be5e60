"""Concurrency by hand: an event loop over generators, all orders of a few steps, bounded maps, a limit on rates."""

from kb.algorithms.concurrency.event_loop import Future, Gathering, Loop, Task
from kb.algorithms.concurrency.interleaving import Lock, Order, explore
from kb.algorithms.concurrency.ordered_map import ordered_map
from kb.algorithms.concurrency.token_bucket import TokenBucket, waits_loop
from kb.algorithms.concurrency.virtual_time import VirtualSelector, run_in_thread, run_virtually
from kb.algorithms.concurrency.workloads import (
    SlowServer,
    Texts,
    ask,
    ask_async,
    cores_free,
    cores_used,
    count_down,
    double_shared,
    doubled,
)

__all__ = [
    "Future",
    "Gathering",
    "Lock",
    "Loop",
    "Order",
    "SlowServer",
    "Task",
    "Texts",
    "TokenBucket",
    "VirtualSelector",
    "ask",
    "ask_async",
    "cores_free",
    "cores_used",
    "count_down",
    "double_shared",
    "doubled",
    "explore",
    "ordered_map",
    "run_in_thread",
    "run_virtually",
    "waits_loop",
]
