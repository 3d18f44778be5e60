"""Measures of a text: by hand, their bounds, and transformers' loss."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kb.lm.decoding import distinct_n, diversity, mean_log_likelihood, overlap, repetition


def test_on_paper() -> None:
    text = ["a", "b", "a", "b", "a", "c"]  # bigrams ab ba ab ba ac: 3 of 5
    assert repetition(text, 2) == pytest.approx(0.4)
    assert repetition(text, 1) == pytest.approx(0.5)
    assert distinct_n([text], 2) == pytest.approx(3 / 6)
    assert distinct_n([text, ["a", "b"]], 1) == pytest.approx(3 / 8)
    # trigrams aba bab aba bac: 3 of 4; 4-grams abab baba abac: 3 of 3
    assert diversity(text) == pytest.approx(0.6 * 0.75 * 1.0)


def test_overlap_on_paper() -> None:
    # bigrams ab bc / ab bd / xy: one of three shared, none, none
    texts = [["a", "b", "c"], ["a", "b", "d"], ["x", "y", "x"]]
    assert overlap(texts[:2], 2) == pytest.approx(1 / 3)
    assert overlap(texts, 2) == pytest.approx((1 / 3 + 0 + 0) / 3)
    assert overlap([texts[0]] * 3, 2) == 1


def test_a_tensor_is_measured_as_its_list() -> None:
    texts = [[1, 1, 2, 1, 1, 2], [1, 1, 3, 4, 5, 6]]
    tensors = [torch.tensor(text) for text in texts]
    assert repetition(tensors[0], 2) == repetition(texts[0], 2) == pytest.approx(0.4)
    assert diversity(tensors[0]) == diversity(texts[0]) < 1
    assert distinct_n(tensors, 2) == distinct_n(texts, 2)
    assert overlap(tensors, 1) == overlap(texts, 1) > 0


@given(texts=st.lists(st.lists(st.integers(0, 4), min_size=4, max_size=9), min_size=2, max_size=5), n=st.integers(1, 4))
def test_overlap_is_bounded_and_knows_no_order(texts: list[list[int]], n: int) -> None:
    found = overlap(texts, n)
    assert 0 <= found <= 1
    assert overlap(texts[::-1], n) == pytest.approx(found)
    assert overlap([*texts, *texts], n) >= found - 1e-12  # a copy is at least as like as any other


@given(tokens=st.lists(st.integers(0, 4), min_size=4, max_size=30), n=st.integers(1, 4))
def test_bounds_and_the_relation_of_the_two(tokens: list[int], n: int) -> None:
    grams = len(tokens) - n + 1
    assert 0 <= repetition(tokens, n) < 1
    assert distinct_n([tokens], n) * len(tokens) == pytest.approx((1 - repetition(tokens, n)) * grams)
    assert 0 < diversity(tokens) <= 1
    assert repetition(list(range(len(tokens))), n) == 0
    assert repetition([0] * len(tokens), n) == pytest.approx(1 - 1 / grams)


def test_likelihood_is_transformers_loss(tiny: Any) -> None:
    tokens = tiny.tokens(3, 9)
    for prompt in (1, 4):
        ours = mean_log_likelihood(tiny.ours, tokens, prompt_length=prompt)
        for row, one in zip(tokens, ours, strict=True):
            labels = row.clone()
            labels[:prompt] = -100
            with torch.no_grad():
                loss = tiny.theirs(row[None], labels=labels[None]).loss
            torch.testing.assert_close(one, -loss, rtol=1e-5, atol=1e-5)


def test_likelihood_of_a_uniform_model_is_that_of_its_vocabulary() -> None:
    found = mean_log_likelihood(lambda tokens: torch.zeros(*tokens.shape, 8), [1, 2, 3])
    torch.testing.assert_close(found, torch.tensor([-math.log(8)]))


def test_bad_input_is_refused() -> None:
    for call, message in (
        (lambda: distinct_n([[]], 1), "texts"),
        (lambda: distinct_n([[1]], 0), "n must"),
        (lambda: repetition([1, 2], 3), "tokens"),
        (lambda: diversity([1, 2, 3]), "tokens"),
        (lambda: repetition(torch.ones(1, 5), 2), "one sequence"),
        (lambda: overlap([[1, 2]], 2), "texts"),
        (lambda: overlap([[1, 2], [1]], 2), "texts"),
        (lambda: overlap([[1, 2], [1, 2]], 0), "n must"),
        (lambda: mean_log_likelihood(lambda tokens: tokens, [1]), "prompt's 1"),
        (lambda: mean_log_likelihood(lambda tokens: tokens, [1, 2], prompt_length=0), "prompt_length"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
