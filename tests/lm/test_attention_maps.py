"""What heads look at: the weights that transformers reports, scores by hand and by loop, silenced heads."""

import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kb.lm import attention_maps, head_scores, head_scores_loop

TOKENS = torch.randint(61, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("options", [("llama", {}), ("mistral", {"sliding_window": 4}), ("qwen3", {"head_dim": 16})])
def test_weights_are_those_that_transformers_reports(make_pair: Any, options: tuple[str, dict[str, int]]) -> None:
    kind, sizes = options
    pair = make_pair(kind, dtype=torch.float64, **sizes)
    pair.theirs.set_attn_implementation("eager")
    with torch.no_grad():
        theirs = pair.theirs(TOKENS, output_attentions=True)
        maps = attention_maps(pair.ours, TOKENS)
    torch.testing.assert_close(maps.weights_LBNTT, torch.stack(theirs.attentions), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(maps.logits_BTV, theirs.logits, rtol=1e-6, atol=1e-6)
    assert maps.values_LBTGH.shape == (3, 2, 9, 2, maps.values_LBTGH.shape[-1])


def test_the_model_gives_what_it_gives_without_being_watched(make_pair: Any) -> None:
    ours = make_pair("llama", dtype=torch.float64).ours
    with torch.no_grad():
        torch.testing.assert_close(attention_maps(ours, TOKENS).logits_BTV, ours(TOKENS), rtol=1e-9, atol=1e-9)


def test_a_silenced_head_adds_what_it_adds_with_its_part_of_the_output_matrix_at_zero(make_pair: Any) -> None:
    ours = make_pair("llama", dtype=torch.float64).ours
    H = ours.config.head_dim
    with torch.no_grad():
        silent = attention_maps(ours, TOKENS, silenced=[(1, 2), (1, 4), (2, 0)])
        for layer, head in ((1, 2), (1, 4), (2, 0)):
            ours.layers[layer].self_attn.o_proj.weight[:, head * H : (head + 1) * H] = 0
        torch.testing.assert_close(silent.logits_BTV, ours(TOKENS), rtol=1e-9, atol=1e-9)
    assert (silent.weights_LBNTT[1, :, 2].sum(-1) - 1).abs().max() < 1e-9  # its weights are reported all the same


def test_scores_of_heads_made_by_hand() -> None:
    # Six tokens that repeat every three; head 0 looks at the token before, 1 at the first, 2 is an induction head.
    weights_LBNTT = torch.zeros(1, 1, 3, 6, 6)
    for t in range(6):
        for head, key in enumerate((max(t - 1, 0), 0, t - 2 if t >= 3 else t)):
            weights_LBNTT[0, 0, head, t, key] = 1
    scores = {name: values[0].tolist() for name, values in head_scores(weights_LBNTT, 3).items()}
    assert scores == {
        "previous token": [1.0, pytest.approx(1 / 5), 0.0],  # the first token is that before the second
        "induction": [0.0, 0.0, 1.0],
        "first token": [0.0, 1.0, 0.0],
    }


@st.composite
def maps(draw: st.DrawFn) -> tuple[Tensor, int]:
    layers, batch, heads = (draw(st.integers(1, 3)) for _ in range(3))
    T = draw(st.integers(4, 8))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scores = torch.randn(layers, batch, heads, T, T, generator=generator, dtype=torch.float64)
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, -torch.inf).softmax(-1), draw(st.integers(3, T - 1))


@settings(max_examples=30)
@given(case=maps())
def test_scores_are_those_of_the_loop_and_lie_between_0_and_1(case: tuple[Tensor, int]) -> None:
    fast, loop = head_scores(*case), head_scores_loop(*case)
    assert list(fast) == list(loop)
    for name, values in fast.items():
        torch.testing.assert_close(values, loop[name], rtol=1e-9, atol=1e-9)
        assert ((values >= 0) & (values <= 1)).all()


def test_bad_input_is_refused(make_pair: Any) -> None:
    ours = make_pair("llama").ours
    for head, error, message in (
        ((3, 0), ValueError, "silenced head (3, 0): the model has 3 layers of 6 heads"),
        ((0, 6), ValueError, "silenced head (0, 6)"),
        ((-1, 0), ValueError, "silenced head (-1, 0)"),
        ((0, 1.0), TypeError, "pairs (layer, head) of integers, got (0, 1.0)"),
        (4, TypeError, "got 4"),
    ):
        with pytest.raises(error, match=re.escape(message)):
            attention_maps(ours, TOKENS, silenced=[head])
    weights = torch.full((1, 1, 1, 5, 5), 0.2)
    for period in (2, 5, 3.0):
        with pytest.raises(ValueError, match="period"):
            head_scores(weights, period)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\[L, B, N, T, T\], got \(1, 1, 5, 5\)"):
        head_scores(weights[0], 3)
