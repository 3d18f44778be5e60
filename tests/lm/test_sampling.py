"""Each filter equals transformers' logits processor; the draw follows the distribution."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from kb.lm import GREEDY, SamplingParams
from kb.lm.sampling import draw, keep_min_p, keep_top_k, keep_top_p, penalize_repetition, process


def random_logits(B: int, V: int, seed: int, spread: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(B, V, generator=generator), torch.randint(0, V, (B, 6), generator=generator)


def processors(params: SamplingParams) -> LogitsProcessorList:
    """Those that transformers' generate would make of the same numbers, in its order."""
    chain = LogitsProcessorList()
    if params.repetition_penalty != 1:
        chain.append(RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
    if params.temperature != 1:
        chain.append(TemperatureLogitsWarper(params.temperature))
    if params.top_k:
        chain.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1:
        chain.append(TopPLogitsWarper(params.top_p))
    if params.min_p > 0:
        chain.append(MinPLogitsWarper(params.min_p))
    return chain


@settings(max_examples=150)
@given(
    B=st.integers(1, 4),
    V=st.integers(1, 80),
    temperature=st.floats(0.05, 3.0),
    top_k=st.integers(0, 100),
    top_p=st.floats(0.01, 1.0),
    min_p=st.just(0.0) | st.floats(0.0, 1.0),
    penalty=st.just(1.0) | st.floats(0.2, 3.0),
    ties=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_filters_equal_transformers(
    B: int, V: int, temperature: float, top_k: int, top_p: float, min_p: float, penalty: float, ties: bool, seed: int
) -> None:
    logits, tokens = random_logits(B, V, seed)
    if ties:
        logits = logits.round()
    params = SamplingParams(temperature, top_k, top_p, min_p, penalty)
    assert torch.equal(process(logits, tokens, params), processors(params)(tokens, logits.clone()))


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=0.7),
        SamplingParams(top_k=5),
        SamplingParams(top_p=0.8),
        SamplingParams(min_p=0.05),
        SamplingParams(repetition_penalty=1.3),
    ],
    ids=["temperature", "top_k", "top_p", "min_p", "repetition_penalty"],
)
def test_each_filter_alone_equals_transformers_and_changes_something(params: SamplingParams) -> None:
    logits, tokens = random_logits(5, 1000, 0)
    ours = process(logits, tokens, params)
    assert torch.equal(ours, processors(params)(tokens, logits.clone()))
    assert not torch.equal(ours, logits)


def test_greedy_takes_the_largest_after_the_penalty() -> None:
    logits, tokens = torch.tensor([[2.0, 1.9, -1.0]]), torch.tensor([[0]])
    assert int(process(logits, tokens, GREEDY).argmax()) == 0
    penalised = process(logits, tokens, SamplingParams(temperature=0, repetition_penalty=1.2))
    assert int(penalised.argmax()) == 1


def test_the_input_is_left_alone() -> None:
    logits, tokens = random_logits(2, 30, 0)
    before = logits.clone()
    process(logits, tokens, SamplingParams(0.7, 5, 0.9, 0.1, 1.3))
    assert torch.equal(logits, before)


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -torch.inf])
    generator = torch.Generator().manual_seed(0)
    count = 20_000
    drawn = draw(logits.expand(count, -1), [generator] * count)
    observed, wanted = torch.bincount(drawn, minlength=5).double(), count * logits.softmax(-1).double()
    assert observed[4] == 0
    chi_squared = float(((observed - wanted)[:4] ** 2 / wanted[:4]).sum())
    assert chi_squared < 16.3  # the 99.9 % point with 3 degrees of freedom


def test_a_dropped_token_is_never_drawn_even_where_noise_underflows() -> None:
    logits = torch.full((1, 50_000), -torch.inf)
    logits[0, 123] = -5.0
    generator = torch.Generator().manual_seed(0)
    assert all(int(draw(logits, [generator])) == 123 for _ in range(50))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 2.5}, "top_k"),
        ({"top_k": float("nan")}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_p": float("nan")}, "top_p"),
        ({"min_p": -0.1}, "min_p"),
        ({"min_p": 1.5}, "min_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"repetition_penalty": float("inf")}, "repetition_penalty"),
    ],
)
def test_refuses_bad_parameters(options: dict[str, float], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        SamplingParams(**options)  # type: ignore[arg-type]


def test_refuses_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="wanted logits"):
        process(torch.ones(2, 5), torch.ones(3, 1, dtype=torch.long), GREEDY)
    with pytest.raises(ValueError, match="one per row"):
        draw(torch.ones(2, 5), [torch.Generator()])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: keep_top_k(x, 0), ValueError, "k must be"),
        (lambda x: keep_top_p(x, math.nan), ValueError, "p must be"),
        (lambda x: keep_min_p(x, 2.0), ValueError, "min_p must be"),
        (lambda x: penalize_repetition(x, torch.zeros(2, 1, dtype=torch.long), -1.0), ValueError, "penalty must be"),
        (lambda x: keep_top_k(x[0], 1), ValueError, r"wanted logits \[B, V\]"),
        (lambda x: keep_top_p(x.long(), 0.5), TypeError, "floating-point"),
        (lambda x: draw(x[0], [torch.Generator()] * 5), ValueError, "wanted logits"),
        (lambda x: draw(x, [None, None]), TypeError, "no hidden global state"),
    ],
)
def test_filters_refuse_bad_input_of_their_own(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(torch.ones(2, 5))


def test_a_seed_means_the_uniform_stream_and_nothing_of_the_build() -> None:
    logits = torch.randn(1, 500, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(7)
    drawn = [int(draw(logits, [generator])) for _ in range(20)]
    uniform = torch.Generator().manual_seed(7)
    noise = [-torch.log1p(-torch.rand(500, generator=uniform, dtype=torch.float64)) for _ in range(20)]
    assert drawn == [int((logits[0].double().softmax(-1) / one).argmax()) for one in noise]
