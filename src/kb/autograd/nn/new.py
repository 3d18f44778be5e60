"""New parameters for layers: arrays of NumPy, which :meth:`Module.to` brings elsewhere."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kb.autograd.tensor import Parameter


def new_parameter(shape: Sequence[int], dtype: Any) -> Parameter:
    """A parameter of zeros.

    Args:
        shape: Of the parameter.
        dtype: A floating one of NumPy; float32 if None.

    Raises:
        TypeError: the dtype is none.
    """
    return Parameter(np.zeros(tuple(shape), floating_dtype(dtype)))


def floating_dtype(dtype: Any) -> np.dtype:
    """A floating dtype of NumPy, float32 for None.

    Raises:
        TypeError: it is none.
    """
    try:
        found = np.dtype(np.float32 if dtype is None else dtype)
    except TypeError:
        found = None
    if found is None or found.kind != "f":
        raise TypeError(f"dtype must be a floating one of NumPy, got {dtype!r}; to() brings a module elsewhere")
    return found
