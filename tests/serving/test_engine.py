"""The engine against plain generation: the same tokens, whatever shares a step and whatever happens on the way."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from kb.lm import DecoderLM
from kb.nn import pack_linears
from kb.serving.engine import Engine
from kb.serving.engine_config import EngineConfig
from kb.serving.plan import SchedulerConfig
from kb.serving.sampling_params import SamplingParams

MakeModel = Callable[..., DecoderLM]
Answers = Callable[[DecoderLM, list[int], SamplingParams], list[list[int]]]


def make(
    model: DecoderLM, *, blocks: int = 60, size: int = 4, limits: dict[str, Any] | None = None, **options: Any
) -> Engine:
    scheduler = SchedulerConfig(**{"max_num_batched_tokens": 32, "max_num_seqs": 8, **(limits or {})})
    return Engine(model, EngineConfig(blocks, size, scheduler=scheduler, **options))


def run(engine: Engine, jobs: list[tuple[list[int], SamplingParams]]) -> list[list[list[int]]]:
    for place, (prompt, params) in enumerate(jobs):
        engine.add_request(str(place), prompt, params)
    done = {}
    while engine.has_unfinished_requests():
        for output in engine.step():
            if output.finished:
                done[output.request_id] = [list(one.token_ids) for one in output.outputs]
    return [done[str(place)] for place in range(len(jobs))]


def some_jobs(count: int = 8, seed: int = 0) -> list[tuple[list[int], SamplingParams]]:
    noise = torch.Generator().manual_seed(seed)
    shared = torch.randint(1, 61, (13,), generator=noise).tolist()
    jobs = []
    for i in range(count):
        own = torch.randint(1, 61, (int(torch.randint(1, 20, (), generator=noise)),), generator=noise).tolist()
        prompt = shared + own if i % 2 else own
        params = SamplingParams(temperature=0, max_tokens=6 + i)
        if i % 3 == 1:
            params = SamplingParams(n=1 + i % 4, seed=i, temperature=0.9, top_p=0.9, max_tokens=5 + i, ignore_eos=True)
        if i % 3 == 2:
            params = SamplingParams(n=1 + i % 3, seed=i, top_k=7, repetition_penalty=1.3, max_tokens=9)
        jobs.append((prompt, params))
    return jobs


@pytest.fixture(scope="module")
def alone(model_maker: MakeModel, answers: Answers) -> Callable[[torch.dtype], list[list[list[int]]]]:
    """What plain generation gives each of the jobs, in a precision: once for all engines."""

    @cache
    def alone(dtype: torch.dtype) -> list[list[list[int]]]:
        plain = model_maker(dtype=dtype)
        return [answers(plain, prompt, params) for prompt, params in some_jobs()]

    return alone


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        ({}, {}),
        ({"size": 1, "blocks": 400}, {}),
        ({"size": 17}, {}),
        ({"enable_prefix_caching": False}, {}),
        ({}, {"max_num_batched_tokens": 8}),
        ({}, {"max_num_batched_tokens": 96, "enable_chunked_prefill": False}),
        ({"blocks": 24}, {"preemption": "recompute"}),
        ({"blocks": 24, "host_blocks": 30}, {"preemption": "swap"}),
        ({"blocks": 24, "host_blocks": 5, "enable_prefix_caching": False}, {"preemption": "swap", "watermark": 0.0}),
        ({"blocks": 24, "host_blocks": 30}, {"preemption": "auto", "watermark": 0.2}),
    ],
)
@pytest.mark.parametrize("layers", ["float64", "packed", "fused"])
def test_gives_the_tokens_of_plain_generation(
    model_maker: MakeModel,
    alone: Callable[[torch.dtype], list[list[list[int]]]],
    options: dict[str, Any],
    limits: dict[str, Any],
    layers: str,
) -> None:
    jobs, dtype = some_jobs(), torch.float64 if layers == "float64" else torch.float32
    served = model_maker(dtype=dtype)
    if layers == "packed":
        pack_linears(served)
    if layers == "fused":
        pytest.importorskip("kb.serving.fused_block").fuse_blocks(served)
    engine = make(served, limits=limits, **options)
    wanted = alone(dtype)
    assert run(engine, jobs) == wanted
    assert engine.core.tables.num_used == 0
    assert run(engine, jobs) == wanted  # and again, with whatever is cached by now
