"""Many trainings beside each other, each in a process of one thread: it gives the same numbers whatever else runs."""

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import torch

WORKERS = 2

Job = TypeVar("Job")
Result = TypeVar("Result")


def each(function: Callable[[Job], Result], jobs: Iterable[Job], workers: int = WORKERS) -> list[Result]:
    """What a function of a module returns for each job, in their order; so many at a time."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_begin) as pool:
        return list(pool.map(function, jobs))


def _begin() -> None:
    os.environ["KB_PROGRESS"] = "0"
    torch.set_num_threads(1)
