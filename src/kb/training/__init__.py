"""The one training loop of the book, and what it is fed: windows of text, a schedule, a start for the weights."""

from kb.training.gradient_noise import NoiseScale, measure_noise, noise_scale, noise_scale_loop
from kb.training.initialization import initialize
from kb.training.loop import Loss, Step, TrainConfig, evaluate, in_mode, next_token_loss, train
from kb.training.memory import Precision, TrainingBytes, training_bytes
from kb.training.schedules import constant, cosine, linear, warmup_stable_decay
from kb.training.text import all_windows, encode_bytes, hold_out, random_windows
from kb.training.width_transfer import (
    TensorScale,
    coordinate_check,
    initialize_scaled,
    mup_scales,
    standard_scales,
)

__all__ = [
    "Loss",
    "NoiseScale",
    "Precision",
    "Step",
    "TensorScale",
    "TrainConfig",
    "TrainingBytes",
    "all_windows",
    "constant",
    "coordinate_check",
    "cosine",
    "encode_bytes",
    "evaluate",
    "hold_out",
    "in_mode",
    "initialize",
    "initialize_scaled",
    "linear",
    "measure_noise",
    "mup_scales",
    "next_token_loss",
    "noise_scale",
    "noise_scale_loop",
    "random_windows",
    "standard_scales",
    "train",
    "training_bytes",
    "warmup_stable_decay",
]
