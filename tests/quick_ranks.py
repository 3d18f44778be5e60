"""Groups of processes that are there at once: forked from one that has imported torch, instead of importing it each.

That takes three seconds of a process, and the tests of lost ranks need a new group for every case. All else is as for a
user of :class:`kb.distributed.Ranks`; how the processes of users start is seen in ``tests/distributed/test_ranks.py``
and in the demonstration of ``kb.moe.parallel``.
"""

import multiprocessing
from types import SimpleNamespace
from typing import Any

import pytest

from kb.distributed import Ranks

IMPORTED = ["kb.distributed.measurements", "kb.moe.parallel.demo", "kb.moe.parallel.timings"]


def quick_ranks(count: int, **options: Any) -> Ranks:
    """``Ranks(count, **options)``."""
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(IMPORTED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kb.distributed.ranks.multiprocessing", SimpleNamespace(get_context=lambda _: forking))
        return Ranks(count, **options)
