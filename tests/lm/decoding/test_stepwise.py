"""Token by token: as ``generate`` where both can say the same, as transformers with processors, and as drawn."""

from typing import Any

import pytest
import torch
from transformers import LogitsProcessorList, NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

from kb.lm import SamplingParams, generate
from kb.lm.decoding import NoRepeatNGram, RepetitionPenalty, Temperature, TopK, TopP, decode


def test_as_generate(tiny: Any) -> None:
    tokens = tiny.tokens(3, 5)
    assert torch.equal(decode(tiny.ours, tokens, 9), generate(tiny.ours, tokens, 9))
    params = SamplingParams(temperature=0.8, top_k=9, top_p=0.9)
    ours = decode(
        tiny.ours,
        tokens,
        9,
        processors=(Temperature(0.8), TopK(9), TopP(0.9)),
        generator=torch.Generator().manual_seed(1),
    )
    assert torch.equal(
        ours, generate(tiny.ours, tokens, 9, sampling=params, generator=torch.Generator().manual_seed(1))
    )


@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_with_processors_is_transformers(tiny: Any, use_cache: bool) -> None:
    tokens = tiny.tokens(2, 6, seed=3)
    edits = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(1.3), NoRepeatNGramLogitsProcessor(2)])
    theirs = tiny.theirs.generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        do_sample=False,
        max_new_tokens=12,
        logits_processor=edits,
        eos_token_id=None,
        pad_token_id=None,
    )
    ours = (RepetitionPenalty(1.3), NoRepeatNGram(2))
    assert torch.equal(decode(tiny.ours, tokens, 12, processors=ours, use_cache=use_cache), theirs)
    assert torch.equal(decode(tiny.ours, tokens, 12, processors=edits, use_cache=use_cache), theirs)


def test_a_row_that_has_ended_is_filled_up(tiny: Any) -> None:
    tokens = tiny.tokens(2, 5)
    plain = decode(tiny.ours, tokens, 8, stop_ids=())
    stop = int(plain[0, 6])
    found = decode(tiny.ours, tokens, 8, stop_ids=(stop,))
    assert (found[0, 6:] == stop).all()
    assert torch.equal(found[1, :7], plain[1, :7])


def test_draws_have_the_edited_distribution() -> None:
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    found = decode(
        lambda tokens: p.log().expand(*tokens.shape, 4),
        [[0]] * 4000,
        1,
        processors=(TopP(0.75),),
        generator=torch.Generator().manual_seed(0),
    )[:, 1]
    shares = found.bincount(minlength=4) / 4000
    torch.testing.assert_close(shares, torch.tensor([0.625, 0.375, 0, 0]), atol=0.03, rtol=0)


def test_bad_input_is_refused(tiny: Any) -> None:
    with pytest.raises(TypeError, match="processors"):
        decode(tiny.ours, [1], 1, processors=(3,))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="one alone in a list"):
        decode(tiny.ours, [1], 1, processors=Temperature(2.0))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="generator"):
        decode(tiny.ours, [1], 1, generator=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="context"):
        decode(tiny.ours, [1], 1000)
    with pytest.raises(ValueError, match="max_new_tokens"):
        decode(tiny.ours, [1], 0)
    with pytest.raises(ValueError, match="row 0"):
        decode(tiny.ours, [1], 1, processors=(lambda ids, scores: scores - torch.inf,))
