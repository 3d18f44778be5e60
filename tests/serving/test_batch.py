"""Steps of many sequences through a model: each gets the logits that it would get alone, whatever the others do."""

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kb.lm import DecoderLM, ModelConfig
from kb.serving.batch import PagedBatch
from kb.serving.kv_cache import PagedKVCache

CONFIG = ModelConfig(
    vocab_size=53,
    hidden_size=24,
    intermediate_size=32,
    num_layers=3,
    num_heads=6,
    num_kv_heads=2,
    head_dim=8,
    max_positions=128,
    qk_norm=True,
)
WINDOWED = dataclasses.replace(CONFIG, windows=(None, 5, 3), uses_rope=(True, False, True))


def make_model(config: ModelConfig, dtype: torch.dtype = torch.float32) -> DecoderLM:
    torch.manual_seed(0)
    model = DecoderLM(config).requires_grad_(False).eval()
    for name, parameter in model.named_parameters():
        parameter.normal_(1.0 if "norm" in name else 0.0, 0.2)
    return model.to(dtype)


MODELS = {config: make_model(config) for config in (CONFIG, WINDOWED)}


def empty_pool(config: ModelConfig, num_blocks: int, block_size: int, **options: Any) -> PagedKVCache:
    cache = PagedKVCache(config, num_blocks=num_blocks, block_size=block_size, **options)
    cache.keys_LPSGH.fill_(torch.nan)
    cache.values_LPSGH.fill_(torch.nan)
    return cache


def token_rows(lengths: list[int], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, CONFIG.vocab_size, (length,), generator=generator) for length in lengths]


@st.composite
def schedules(draw: st.DrawFn) -> tuple[list[int], list[list[tuple[int, int]]]]:
    """Lengths of sequences, and steps: (sequence, tokens to compute) of those that take part, in any order."""
    lengths = draw(st.lists(st.integers(1, 20), min_size=1, max_size=4))
    done, steps = [0] * len(lengths), []
    while any(d < length for d, length in zip(done, lengths, strict=True)):
        waiting = draw(st.permutations([s for s, length in enumerate(lengths) if done[s] < length]))
        step = []
        for s in waiting[: draw(st.integers(1, len(waiting)))]:
            count = draw(st.sampled_from([1, 2, 3, 7, 20]))
            step.append((s, min(count, lengths[s] - done[s])))
            done[s] += step[-1][1]
        steps.append(step)
    return lengths, steps


