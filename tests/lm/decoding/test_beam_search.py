"""Beam search: loop = batched with a cache = transformers, and = exhaustive search where the beams hold everything."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from kb.lm.decoding import (
    BeamConfig,
    Hypothesis,
    NoRepeatNGram,
    Processors,
    RepetitionPenalty,
    beam_search,
    beam_search_loop,
)


def their_beams(pair: Any, tokens: Tensor, config: BeamConfig, eos: list[int], **options: Any) -> tuple[Tensor, Tensor]:
    found = pair.theirs.generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        do_sample=False,
        num_beams=config.num_beams,
        max_new_tokens=config.max_new_tokens,
        min_new_tokens=config.min_new_tokens or None,
        length_penalty=config.length_penalty,
        early_stopping=config.early_stopping,
        num_return_sequences=config.num_return_sequences,
        eos_token_id=eos or None,
        pad_token_id=eos[0] if eos else None,
        return_dict_in_generate=True,
        output_scores=True,
        **options,
    )
    return found.sequences, found.sequences_scores


CASES = [
    (BeamConfig(3, 7), [5, 17, 30], 0),
    (BeamConfig(3, 7, length_penalty=0.0, early_stopping="never", num_return_sequences=3), [5, 17, 30, 41], 1),
    (BeamConfig(4, 8, length_penalty=2.0, early_stopping=True, num_return_sequences=2), list(range(12)), 2),
    (BeamConfig(4, 8, length_penalty=2.0, early_stopping="never", num_return_sequences=4), list(range(9)), 3),
    (BeamConfig(4, 8, length_penalty=-1.0, num_return_sequences=4), list(range(9)), 4),
    (BeamConfig(2, 6, min_new_tokens=3, num_return_sequences=2), list(range(20)), 5),
    (BeamConfig(5, 5, num_return_sequences=5), [], 6),
    (BeamConfig(1, 6), [5], 7),
]


@pytest.mark.parametrize(("config", "eos", "seed"), CASES)
def test_loop_batch_and_transformers_agree(config: BeamConfig, eos: list[int], seed: int, make_pair: Any) -> None:
    pair = make_pair("llama", seed=seed, num_hidden_layers=1)
    tokens = pair.tokens(2, 4, seed)
    ours = beam_search(pair.ours, tokens, config, stop_ids=eos)
    plain = beam_search(pair.ours, tokens, config, stop_ids=eos, use_cache=False)
    assert torch.equal(ours.sequences, plain.sequences)
    if config.num_beams > 1:  # transformers takes one beam for greedy decoding, which has no scores of sequences
        sequences, scores = their_beams(pair, tokens, config, eos)
        assert torch.equal(ours.sequences, sequences)
        torch.testing.assert_close(ours.sequences_scores, scores, rtol=1e-5, atol=1e-5)
    R = config.num_return_sequences
    for row, prompt in enumerate(tokens.tolist()):
        loop = beam_search_loop(pair.ours, prompt, config, eos_ids=eos)
        for place, one in enumerate(loop):
            found = ours.sequences[row * R + place].tolist()
            assert found[: len(one.tokens)] == list(one.tokens)
            assert set(found[len(one.tokens) :]) <= set(eos[:1])
            assert one.score == pytest.approx(float(ours.sequences_scores[row * R + place]), rel=1e-5)


def test_processors_edit_log_probabilities_as_in_transformers(make_pair: Any) -> None:
    pair = make_pair("llama", num_hidden_layers=1)
    tokens, config = pair.tokens(2, 6), BeamConfig(3, 8, num_return_sequences=3)
    ours = beam_search(
        pair.ours, tokens, config, stop_ids=[7, 9], processors=Processors([RepetitionPenalty(1.4), NoRepeatNGram(2)])
    )
    sequences, scores = their_beams(pair, tokens, config, [7, 9], repetition_penalty=1.4, no_repeat_ngram_size=2)
    assert torch.equal(ours.sequences, sequences)
    torch.testing.assert_close(ours.sequences_scores, scores, rtol=1e-5, atol=1e-5)


class Table:
    """A language model whose next token depends on the last and on its place; no DecoderLM."""

    def __init__(self, V: int, seed: int) -> None:
        self.logits_TVV = 2 * torch.randn(8, V, V, generator=torch.Generator().manual_seed(seed))

    def __call__(self, tokens_BT: Tensor) -> Tensor:
        return self.logits_TVV[torch.arange(tokens_BT.shape[1]), tokens_BT]


def everything(model: Table, prompt: list[int], eos: int, config: BeamConfig) -> list[Hypothesis]:
    """All texts that end with ``eos``, at the latest after ``max_new_tokens``, best first."""
    V, N = model.logits_TVV.shape[-1], config.max_new_tokens
    log_p = model.logits_TVV.log_softmax(-1)
    found = []
    for length in range(1, N + 1):
        for text in itertools.product(range(V), repeat=length):
            if eos in text[:-1] or (length < N and text[-1] != eos):
                continue
            steps = zip((prompt[-1], *text[:-1]), text, strict=True)
            total = sum(float(log_p[place, a, b]) for place, (a, b) in enumerate(steps, start=len(prompt) - 1))
            found.append(Hypothesis((*prompt, *text), total / length**config.length_penalty))
    return sorted(found, key=lambda one: one.score, reverse=True)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, -0.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_wide_beams_are_exhaustive(length_penalty: float, seed: int) -> None:
    model, eos = Table(4, seed), 3
    config = BeamConfig(81, 4, length_penalty, "never", num_return_sequences=5)
    wanted = everything(model, [0, 1], eos, config)[:5]
    loop = beam_search_loop(model, [0, 1], config, eos_ids=[eos])
    batch = beam_search(model, [[0, 1], [0, 1]], config, stop_ids=[eos])
    assert [one.tokens for one in loop] == [one.tokens for one in wanted]
    assert [one.score for one in loop] == pytest.approx([one.score for one in wanted], rel=1e-5)
    torch.testing.assert_close(batch.sequences_scores, torch.tensor([one.score for one in wanted] * 2))
    for place, one in enumerate(wanted):
        assert tuple(batch.sequences[5 + place].tolist())[: len(one.tokens)] == one.tokens


def test_greedy_misses_what_two_beams_find_on_paper() -> None:
    # After 0: token 1 with 0.6, token 2 with 0.4. After 1 all four are alike; after 2 token 3 has 0.9.
    table = torch.tensor([[0.0, 0.6, 0.4, 0.0], [0.25] * 4, [0.05, 0.05, 0.0, 0.9], [0.25] * 4])
    model = Table(4, 0)
    model.logits_TVV = table.clamp_min(1e-30).log().expand(8, 4, 4)
    one, two = (beam_search(model, [0], BeamConfig(w, 2, length_penalty=0.0)) for w in (1, 2))
    assert two.sequences.tolist() == [[0, 2, 3]]
    assert float(two.sequences_scores.exp()) == pytest.approx(0.36)
    assert float(one.sequences_scores.exp()) == pytest.approx(0.15)


def test_fewer_texts_than_asked_for_have_no_score() -> None:
    found = beam_search(Table(2, 0), [0], BeamConfig(4, 1, num_return_sequences=3), pad_id=1)
    assert found.sequences.shape == (3, 2)
    assert found.sequences_scores.isfinite().tolist() == [True, True, False]
    assert len(beam_search_loop(Table(2, 0), [0], BeamConfig(4, 1, num_return_sequences=3))) == 2


def test_what_is_found_may_be_trained_on(tiny: Any) -> None:
    found = beam_search(tiny.ours, tiny.tokens(1, 3), BeamConfig(2, 2))
    assert not found.sequences.is_inference()
    assert not found.sequences_scores.is_inference()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_beams": 0}, ValueError, "num_beams"),
        ({"max_new_tokens": 0}, ValueError, "max_new_tokens"),
        ({"length_penalty": float("nan")}, TypeError, "length_penalty"),
        ({"early_stopping": "always"}, ValueError, "early_stopping"),
        ({"early_stopping": 1}, ValueError, "early_stopping"),
        ({"num_return_sequences": 3}, ValueError, "num_return_sequences"),
        ({"min_new_tokens": 9}, ValueError, "min_new_tokens"),
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        BeamConfig(**{"num_beams": 2, "max_new_tokens": 3, **options})


def test_bad_requests_are_refused(tiny: Any) -> None:
    with pytest.raises(TypeError, match="config"):
        beam_search(tiny.ours, [1], 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="context of 128"):
        beam_search(tiny.ours, [1], BeamConfig(2, 128))
    with pytest.raises(ValueError, match="stop_ids"):
        beam_search(tiny.ours, [1], BeamConfig(2, 3), stop_ids=[61])
    with pytest.raises(ValueError, match="hold NaN"):
        beam_search(lambda tokens: torch.full((*tokens.shape, 3), torch.nan), [1], BeamConfig(2, 3))
    with pytest.raises(ValueError, match="hold NaN"):
        beam_search_loop(lambda tokens: torch.full((*tokens.shape, 3), torch.nan), [1], BeamConfig(2, 3))
