"""What tests ask an engine: one request's parameters, a small engine, and a model that fails on one request."""

from collections.abc import Callable
from typing import Any

import torch

from kb.lm import DecoderLM
from kb.serving import Engine, EngineConfig, SamplingParams, SchedulerConfig

Answers = Callable[[DecoderLM, list[int], SamplingParams], list[list[int]]]
GREEDY = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)


def make_engine(model: DecoderLM, **limits: Any) -> Engine:
    """An engine of 60 blocks of 4 tokens; ``limits`` are those of its scheduler."""
    return Engine(model, EngineConfig(60, 4, scheduler=SchedulerConfig(**{"max_num_seqs": 8, **limits})))


class Poisoned(torch.nn.Module):
    """An output head that gives NaN where the hidden state is that of one request."""

    def __init__(self, head: torch.nn.Module, trigger: torch.Tensor) -> None:
        super().__init__()
        self.head, self.trigger = head, trigger

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(x)
        bad = ((x - self.trigger).abs().amax(dim=-1) < 1e-6)[..., None]
        return torch.where(bad, torch.nan, logits)
