"""A million tokens of a small layer, 8 key-value heads of 128, within 4 GiB of memory; most of it lies on disk."""

import torch

from benchmarks.long_context import Scene
from benchmarks.long_context import measure as measure_scene
from benchmarks.measurement import Measurement

DEVICES = ("cpu",)
# 8.2 GB in float32, in pages of 8 MiB: 0.27 GB on the device, 0.54 GB in host memory, the rest on disk.
SCENE = Scene(1_000_000, 32, 8, 128, "float32", 1024, 32, 64)
LARGEST_BYTES = 4 * 2**30


def measure(device: torch.device) -> Measurement:
    """Run the scene, and assert its bound."""
    return measure_scene(SCENE, "Attention over 1,000,000 tokens, one layer of 8 KV heads, float32", LARGEST_BYTES)
