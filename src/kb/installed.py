"""Whether packages are there that kb can do without: numba for compiled loops, triton for kernels."""

import importlib.util


def is_installed(name: str) -> bool:
    """Whether a package can be imported; it is looked for, not imported."""
    return importlib.util.find_spec(name) is not None
