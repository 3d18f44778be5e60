"""Exact match and F1 by hand; pass@k by its subsets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.evaluation import (
    exact_match,
    expected_estimate,
    normalize_answer,
    pass_at_k,
    pass_at_k_loop,
    pass_at_k_plug_in,
    token_f1,
)


def test_normalisation_is_that_of_squad() -> None:
    assert normalize_answer("The  Eiffel Tower.") == "eiffel tower"
    assert normalize_answer("A theatre, an anthem") == "theatre anthem"
    assert normalize_answer("北京。") == "北京"
    assert exact_match("the U.S.", ["america", "US"])
    assert not exact_match("Paris, France", "Paris")
    with pytest.raises(TypeError, match="text"):
        normalize_answer(3)  # type: ignore[arg-type]


def test_f1_by_hand() -> None:
    # Answer: cat sat down; gold: black cat sat. Two of three on either side.
    assert token_f1("The cat sat down", "a black cat sat") == pytest.approx(2 / 3)
    assert token_f1("cat cat", "cat") == pytest.approx(2 / 3)
    assert token_f1("dog", ["cat", "dog"]) == 1
    assert token_f1("dog", "cat") == 0
    assert token_f1("the", "a") == 1  # both are empty
    assert token_f1("the", "cat") == 0


def test_chinese_needs_characters() -> None:
    assert token_f1("在北京市", "北京") == 0
    assert token_f1("在北京市", "北京", units="characters") == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="units"):
        token_f1("a", "a", units="bytes")
    with pytest.raises(ValueError, match="golds"):
        exact_match("a", [])


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(0, 9), st.integers(1, 9))
def test_pass_at_k_is_the_share_of_subsets(samples: int, correct: int, k: int) -> None:
    if correct > samples or k > samples:
        with pytest.raises(ValueError, match="at most samples"):
            pass_at_k(samples, correct, k)
        return
    assert pass_at_k(samples, correct, k) == pytest.approx(pass_at_k_loop(samples, correct, k))
    assert pass_at_k_plug_in(samples, correct, k) <= pass_at_k(samples, correct, k) + 1e-12


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_pass_at_k_is_unbiased(p: float, k: int) -> None:
    assert expected_estimate(p, 10, k) == pytest.approx(1 - (1 - p) ** k)
    plug_in = expected_estimate(p, 10, k, plug_in=True)
    assert plug_in <= expected_estimate(p, 10, k) + 1e-12
    assert (plug_in < expected_estimate(p, 10, k) - 1e-3) == (k > 1 and 0 < p < 1)


def test_pass_at_k_refuses() -> None:
    with pytest.raises(ValueError, match="k must"):
        pass_at_k(3, 1, 0)
    with pytest.raises(ValueError, match="p must"):
        expected_estimate(2.0, 3, 1)
