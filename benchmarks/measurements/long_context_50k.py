"""The notes' scene: 50,000 tokens, keys and values of width 16,384, one layer's attention through three tiers."""

import torch

from benchmarks.long_context import Scene
from benchmarks.long_context import measure as measure_scene
from benchmarks.measurement import Measurement

DEVICES = ("cpu",)
# 6.55 GB in float32: 0.27 GB on the device, 0.54 GB in host memory, the rest on disk.
SCENE = Scene(50_000, 128, 128, 128, "float32", 64, 32, 64)
LARGEST_BYTES = 2**30


def measure(device: torch.device) -> Measurement:
    """Run the scene, and assert that it needs no more memory than its tiers and what is computed on."""
    return measure_scene(SCENE, "Attention over 50,000 tokens of width 16,384, one layer, float32", LARGEST_BYTES)
