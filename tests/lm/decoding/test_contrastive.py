"""Contrastive search: by hand, loop = one pass of k rows, and greedy where the penalty has no say."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kb.lm import generate
from kb.lm.decoding import (
    ContrastiveConfig,
    contrastive_scores,
    contrastive_scores_loop,
    contrastive_search,
    contrastive_search_loop,
    states_of,
)


def test_equation_5_on_paper() -> None:
    # The likelier candidate points where the context points, the other at a right angle to one and away from the other.
    confidences, candidates = torch.tensor([[0.6, 0.3]]), torch.tensor([[[2.0, 0.0], [0.0, -3.0]]])
    context = torch.tensor([[[1.0, 0.0], [0.0, 5.0]]])
    scores = contrastive_scores(confidences, candidates, context, 0.5)
    torch.testing.assert_close(scores, torch.tensor([[0.5 * 0.6 - 0.5 * 1.0, 0.5 * 0.3 - 0.5 * 0.0]]))
    assert contrastive_scores(confidences, candidates, context, 0.0).argmax() == 0
    assert contrastive_scores(confidences, candidates, context, 0.5).argmax() == 1


@settings(max_examples=25)
@given(
    B=st.integers(1, 3),
    k=st.integers(1, 5),
    T=st.integers(1, 6),
    D=st.integers(1, 4),
    alpha=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_scores_equal_the_loop_and_know_no_lengths(B: int, k: int, T: int, D: int, alpha: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    confidences = torch.rand(B, k, generator=generator, dtype=torch.float64)
    candidates = torch.randn(B, k, D, generator=generator, dtype=torch.float64)
    context = torch.randn(B, T, D, generator=generator, dtype=torch.float64)
    candidates[0, 0] = 0
    ours = contrastive_scores(confidences, candidates, context, alpha)
    rows = zip(confidences.tolist(), candidates.tolist(), context.tolist(), strict=True)
    loop = [contrastive_scores_loop(*row, alpha) for row in rows]
    torch.testing.assert_close(ours, torch.tensor(loop, dtype=torch.float64))
    torch.testing.assert_close(ours, contrastive_scores(confidences, 7 * candidates, context / 3, alpha))


@pytest.mark.parametrize(("alpha", "k", "stops"), [(0.6, 4, []), (0.9, 6, list(range(15))), (1.0, 3, [])])
def test_fast_equals_the_loop(tiny: Any, alpha: float, k: int, stops: list[int]) -> None:
    tokens, config = tiny.tokens(2, 5), ContrastiveConfig(10, k, alpha)
    fast = contrastive_search(tiny.ours, tokens, config, stop_ids=stops)
    assert not fast.is_inference()
    for prompt, found in zip(tokens.tolist(), fast.tolist(), strict=True):
        loop = contrastive_search_loop(states_of(tiny.ours), prompt, config, eos_ids=stops)
        assert found[: len(loop)] == loop
        assert set(found[len(loop) :]) <= {loop[-1]}


def test_the_states_are_transformers_hidden_states_behind_the_norm(tiny: Any) -> None:
    tokens = tiny.tokens(1, 6)
    config = ContrastiveConfig(6, 4, 0.7)

    def theirs(tokens_BT: Tensor) -> tuple[Tensor, Tensor]:
        out = tiny.theirs(tokens_BT, output_hidden_states=True)
        return out.logits, out.hidden_states[-1]

    with torch.no_grad():
        for ours, other in zip(states_of(tiny.ours)(tokens), theirs(tokens), strict=True):
            torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-5)
    loop = contrastive_search_loop(theirs, tokens[0].tolist(), config)
    assert contrastive_search(tiny.ours, tokens, config)[0].tolist() == loop


@pytest.mark.parametrize("config", [ContrastiveConfig(8, 5, 0.0), ContrastiveConfig(8, 1, 0.9)], ids=["alpha", "k"])
def test_without_a_choice_or_a_penalty_it_is_greedy(tiny: Any, config: ContrastiveConfig) -> None:
    tokens = tiny.tokens(3, 5)
    assert torch.equal(contrastive_search(tiny.ours, tokens, config), generate(tiny.ours, tokens, 8))


def test_a_penalty_breaks_a_loop_of_hand_made_states() -> None:
    # Token v's state is the v-th unit vector; after any token, 0 has probability 0.5 and 1, 2, 3 have less and less.
    logits = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()

    def states(tokens_BT: Tensor) -> tuple[Tensor, Tensor]:
        return logits.expand(*tokens_BT.shape, 4), torch.eye(4)[tokens_BT]

    assert contrastive_search_loop(states, [0], ContrastiveConfig(3, 4, 0.0)) == [0, 0, 0, 0]
    assert contrastive_search_loop(states, [0], ContrastiveConfig(3, 4, 0.6)) == [0, 1, 2, 3]
    assert contrastive_search_loop(states, [0], ContrastiveConfig(3, 2, 0.6)) == [0, 1, 0, 0]


def test_bad_input_is_refused(tiny: Any) -> None:
    for options, error, message in (
        ({"top_k": 0}, ValueError, "top_k"),
        ({"penalty_alpha": 1.1}, ValueError, "penalty_alpha"),
        ({"penalty_alpha": "a"}, TypeError, "penalty_alpha"),
        ({"max_new_tokens": 0}, ValueError, "max_new_tokens"),
    ):
        with pytest.raises(error, match=message):
            ContrastiveConfig(**{"max_new_tokens": 1, **options})
    with pytest.raises(TypeError, match="model must be a DecoderLM"):
        contrastive_search(lambda tokens: tokens, [1], ContrastiveConfig(1))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="config"):
        contrastive_search(tiny.ours, [1], 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="wanted confidences"):
        contrastive_scores(torch.ones(2), torch.ones(1, 2, 3), torch.ones(1, 1, 3), 0.5)
    with pytest.raises(ValueError, match="wanted confidences"):
        contrastive_scores(torch.ones(1, 2), torch.ones(1, 2, 3), torch.ones(1, 0, 3), 0.5)
    with pytest.raises(ValueError, match="alpha"):
        contrastive_scores(torch.ones(1, 2), torch.ones(1, 2, 3), torch.ones(1, 1, 3), 2.0)
