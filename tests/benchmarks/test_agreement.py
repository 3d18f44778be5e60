"""Answers agree, part at a tie, or are wrong; and the requests are those that the records were made with."""

import hashlib
import json

import pytest

from benchmarks.agreement import TIE, Agreement, agree
from benchmarks.workloads import random_prompts, serving_prompts, shared_prefix_prompts

PROMPTS = [[1, 2], [3]]
LONG = [list(range(1000))]


def test_equal_answers_agree_and_no_reference_is_asked() -> None:
    def gap(ids: object) -> float:
        raise AssertionError("asked")

    found = agree(PROMPTS, [[5, 6], [7, 8]], [[5, 6], [7, 8]], gap)
    assert found == Agreement(2, 4, ())
    assert found.sentence == "the same 4 tokens in 2 requests, greedy"


def test_a_tie_is_counted_at_the_first_token_that_differs() -> None:
    asked: list[list[int]] = []

    def gap(ids: list[int]) -> float:
        asked.append(ids)
        return 4e-5

    theirs = [[*range(300), *range(900, 1600)]]
    found = agree([[1, 2]], LONG, theirs, gap)
    assert asked == [[1, 2, *range(300)]]
    assert found.ties == ((0, 300, 4e-5),)
    assert found.sentence.startswith("the same tokens in 0 of 1 requests, greedy; 1 part at a float tie")
    assert found.sentence.endswith("within 4e-05")


@pytest.mark.parametrize(
    ("theirs", "gap", "said"),
    [
        ([[5, 6], [7, 9]], TIE, "request 1: token 1 is 8 and 9, 0.001 apart: no tie"),
        ([[5, 6], [7, 9]], float("nan"), "no tie"),
        ([[5, 6], [7]], 0.0, "request 1: 2 tokens and 1"),
        ([[5, 6]], 0.0, "2 and 1 answers to 2 requests"),
        ([[5, 6], [7, 9]], 0.0, "1 of 4 steps are ties: too many to be chance"),
    ],
)
def test_anything_else_is_an_error(theirs: list[list[int]], gap: float, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        agree(PROMPTS, [[5, 6], [7, 8]], theirs, lambda ids: gap)


def test_the_requests_of_the_records_never_change() -> None:
    prompts = serving_prompts(49152)
    assert (len(prompts), sum(map(len, prompts))) == (32, 4684)
    assert all(32 <= len(prompt) <= 255 for prompt in prompts)
    assert digest(prompts) == "712bbc9bb18861a25aa68fbe72c83529ffc260470f7068c863a03db3eec68bb5"
    shared = shared_prefix_prompts(16, 512, 16, 63, 49152, seed=0)
    assert digest(shared) == "0e192a86e7bfcb345b6ac4f84d976f6c27d1d52ecda88332197a7951423aa8f7"


def digest(prompts: list[list[int]]) -> str:
    return hashlib.sha256(json.dumps(prompts).encode()).hexdigest()


def test_prompts_share_their_prefix_and_no_more() -> None:
    prompts = shared_prefix_prompts(8, 20, 3, 5, 1000, seed=1)
    assert len({tuple(prompt[:20]) for prompt in prompts}) == 1
    assert len({tuple(prompt[20:]) for prompt in prompts}) == 8
    assert {len(prompt) for prompt in prompts} <= {23, 24, 25}
    assert random_prompts(2, 4, 4, 10, seed=0) != random_prompts(2, 4, 4, 10, seed=1)