@settings(max_examples=15)
@given(
    schedule=schedules(),
    block_size=st.integers(1, 17),
    config=st.sampled_from([CONFIG, WINDOWED]),
    seed=st.integers(0, 2**31),
)
def test_any_schedule_gives_the_logits_of_each_sequence_alone(
    schedule: tuple[list[int], list[list[tuple[int, int]]]], block_size: int, config: ModelConfig, seed: int
) -> None:
    lengths, steps = schedule
    model, rows = MODELS[config], token_rows(lengths, seed)
    sizes = [-(-length // block_size) for length in lengths]
    order = torch.randperm(sum(sizes) + 2, generator=torch.Generator().manual_seed(seed)).tolist()
    tables = [[order.pop() for _ in range(size)] for size in sizes]
    cache, done = empty_pool(config, sum(sizes) + 2, block_size), [0] * len(lengths)
    logits: list[list[Tensor]] = [[] for _ in lengths]
    with torch.inference_mode():
        for step in steps:
            spans = [(s, done[s], done[s] + count) for s, count in step]
            batch = PagedBatch(cache, [(tables[s], start, end) for s, start, end in spans])
            tokens = torch.cat([rows[s][start:end] for s, start, end in spans])[None]
            out = model(tokens, cache=batch)[0]
            assert batch.last_rows[-1] == len(out) - 1
            for (s, _, end), part in zip(spans, out.split([count for _, count in step]), strict=True):
                logits[s].append(part)
                done[s] = end
        for s, row in enumerate(rows):
            alone = model(row[None])[0]
            assert float((torch.cat(logits[s]) - alone).abs().max()) <= 1e-5 * float(alone.abs().max())


def test_a_prefix_that_another_request_fills_in_the_same_step_is_seen() -> None:
    model, (shared, a, b) = MODELS[CONFIG], token_rows([8, 3, 5])
    cache = empty_pool(CONFIG, 6, 4)
    chunks = [([4, 0, 2], 0, 11), ([4, 0, 1, 3], 8, 13)]
    with torch.inference_mode():
        out = model(torch.cat([shared, a, b])[None], cache=PagedBatch(cache, chunks))[0]
        alone = torch.cat([model(torch.cat([shared, a])[None])[0], model(torch.cat([shared, b])[None])[0, 8:]])
    assert float((out - alone).abs().max()) <= 1e-5 * float(alone.abs().max())


def test_a_fork_that_copies_its_block_leaves_the_other_alone() -> None:
    model, (prompt, a, b) = MODELS[CONFIG], token_rows([6, 1, 1])
    cache = empty_pool(CONFIG, 4, 4)
    with torch.inference_mode():
        model(prompt[None], cache=PagedBatch(cache, [([3, 1], 0, 6)]))
        cache.copy([(1, 0)])
        out = model(torch.cat([a, b])[None], cache=PagedBatch(cache, [([3, 1], 6, 7), ([3, 0], 6, 7)]))[0]
        alone = torch.cat([model(torch.cat([prompt, last])[None])[0, -1:] for last in (a, b)])
    assert float((out - alone).abs().max()) <= 1e-5 * float(alone.abs().max())


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float64, 1e-6), (torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_other_precisions(dtype: torch.dtype, relative: float) -> None:
    model, (row,) = make_model(CONFIG, dtype), token_rows([13])
    cache, logits = empty_pool(CONFIG, 4, 4, dtype=dtype), []
    for start, end in ((0, 6), (6, 7), (7, 12), (12, 13)):
        logits.append(model(row[None, start:end], cache=PagedBatch(cache, [([2, 0, 3, 1], start, end)]))[0])
    alone = model(row[None])[0]  # float64 is held back by the tables of rotary angles, which are float32
    assert float((torch.cat(logits) - alone).abs().max()) <= relative * float(alone.abs().max())


def test_positions_are_those_of_each_sequence() -> None:
    batch = PagedBatch(empty_pool(CONFIG, 8, 4), [([7, 2], 5, 6), ([0], 0, 3)])
    assert batch.positions(1, 4, torch.device("cpu")).tolist() == [[5, 0, 1, 2]]
    assert batch.last_rows == [0, 3]


@pytest.mark.parametrize("shape", [(1, 3), (1, 5), (2, 2), (4, 1)])
def test_tokens_that_the_chunks_do_not_name_are_refused(shape: tuple[int, int]) -> None:
    cache = empty_pool(CONFIG, 8, 4)
    batch = PagedBatch(cache, [([7, 2], 5, 6), ([0], 0, 3)])
    with pytest.raises(ValueError, match=r"this step computes tokens \[1, 4\], got"):
        MODELS[CONFIG](torch.ones(shape, dtype=torch.long), cache=batch)
    assert cache.keys_LPSGH.isnan().all()


def test_a_step_is_taken_once() -> None:
    batch = PagedBatch(empty_pool(CONFIG, 2, 4), [([1], 0, 3)])
    MODELS[CONFIG](torch.ones(1, 3, dtype=torch.long), cache=batch)
    with pytest.raises(ValueError, match="has been taken"):
        MODELS[CONFIG](torch.ones(1, 3, dtype=torch.long), cache=batch)


def test_a_step_that_failed_can_be_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (row,) = make_model(CONFIG), token_rows([3])
    batch = PagedBatch(empty_pool(CONFIG, 2, 4), [([1], 0, 3)])
    hook = model.lm_head.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(row[None], cache=batch)
    hook.remove()
    torch.testing.assert_close(model(row[None], cache=batch), model(row[None]), rtol=1e-4, atol=1e-5)


def test_tokens_on_another_device_are_refused() -> None:
    batch = PagedBatch(empty_pool(CONFIG, 2, 4), [([1], 0, 3)])
    with pytest.raises(ValueError, match="pool lies on cpu, got tokens on meta"):
        batch.positions(1, 3, torch.device("meta"))


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([], "at least one chunk"),
        ([([0], 0, 5)], "needs 2 blocks"),
        ([([0], 0, 3), ([0], 3, 4), ([0], 2, 3)], "same slot 2"),
        ([([2], 0, 3)], "block ids must be in 0 to 1"),
    ],
)
def test_chunks_that_do_not_fit_are_refused(chunks: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PagedBatch(empty_pool(CONFIG, 2, 4), chunks)


def test_a_pool_made_for_another_model_is_refused() -> None:
    batch = PagedBatch(empty_pool(dataclasses.replace(CONFIG, num_layers=2), 2, 4), [([1], 0, 3)])
    with pytest.raises(ValueError, match="made for 2 layers"):
        MODELS[CONFIG](torch.ones(1, 3, dtype=torch.long), cache=batch)
