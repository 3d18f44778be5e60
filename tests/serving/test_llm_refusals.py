"""vLLM's interface: what is refused, by name and before anything runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kb.lm import DecoderLM
from kb.serving import LLM, BeamSearchParams, SamplingParams
from tests.serving.asking import GREEDY


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([[1, 2], []], r"prompts\[1\] is empty"),
        ([[1, 61]], r"prompts\[0\]: token ids must be in 0 to 60, got 61"),
        ([[1, -1]], "must be in 0 to 60, got -1"),
        ([[1] * 96], "has 96 tokens, and at most 95 leave room"),
        (["a text"], "there is no tokenizer"),
        ([{"prompt_token_ids": [1], "image": 3}], "has 'image'"),
        ([{}], "must have prompt or prompt_token_ids"),
        ([{"prompt_token_ids": [1], "cache_salt": ""}], "cache_salt must not be empty"),
    ],
)
def test_a_bad_prompt_is_named_before_anything_runs(small: LLM, prompts: Any, message: str) -> None:
    steps = small.llm_engine.core.statistics
    with pytest.raises(ValueError, match=message):
        small.generate([[1, 2], *prompts] if prompts[0] != [1, 2] and "0" not in message[:11] else prompts, GREEDY)
    assert small.llm_engine.core.statistics is steps
    assert not small.llm_engine.has_unfinished_requests()


@pytest.mark.parametrize("prompts", [7, [1.5], [[1, "a"]], [[True]], [b"bytes"], [None]])
def test_a_prompt_of_another_kind_is_a_type_error(small: LLM, prompts: Any) -> None:
    with pytest.raises(TypeError, match="prompt"):
        small.generate(prompts, GREEDY)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (SamplingParams(stop_token_ids=[99]), r"prompts\[0\]: stop_token_ids must be ids from 0 to 60"),
        (SamplingParams(logprobs=21), "at most 20"),
        (SamplingParams(n=9, seed=0), "n must be at most max_num_seqs = 8, got 9"),
        (SamplingParams(stop="x"), "stop needs a tokenizer"),
        (SamplingParams(min_tokens=95, max_tokens=None), "min_tokens"),
        ([GREEDY, GREEDY], "wanted sampling_params for 1 prompts, got 2"),
    ],
)
def test_params_that_cannot_be_are_refused(small: LLM, params: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small.generate([[1, 2]], params)
    assert not small.llm_engine.has_unfinished_requests()


def test_params_of_another_kind_are_refused(small: LLM) -> None:
    with pytest.raises(TypeError, match="must be SamplingParams, got dict"):
        small.generate([[1, 2]], {"temperature": 0})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be BeamSearchParams"):
        small.beam_search([[1, 2]], GREEDY)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (BeamSearchParams(9, 4), "beam_width must be at most max_num_seqs = 8"),
        (BeamSearchParams(2, 95), "exceed max_model_len = 96"),
        (BeamSearchParams(8, 40), "may need 88 blocks, of 60"),
    ],
)
def test_beams_that_do_not_fit_are_refused(small: LLM, params: BeamSearchParams, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small.beam_search([[1, 2]], params)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"quantization": "awq"}, TypeError, "quantization is not an option"),
        ({"tensor_parallel_size": 2}, ValueError, "tensor_parallel_size must be 1"),
        ({"block_size": 0}, ValueError, "block_size must be an integer of at least 1, got 0"),
        ({"max_model_len": 97}, ValueError, "context of 96, got 97"),
        ({"num_gpu_blocks_override": 5, "max_model_len": 96}, ValueError, "needs 6 blocks"),
        ({"num_gpu_blocks_override": 10**12}, ValueError, "num_blocks"),
        ({"kv_cache_memory_bytes": 100}, ValueError, "one block of 16 tokens takes"),
        ({"swap_space": -1}, ValueError, "swap_space must be a number of GiB"),
        ({"preemption": "swap"}, ValueError, "swap_space"),
        ({"kv_offloading_disk_size": 1}, ValueError, "need each other"),
        ({"max_num_batched_tokens": 4}, ValueError, "under max_num_seqs"),
        ({"dtype": "int3"}, ValueError, "dtype must be one of"),
        ({"tokenizer": 3}, TypeError, "tokenizer must be a folder"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(
    tiny: DecoderLM, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        LLM("smollm2-135m" if "dtype" in options else tiny, **options)


def test_models_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a checkpoint"):
        LLM("no-such-model")
    with pytest.raises(TypeError, match="model must be"):
        LLM(7)  # type: ignore[arg-type]


def test_a_rope_whose_angles_depend_on_the_length_is_refused(model_maker: Callable[..., DecoderLM]) -> None:
    from kb.nn import RopeParameters

    model = model_maker(rope=RopeParameters(type="dynamic", factor=2.0, max_positions=32))
    with pytest.raises(ValueError, match="rope_type 'dynamic'"):
        LLM(model, num_gpu_blocks_override=60)
