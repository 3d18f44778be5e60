"""Which of the kernels that are written for one kind of processor are worth using on this one."""

from functools import lru_cache

import torch

from kb.installed import is_installed


@lru_cache
def panels_are_fast() -> bool:
    """Whether ``kb.nn.panel_linear`` can be imported here, and runs as fast as it is meant to."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and is_installed("numba")
