"""How many threads a race may use, of torch's own and of NumPy's BLAS library alike."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def limited(count: int) -> Iterator[None]:
    """Within it, torch and the BLAS library use ``count`` threads; afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)
