"""Speculation enumerated: the text's distribution is the target's, and equation 1 holds where it promises to."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kb.lm.decoding import acceptance_rate, expected_tokens, mean_tokens, pass_outcomes, text_distribution, verify_loop


def table(V: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(V, V, generator=generator, dtype=torch.float64)
    logits[torch.rand(V, V, generator=generator) < 0.2] = -torch.inf
    logits[:, 0] = logits[:, 0].clamp_min(-1.0)
    return logits.softmax(-1)


@settings(max_examples=30)
@given(V=st.integers(1, 4), gamma=st.integers(0, 4), seed=st.integers(0, 2**31))
def test_the_text_has_the_targets_distribution(V: int, gamma: int, seed: int) -> None:
    p, q = table(V, seed), table(V, seed + 1)
    outcomes = pass_outcomes(p, q, 0, gamma)
    assert math.fsum(outcomes.values()) == pytest.approx(1)
    assert max(map(len, outcomes)) <= gamma + 1
    found = text_distribution(outcomes, p, gamma + 1)
    for text in itertools.product(range(V), repeat=gamma + 1):
        wanted = math.prod(float(p[a, b]) for a, b in itertools.pairwise((0, *text)))
        assert found.get(text, 0.0) == pytest.approx(wanted, abs=1e-12)


@settings(max_examples=30)
@given(V=st.integers(2, 4), gamma=st.integers(0, 4), seed=st.integers(0, 2**31))
def test_equation_1_holds_where_acceptance_is_the_same_everywhere(V: int, gamma: int, seed: int) -> None:
    p, q = (table(V, s)[:1].expand(V, V) for s in (seed, seed + 1))
    alpha = min(1.0, float(acceptance_rate(p[0], q[0])))
    assert mean_tokens(pass_outcomes(p, q, 0, gamma)) == pytest.approx(expected_tokens(alpha, gamma), rel=1e-6)


def test_equation_1_fails_where_it_is_not() -> None:
    p = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    q = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    mean = mean_tokens(pass_outcomes(p, q, 0, 2))
    alphas = [float(acceptance_rate(p[c], q[c])) for c in (0, 1)]
    assert alphas == [1.0, 0.5]
    assert mean == pytest.approx(1 + 1 + 0.5 * 1 + 0.5 * 0.5)  # the second draft depends on the first
    assert abs(mean - expected_tokens(0.75, 2)) > 0.1


def test_the_enumeration_is_the_rule_of_verify_loop() -> None:
    V, gamma, cells = 3, 2, 40
    p, q = table(V, 1), table(V, 2)
    found: dict[tuple[int, ...], float] = {}
    middles = [(i + 0.5) / cells for i in range(cells)]  # of equal parts of [0, 1): exact up to 1 / cells
    for drafts in itertools.product(range(V), repeat=gamma):
        context = (0, *drafts)
        chance = math.prod(float(q[a, b]) for a, b in itertools.pairwise(context))
        rows = ([p[c].tolist() for c in context], [q[c].tolist() for c in context[:-1]])
        for uniforms in itertools.product(middles, repeat=gamma):
            kept, after = verify_loop(*rows, list(drafts), list(uniforms))
            for token, share in enumerate(after):
                text = (*drafts[:kept], token)
                found[text] = found.get(text, 0.0) + chance * share / cells**gamma
    exact = pass_outcomes(p, q, 0, gamma)
    assert all(abs(found.get(text, 0.0) - chance) < 2 / cells for text, chance in exact.items())
    assert sum(abs(found.get(text, 0.0) - chance) for text, chance in exact.items()) < 0.1


@pytest.mark.parametrize(
    ("p", "q", "start", "gamma", "message"),
    [
        (torch.ones(2, 3) / 3, torch.ones(2, 2) / 2, 0, 1, "p_VV must be a square"),
        (torch.ones(2, 2) / 2, torch.ones(3, 3) / 3, 0, 1, "alike"),
        (torch.ones(2, 2), torch.ones(2, 2) / 2, 0, 1, "p_VV must hold a distribution"),
        (torch.tensor([[1.5, -0.5], [1, 0]]), torch.ones(2, 2) / 2, 0, 1, "p_VV must hold a distribution"),
        (torch.ones(2, 2) / 2, torch.ones(2, 2) / 2, 2, 1, "start"),
        (torch.ones(2, 2) / 2, torch.ones(2, 2) / 2, 0, -1, "gamma"),
    ],
)
def test_bad_input_is_refused(p: Tensor, q: Tensor, start: int, gamma: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pass_outcomes(p, q, start, gamma)


def test_a_length_must_be_positive() -> None:
    p = torch.ones(2, 2) / 2
    with pytest.raises(ValueError, match="length"):
        text_distribution(pass_outcomes(p, p, 0, 1), p, 0)


@pytest.mark.parametrize("text", [(), (0, 2), (-1,)])
def test_an_outcome_must_be_of_the_table(text: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="outcomes must be of one token or more, each 0 to 1"):
        text_distribution({text: 1.0}, torch.ones(2, 2) / 2, 2)
