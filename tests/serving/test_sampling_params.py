"""Parameters have vLLM's defaults and meaning, and whatever is wrong is refused before any work."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from kb import checkpoints, lm
from kb.serving.beam_search_params import BeamSearchParams
from kb.serving.sampling_params import RequestOutputKind, SamplingParams


@pytest.fixture(scope="module")
def tokenizer() -> checkpoints.Tokenizer:
    return checkpoints.load("smollm2-135m").tokenizer


def test_a_small_seed_of_numpy_counts_on() -> None:
    seed = SamplingParams(seed=np.uint8(255), n=2).seed  # type: ignore[arg-type]
    assert seed is not None
    assert (seed + 1, type(seed)) == (256, int)


def test_order_and_defaults_are_vllms() -> None:
    # inspect.signature of vLLM 0.32's class; None there for a list is an empty one once it is made.
    published = {
        "n": 1,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "temperature": 1.0,
        "watermarking": None,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "seed": None,
        "stop": (),
        "stop_token_ids": (),
        "ignore_eos": False,
        "max_tokens": 16,
        "min_tokens": 0,
        "logprobs": None,
        "prompt_logprobs": None,
        "prompt_logprob_token_ids": None,
        "prompt_logprob_start": None,
        "logprob_token_ids": None,
        "flat_logprobs": False,
        "detokenize": True,
        "skip_special_tokens": True,
        "spaces_between_special_tokens": True,
        "include_stop_str_in_output": False,
        "output_kind": RequestOutputKind.CUMULATIVE,
        "stream_interval": None,
        "skip_clone": False,
        "structured_outputs": None,
        "logit_bias": None,
        "allowed_token_ids": None,
        "extra_args": None,
        "bad_words": (),
        "skip_reading_prefix_cache": False,
        "thinking_token_budget": None,
        "repetition_detection": None,
        "routed_experts_prompt_start": 0,
        "trace_decode_token_ids": None,
    }
    params = SamplingParams()
    assert {one.name: getattr(params, one.name) for one in dataclasses.fields(params)} == published
    assert list(published) == [one.name for one in dataclasses.fields(params)]


def test_lists_become_tuples_without_what_comes_again() -> None:
    params = SamplingParams(stop="end", stop_token_ids=[3, 3, 1], bad_words=["a", "b", "a"], allowed_token_ids=[5, 5])
    assert (params.stop, params.stop_token_ids) == (("end",), (3, 1))
    assert (params.bad_words, params.allowed_token_ids) == (("a", "b"), (5,))
    assert SamplingParams(stop=None, stop_token_ids=None, bad_words=None) == SamplingParams()  # type: ignore[arg-type]


def test_equal_params_are_equal_and_have_one_hash() -> None:
    one, other = (SamplingParams(stop=["x"], logit_bias={1: 2.0}, seed=3) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != SamplingParams(stop=["x"], logit_bias={1: 3.0}, seed=3)


def test_a_bias_that_is_changed_afterwards_does_not_change_the_params() -> None:
    bias = {1: 2.0}
    params = SamplingParams(logit_bias=bias)
    bias[1] = 5.0
    assert params.logit_bias == {1: 2.0}


def test_greedy_forgets_filters() -> None:
    params = SamplingParams(temperature=0, top_k=5, top_p=0.5, min_p=0.1)
    assert params.greedy
    assert params == SamplingParams(temperature=0)


def test_a_temperature_close_to_zero_is_raised_as_in_vllm() -> None:
    with pytest.warns(UserWarning, match="raised to 0.01"):
        assert SamplingParams(temperature=1e-3).temperature == 0.01


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"seed": -1}, "seed", None),
        ({"logprobs": True}, "logprobs", 1),
        ({"prompt_logprobs": True}, "prompt_logprobs", 1),
        ({"prompt_logprobs": 0}, "skip_reading_prefix_cache", True),
        ({"prompt_logprobs": 0, "skip_reading_prefix_cache": False}, "skip_reading_prefix_cache", False),
        ({"structured_outputs": None, "flat_logprobs": False}, "structured_outputs", None),
    ],
)
def test_values_that_mean_another_one(options: dict[str, Any], name: str, value: object) -> None:
    found = getattr(SamplingParams(**options), name)
    assert (type(found), found) == (type(value), value)


def test_what_generate_is_given() -> None:
    params = SamplingParams(temperature=0.7, top_k=-1, top_p=0.9, min_p=0.1, repetition_penalty=1.2)
    assert params.to_lm() == lm.SamplingParams(0.7, 0, 0.9, 0.1, 1.2)
    assert SamplingParams(temperature=0).to_lm() == lm.GREEDY


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 0}, ValueError, "n must be"),
        ({"n": 1.0}, ValueError, "n must be"),
        ({"n": True}, ValueError, "n must be"),
        ({"n": 20_000}, ValueError, "n must be at most 16384"),
        ({"n": 2, "temperature": 0}, ValueError, "n must be 1 with temperature 0"),
        ({"presence_penalty": 2.1}, ValueError, "presence_penalty"),
        ({"frequency_penalty": -2.1}, ValueError, "frequency_penalty"),
        ({"frequency_penalty": math.nan}, ValueError, "frequency_penalty"),
        ({"repetition_penalty": 0}, ValueError, "repetition_penalty"),
        ({"repetition_penalty": math.inf}, ValueError, "repetition_penalty"),
        ({"temperature": -0.1}, ValueError, "temperature"),
        ({"temperature": 2.1}, ValueError, "temperature"),
        ({"temperature": math.nan}, ValueError, "temperature"),
        ({"temperature": None}, TypeError, "temperature must be a number"),
        ({"temperature": True}, TypeError, "temperature must be a number"),
        ({"temperature": "hot"}, TypeError, "temperature must be a number"),
        ({"top_p": 0}, ValueError, "top_p"),
        ({"top_p": 1.1}, ValueError, "top_p"),
        ({"top_k": -2}, ValueError, "top_k"),
        ({"top_k": 1.5}, ValueError, "top_k"),
        ({"min_p": -0.1}, ValueError, "min_p"),
        ({"min_p": math.nan}, ValueError, "min_p"),
        ({"seed": 1.0}, ValueError, "seed"),
        ({"seed": True}, ValueError, "seed"),
        ({"seed": 2**64}, ValueError, "seed"),
        ({"seed": 2**64 - 2, "n": 3}, ValueError, "seed"),
        ({"seed": -(2**63) - 1}, ValueError, "seed"),
        ({"stop": 5}, TypeError, "stop must be a list"),
        ({"stop": [5]}, TypeError, "stop must hold strs"),
        ({"stop": ["a", ""]}, ValueError, "stop must be without an empty string"),
        ({"stop": ["a"], "detokenize": False}, ValueError, "detokenize is False"),
        ({"stop_token_ids": 5}, TypeError, "stop_token_ids must be a list"),
        ({"stop_token_ids": ["5"]}, TypeError, "stop_token_ids must hold ints"),
        ({"stop_token_ids": [True]}, TypeError, "stop_token_ids must hold ints"),
        ({"ignore_eos": 1}, TypeError, "ignore_eos must be True or False"),
        ({"detokenize": None}, TypeError, "detokenize must be True or False"),
        ({"max_tokens": 0}, ValueError, "max_tokens"),
        ({"max_tokens": 2.0}, ValueError, "max_tokens"),
        ({"min_tokens": -1}, ValueError, "min_tokens"),
        ({"min_tokens": None}, ValueError, "min_tokens"),
        ({"min_tokens": 17}, ValueError, "min_tokens must be at most max_tokens=16"),
        ({"logprobs": -2}, ValueError, "logprobs"),
        ({"logprobs": 1.0}, ValueError, "logprobs"),
        ({"logprobs": False}, ValueError, "logprobs"),
        ({"prompt_logprobs": -2}, ValueError, "prompt_logprobs"),
        ({"output_kind": 1}, TypeError, "output_kind must be a RequestOutputKind"),
        ({"logit_bias": [1]}, TypeError, "logit_bias must map"),
        ({"logit_bias": {"1": 1.0}}, TypeError, "logit_bias must hold ints"),
        ({"logit_bias": {1: math.inf}}, ValueError, "logit_bias"),
        ({"allowed_token_ids": []}, ValueError, "allowed_token_ids"),
        ({"allowed_token_ids": 3}, TypeError, "allowed_token_ids"),
        ({"bad_words": "word"}, TypeError, "bad_words must be a list"),
        ({"bad_words": [""]}, ValueError, "bad_words"),
        ({"skip_reading_prefix_cache": 1}, TypeError, "skip_reading_prefix_cache"),
        ({"structured_outputs": {"json": "{}"}}, ValueError, "structured_outputs is a parameter of vLLM that kb"),
        ({"flat_logprobs": True}, ValueError, "flat_logprobs is a parameter of vLLM"),
        ({"routed_experts_prompt_start": False}, ValueError, "routed_experts_prompt_start is a parameter of vLLM"),
    ],
)
def test_refuses_bad_parameters(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SamplingParams(**options)


@pytest.mark.parametrize("seed", [-(2**63), 2**64 - 3])
def test_every_seed_that_is_taken_is_one_to_torch(seed: int) -> None:
    params = SamplingParams(seed=seed, n=3)
    assert params.seed is not None
    torch.Generator().manual_seed(params.seed + params.n - 1)


@pytest.mark.parametrize(
    ("options", "most", "message"),
    [
        ({"stop_token_ids": [10]}, 20, "stop_token_ids must be ids from 0 to 9, got 10"),
        ({"stop_token_ids": [-1]}, 20, "stop_token_ids"),
        ({"allowed_token_ids": [3, 11]}, 20, "allowed_token_ids must be ids from 0 to 9, got 11"),
        ({"logit_bias": {10: 1.0}}, 20, "logit_bias"),
        ({"logprobs": 6}, 5, "logprobs must be at most 5"),
        ({"logprobs": 11}, -1, "logprobs must be at most 10"),
        ({"prompt_logprobs": -1}, 5, "prompt_logprobs must be at most 5"),
    ],
)
def test_refuses_what_the_model_does_not_have(options: dict[str, Any], most: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamplingParams(**options).verify(10, max_logprobs=most)


def test_accepts_what_the_model_has() -> None:
    every = SamplingParams(stop_token_ids=[0, 9], allowed_token_ids=[9], logit_bias={0: 1.0}, logprobs=-1)
    every.verify(10, max_logprobs=-1)
    SamplingParams(logprobs=5, prompt_logprobs=0).verify(10, max_logprobs=5)


def test_the_limit_is_the_smaller_of_what_is_wanted_and_the_room() -> None:
    assert [SamplingParams(max_tokens=most).limit(8) for most in (5, 9, None)] == [5, 8, 8]
    with pytest.raises(ValueError, match="min_tokens must be at most 8"):
        SamplingParams(max_tokens=None, min_tokens=9).limit(8)


def test_bad_words_are_forbidden_after_a_space_too(tokenizer: checkpoints.Tokenizer) -> None:
    spelled = [[tokenizer.token(one) for one in word] for word in forms(tokenizer, [" cat", "Zebra", "banana"])]
    # As vLLM 0.32 has it for this tokenizer: " banana" is one token, "banana" two, so that only the latter counts.
    assert spelled == [["cat"], ["Ġcat"], ["Z", "ebra"], ["ĠZ", "ebra"], ["ban", "ana"]]


def test_a_tokenizer_that_drops_the_first_space_has_one_form_of_a_bad_word() -> None:
    class Letters:
        def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
            return [ord(letter) for letter in text.strip()]

    assert SamplingParams(bad_words=["ab"]).bad_words_token_ids(Letters()) == ((97, 98),)


def test_refuses_bad_words_without_tokens_and_too_many(tokenizer: checkpoints.Tokenizer) -> None:
    with pytest.raises(ValueError, match="bad_words must be words that have tokens"):
        forms(tokenizer, [" "])
    with pytest.raises(ValueError, match="bad_words must be at most 128"):
        forms(tokenizer, [f"w{number}" for number in range(129)])


def forms(tokenizer: checkpoints.Tokenizer, words: list[str]) -> tuple[tuple[int, ...], ...]:
    return SamplingParams(bad_words=words).bad_words_token_ids(tokenizer)


def test_beam_search_has_vllms_order_and_defaults() -> None:
    expected = {
        "beam_width": 4,
        "max_tokens": 8,
        "ignore_eos": False,
        "temperature": 0.0,
        "length_penalty": 1.0,
        "include_stop_str_in_output": False,
        "structured_outputs": None,
        "skip_special_tokens": True,
        "watermarking": None,
    }
    assert dataclasses.asdict(BeamSearchParams(4, 8)) == expected


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"beam_width": 0}, ValueError, "beam_width"),
        ({"beam_width": 2.0}, ValueError, "beam_width"),
        ({"beam_width": 20_000}, ValueError, "beam_width must be at most"),
        ({"max_tokens": 0}, ValueError, "max_tokens"),
        ({"temperature": 3}, ValueError, "temperature"),
        ({"length_penalty": math.nan}, ValueError, "length_penalty"),
        ({"length_penalty": "1"}, TypeError, "length_penalty"),
        ({"ignore_eos": None}, TypeError, "ignore_eos"),
        ({"structured_outputs": 1}, ValueError, "structured_outputs is a parameter of vLLM"),
    ],
)
def test_beam_search_refuses_bad_parameters(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        BeamSearchParams(**{"beam_width": 2, "max_tokens": 3, **options})
