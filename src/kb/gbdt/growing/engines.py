"""Which engine grows the trees: by the device that was asked for, and by what is installed."""

import numpy as np

from kb.gbdt.binning.bins import Bins
from kb.gbdt.growing.engine import NumpyEngine
from kb.gbdt.growing.parameters import TreeParameters
from kb.installed import is_installed


def require_device_type(device_type: str) -> None:
    """Refuse a device that is not known or not there.

    Raises:
        ValueError: it is neither "cpu" nor "cuda", or it is "cuda" and torch sees no CUDA device.
        ModuleNotFoundError: it is "cuda" and there is no torch.
    """
    if device_type not in ("cpu", "cuda"):
        raise ValueError(f"device_type must be 'cpu' or 'cuda', got {device_type!r}")
    if device_type == "cuda":
        import torch  # only here, as it takes seconds

        if not torch.cuda.is_available():
            raise ValueError("device_type 'cuda' needs a CUDA device, and torch sees none")


def engine_for(
    device_type: str, bins: Bins, parameters: TreeParameters, monotone_F: np.ndarray, threads: int
) -> NumpyEngine:
    """The fastest engine of a device; all of them grow the same trees.

    Args:
        device_type: As :func:`require_device_type` lets pass.
        bins: The training data.
        parameters: By which trees grow.
        monotone_F: 1, -1 or 0 for each feature.
        threads: How many work at a time on the CPU.
    """
    if device_type == "cuda":
        import torch

        from kb.gbdt.growing.engine_torch import TorchEngine

        return TorchEngine(bins, parameters, monotone_F, torch.device("cuda"))
    if not is_installed("numba"):
        return NumpyEngine(bins, parameters, monotone_F)
    from kb.gbdt.growing.engine_numba import NumbaEngine

    return NumbaEngine(bins, parameters, monotone_F, threads)
