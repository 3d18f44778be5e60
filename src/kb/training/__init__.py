"""The one training loop of the book, and what it is fed: windows of text, a schedule, a start for the weights."""

from kb.training.initialization import initialize
from kb.training.loop import Loss, Step, TrainConfig, evaluate, in_mode, next_token_loss, train
from kb.training.schedules import constant, cosine, linear, warmup_stable_decay
from kb.training.text import all_windows, encode_bytes, hold_out, random_windows

__all__ = [
    "Loss",
    "Step",
    "TrainConfig",
    "all_windows",
    "constant",
    "cosine",
    "encode_bytes",
    "evaluate",
    "hold_out",
    "in_mode",
    "initialize",
    "linear",
    "next_token_loss",
    "random_windows",
    "train",
    "warmup_stable_decay",
]
