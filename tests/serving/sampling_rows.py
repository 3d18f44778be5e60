"""Rows in any state that a sampler may meet, drawn by hypothesis, and logits for them.

Shapes: R rows, V ids.
"""

from dataclasses import replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from kb.serving.logits_edits import SamplingRow
from kb.serving.sampler import Sampled
from kb.serving.sampling_params import SamplingParams

V = 23
TOKENS = st.integers(0, V - 1)
PENALTIES = st.just(0.0) | st.floats(-2, 2)


@st.composite
def params(draws: st.DrawFn) -> SamplingParams:
    """Any mixture of parameters that a sampler looks at."""
    return SamplingParams(
        temperature=draws(st.just(0.0) | st.floats(0.05, 2.0)),
        top_k=draws(st.integers(-1, 30)),
        top_p=draws(st.just(1.0) | st.floats(0.05, 1.0)),
        min_p=draws(st.just(0.0) | st.floats(0.0, 1.0)),
        repetition_penalty=draws(st.just(1.0) | st.floats(0.2, 3.0)),
        presence_penalty=draws(PENALTIES),
        frequency_penalty=draws(PENALTIES),
        logit_bias=draws(st.none() | st.dictionaries(TOKENS, st.floats(-9, 9))),
        allowed_token_ids=draws(st.none() | st.lists(TOKENS, min_size=8)),
        stop_token_ids=draws(st.lists(TOKENS, max_size=2)),
        min_tokens=draws(st.integers(0, 4)),
        logprobs=draws(st.none() | st.integers(-1, 5)),
    )


@st.composite
def sampling_rows(draws: st.DrawFn) -> SamplingRow:
    """A row in any state, without its generator: that is made from the number that its prompt begins with."""
    output = draws(st.lists(TOKENS, max_size=8))
    bad = [[*output[len(output) - begun :], draws(TOKENS)] for begun in draws(st.sets(st.integers(0, 3)))]
    prompt = draws(st.lists(TOKENS, min_size=1, max_size=5))
    return SamplingRow(
        draws(params()), prompt, output, None, eos_ids=draws(st.lists(TOKENS, max_size=2)), bad_words=bad
    )


def fresh(rows: list[SamplingRow]) -> list[SamplingRow]:
    """The rows with generators at their beginning; a row's seed does not depend on where in the batch it is."""
    seeds = [sum(row.prompt) * 1000 + len(row.output) for row in rows]
    return [replace(row, generator=torch.Generator().manual_seed(seed)) for row, seed in zip(rows, seeds, strict=True)]


def random_logits(R: int, seed: int, *, ties: bool = False) -> Tensor:
    """Logits of R rows; with ``ties`` whole numbers, of which many are equal."""
    logits_RV = 3 * torch.randn(R, V, generator=torch.Generator().manual_seed(seed))
    return logits_RV.round() if ties else logits_RV


def told(results: list[Sampled | Exception]) -> list[Any]:
    """Results that can be compared: errors by their text."""
    return [str(one) if isinstance(one, Exception) else one for one in results]
