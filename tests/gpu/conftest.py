"""The device of the GPU tests. ``KB_DEVICE=cpu pytest tests/gpu`` runs their bodies where there is no GPU."""

import os

import pytest
import torch

from kb import runtime


@pytest.fixture
def device() -> torch.device:
    """A CUDA device, or what KB_DEVICE names; the test is skipped where there is neither."""
    if not torch.cuda.is_available() and not os.environ.get("KB_DEVICE"):
        pytest.skip("no CUDA device")
    return runtime.device()
