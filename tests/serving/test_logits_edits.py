"""Edits of logits (penalties, bias, masks, bad words) equal the loop, and numbers on paper."""

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kb.serving.logits_edits import SamplingRow, edit, edit_loop, forbidden
from kb.serving.sampler import Sampled, sample
from kb.serving.sampling_params import SamplingParams
from tests.serving.sampling_rows import fresh, random_logits, sampling_rows


@settings(max_examples=150)
@given(row=sampling_rows(), seed=st.integers(0, 999))
def test_edits_equal_the_loop(row: SamplingRow, seed: int) -> None:
    logits_V = random_logits(1, seed)[0]
    before = logits_V.clone()
    assert torch.equal(edit(logits_V, row), edit_loop(logits_V, row))
    assert torch.equal(logits_V, before)


@pytest.mark.parametrize(
    ("asked", "output", "expected"),
    [
        # The definition of OpenAI's API, which vLLM follows: logit - count * frequency - (count > 0) * presence.
        ({"frequency_penalty": 0.5}, [1, 1, 2], [2.0, 0.0, -0.5, -1.0]),
        ({"presence_penalty": 0.5}, [1, 1, 2], [2.0, 0.5, -0.5, -1.0]),
        ({"frequency_penalty": 0.5, "presence_penalty": -1.0}, [1, 1, 2], [2.0, 1.0, 0.5, -1.0]),
        # Repetition looks at the prompt, here [0, 3], too: positive logits are divided, negative ones multiplied.
        ({"repetition_penalty": 2.0}, [1], [1.0, 0.5, 0.0, -2.0]),
        # The bias comes before the penalty: (2 + 2) / 2.
        ({"repetition_penalty": 2.0, "logit_bias": {0: 2.0}}, [], [2.0, 1.0, 0.0, -2.0]),
        ({"allowed_token_ids": [2, 3]}, [], [-torch.inf, -torch.inf, 0.0, -1.0]),
        ({"allowed_token_ids": [2, 3], "logit_bias": {0: 9.0}}, [], [-torch.inf, -torch.inf, 0.0, -1.0]),
        ({"min_tokens": 2, "stop_token_ids": [1]}, [0], [2.0, -torch.inf, 0.0, -torch.inf]),
        ({"min_tokens": 2, "stop_token_ids": [1], "ignore_eos": True}, [0], [2.0, -torch.inf, 0.0, -torch.inf]),
        ({"min_tokens": 2, "stop_token_ids": [1]}, [0, 0], [2.0, 1.0, 0.0, -1.0]),
    ],
)
def test_edits_on_paper(asked: dict[str, Any], output: list[int], expected: list[float]) -> None:
    row = SamplingRow(SamplingParams(temperature=0, **asked), [0, 3], output, eos_ids=[3])
    assert edit(torch.tensor([2.0, 1.0, 0.0, -1.0]), row).tolist() == expected


@pytest.mark.parametrize(
    ("words", "output", "expected"),
    [
        ([[4]], [], {4}),
        ([[1, 2, 4]], [1, 2], {4}),
        ([[1, 2, 4]], [2], set()),
        ([[1, 2, 4]], [1, 2, 0], set()),
        ([[1, 2, 4], [2, 5], [6]], [0, 1, 2], {4, 5, 6}),
    ],
)
def test_bad_words_forbid_only_what_would_complete_them(
    words: list[list[int]], output: list[int], expected: set[int]
) -> None:
    # A prompt that ends like a bad word begins does not count, as in vLLM.
    assert forbidden(SamplingRow(SamplingParams(), [1, 2], output, bad_words=words)) == expected


@settings(max_examples=40)
@given(rows=st.lists(sampling_rows(), min_size=1, max_size=4), seed=st.integers(0, 999))
def test_what_is_forbidden_is_never_chosen(rows: list[SamplingRow], seed: int) -> None:
    logits_RV = random_logits(len(rows), seed)
    results = sample(logits_RV, fresh(rows))
    assume(any(isinstance(one, Sampled) for one in results))
    for one, row in zip(results, rows, strict=True):
        if isinstance(one, Sampled):
            assert one.token not in forbidden(row)
            assert row.params.allowed_token_ids is None or one.token in row.params.allowed_token_ids
