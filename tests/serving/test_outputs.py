"""A sequence ends for vLLM's reasons, in vLLM's order, and outputs have vLLM's fields."""

import dataclasses
from typing import Any

import pytest

from kb.serving.outputs import BeamSearchSequence, CompletionOutput, Finish, Logprob, RequestOutput, check_stop
from kb.serving.sampling_params import SamplingParams


@pytest.mark.parametrize(
    ("token", "count", "options", "expected"),
    [
        (9, 1, {}, Finish("stop", None)),
        (9, 5, {}, Finish("stop", None)),  # the end goes before the length
        (8, 1, {}, Finish("stop", 8)),  # another one of the model's: a stop token
        (4, 1, {"stop_token_ids": [4, 5]}, Finish("stop", 4)),
        (4, 5, {"stop_token_ids": [4, 5]}, Finish("stop", 4)),
        (9, 1, {"ignore_eos": True}, None),
        (8, 1, {"ignore_eos": True}, None),
        (9, 1, {"ignore_eos": True, "stop_token_ids": [9]}, Finish("stop", 9)),
        (9, 1, {"stop_token_ids": [9]}, Finish("stop", None)),
        (3, 4, {}, None),
        (3, 5, {}, Finish("length", None)),
        (9, 5, {"ignore_eos": True}, Finish("length", None)),
    ],
)
def test_why_a_sequence_ends(token: int, count: int, options: dict[str, Any], expected: Finish | None) -> None:
    params = SamplingParams(**options)
    assert check_stop(token, count, params, eos_ids=(9, 8), limit=5) == expected


def test_a_model_without_an_end_of_sequence_token_ends_by_length_alone() -> None:
    params = SamplingParams()
    assert check_stop(9, 1, params, eos_ids=(), limit=2) is None
    assert check_stop(9, 2, params, eos_ids=(), limit=2) == Finish("length", None)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (CompletionOutput, ["index", "text", "token_ids", "cumulative_logprob", "logprobs"]),
        (
            RequestOutput,
            ["request_id", "prompt", "prompt_token_ids", "prompt_logprobs", "outputs", "finished", "metrics"],
        ),
        (Logprob, ["logprob", "rank", "decoded_token"]),
    ],
)
def test_fields_stand_in_vllms_order(ours: Any, theirs: list[str]) -> None:
    # The positional parameters of vLLM 0.32's classes, up to the first one that is not here.
    assert [one.name for one in dataclasses.fields(ours)][: len(theirs)] == theirs


def test_a_completion_is_finished_once_it_has_a_reason() -> None:
    running = CompletionOutput(0, "text", [1], None, None)
    assert not running.finished()
    assert dataclasses.replace(running, finish_reason="abort").finished()


def test_beams_do_not_share_their_lists() -> None:
    one, other = BeamSearchSequence([1]), BeamSearchSequence([1])
    one.logprobs.append({1: Logprob(-0.5)})
    assert other.logprobs == []
