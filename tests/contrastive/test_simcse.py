"""Sentences, the encoder on a tiny random language model, and SimCSE's losses and exam."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kb import datasets
from kb.contrastive import alignment, cosines, info_nce, mean_cosine, sentences, simcse, uniformity
from kb.contrastive.sentence_encoder import SentenceEncoder, embed, pooled
from kb.contrastive.simcse import Exam, SimCSEConfig, examine, supervised_loss, train_simcse, unsupervised_loss
from kb.lm import DecoderLM, ModelConfig, NoCache
from kb.training import initialize

IDS = [[1, 2, 3], [4, 5], [6, 7, 8, 9], [3, 1]]
PLACES = [(a, b) for a in range(1, 5) for b in range(6, 9)]


@pytest.fixture
def model() -> DecoderLM:
    made = DecoderLM(ModelConfig(16, 8, 16, 3, 2, 1, 4, 32)).requires_grad_(False)
    initialize(made, seed=0, std=0.5)
    return made


def test_sentences_are_cut_where_one_ends() -> None:
    text = 'J. S. Bach was born in 1685. He wrote much\nmusic for churches (and courts). No more. "I see."'
    assert sentences.split_sentences(text) == (
        "J. S. Bach was born in 1685.",
        "He wrote much music for churches (and courts).",
    )


def test_articles_and_judgements_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    two = "One two three four five. Six seven eight nine ten."
    entries = {name: {"title": name, "topic": "Arts", "extract": text} for name, text in (("A", two), ("B", "Short."))}
    files = {
        "summaries_en-us.json": json.dumps(entries).encode(),
        "lee.cor": "caf\xe9\nb".encode("latin-1"),
        "similarities0-1.txt": b"1 0.25\n0 1\n",
    }
    monkeypatch.setattr(datasets, "read", lambda package, member: files[Path(member).name])
    assert sentences.articles() == [sentences.Article("A", "Arts", (two[:24], two[25:]))]
    judged = sentences.lee()
    assert judged.texts == ("café", "b")
    assert judged.likeness_NN.tolist() == [[1, 0.25], [0.25, 1]]


def test_whole_articles_are_held_out() -> None:
    found = [sentences.Article(str(i), "Arts", ()) for i in range(10)]
    rest, held = sentences.hold_out(found, 3, seed=1)
    assert (len(rest), len(held)) == (7, 3)
    assert {one.title for one in rest + held} == {str(i) for i in range(10)}
    assert held == sentences.hold_out(found, 3, seed=1)[1] != sentences.hold_out(found, 3, seed=2)[1]
    assert held == sentences.hold_out(found, np.int64(3), seed=np.int64(1))[1]  # type: ignore[arg-type]
    for wrong in (0, 10):
        with pytest.raises(ValueError, match="count"):
            sentences.hold_out(found, wrong)


@pytest.mark.parametrize("frozen", [0, 2])
def test_the_encoder_is_the_model_s_layers_and_a_mean(model: DecoderLM, frozen: int) -> None:
    encoder = SentenceEncoder(model, frozen=frozen, trained=3 - frozen).eval()
    wanted = []
    for text in IDS:  # each alone, without padding
        x_TD = model.hidden(torch.tensor([text]), NoCache())[0]
        wanted.append((x_TD / x_TD.square().mean(1, keepdim=True).sqrt()).mean(0))
    torch.testing.assert_close(embed(encoder, encoder.states(IDS, batch_size=3), batch_size=3), torch.stack(wanted))
    assert [len(one) for one in encoder.states(IDS)] == [len(one) for one in IDS]


def test_what_is_behind_a_text_does_not_count() -> None:
    x, lengths = torch.randn(2, 3, 4), torch.tensor([2, 3])
    other = x.clone()
    other[0, 2] = torch.nan
    torch.testing.assert_close(pooled(x, lengths)[0], pooled(other, lengths)[0])


def test_the_same_mask_leaves_nothing_to_align(model: DecoderLM) -> None:
    encoder = SentenceEncoder(model, frozen=1, dropout=0.3).train()
    states = encoder.states(IDS)

    def own(same: bool) -> Tensor:
        torch.manual_seed(0)
        first = encoder(states)
        torch.manual_seed(0)
        loss = unsupervised_loss(encoder, states, temperature=0.5, same_mask=same)
        assert torch.isclose(loss, info_nce(first, first, temperature=0.5)) == same
        return loss

    assert own(True) < own(False)
    assert cosines(encoder(states), encoder(states)).diagonal().min() < 0.999


@pytest.mark.parametrize("texts", [1, 2, 3])
def test_training_lowers_the_loss_and_changes_the_upper_layers_alone(model: DecoderLM, texts: int) -> None:
    encoder = SentenceEncoder(model, frozen=1, dropout=0.1)
    before = {name: one.clone() for name, one in model.state_dict().items()}
    states = encoder.states([[a, b, c] for a in range(3) for b in range(3) for c in range(3)])
    examples = [tuple(states[(i + 5 * part) % 27] for part in range(texts)) for i in range(27)]
    config = SimCSEConfig(steps=30, batch=9, learning_rate=1e-2, temperature=0.2, seed=3)
    state = torch.get_rng_state()
    steps = train_simcse(encoder, examples, config)
    assert torch.equal(state, torch.get_rng_state())
    assert sum(one.loss for one in steps[-5:]) < sum(one.loss for one in steps[:5])
    assert all(torch.equal(before[name], one) for name, one in model.state_dict().items())
    again = SentenceEncoder(model, frozen=1, dropout=0.1)
    assert train_simcse(again, examples, config)[-1].loss == steps[-1].loss


@pytest.mark.parametrize("temperature", [0.1, 0.7])
def test_training_starts_at_the_loss_of_its_temperature(model: DecoderLM, temperature: float) -> None:
    encoder = SentenceEncoder(model, frozen=1, dropout=0.0)
    states = encoder.states(IDS)
    rows = embed(encoder, states)
    config = SimCSEConfig(steps=1, batch=4, temperature=temperature)
    (step,) = train_simcse(encoder, [(one,) for one in states], config)
    assert step.loss == pytest.approx(float(info_nce(rows, rows, temperature=temperature)), rel=1e-5)


def test_dropout_is_on_what_comes_in_and_on_what_is_added(model: DecoderLM, monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[float] = []

    def dropout(x: Tensor, p: float, training: bool) -> Tensor:
        dropped.append(p * training)
        return x

    monkeypatch.setattr("kb.contrastive.sentence_encoder.F.dropout", dropout)
    encoder = SentenceEncoder(model, frozen=1, trained=2, dropout=0.3).train()
    encoder(encoder.states(IDS))
    assert dropped == [0.3] * (1 + 2 * 2)


def test_pairs_and_hard_negatives_are_what_info_nce_gets(model: DecoderLM) -> None:
    encoder = SentenceEncoder(model, frozen=1).eval()
    a, b, c = (encoder.states(ids) for ids in (IDS, IDS[::-1], [[5, 5], [6], [7, 8, 9], [1, 4]]))
    rows = [embed(encoder, part) for part in (a, b, c)]
    for count in (2, 3):
        found = supervised_loss(encoder, [a, b, c][:count], temperature=0.2)
        torch.testing.assert_close(found.detach(), info_nce(*rows[:count], temperature=0.2))


def test_the_exam_is_what_it_says(model: DecoderLM) -> None:
    encoder = SentenceEncoder(model, frozen=1)
    first, second = (encoder.states([[a, b, (a + shift * b) % 16] for a, b in PLACES]) for shift in (0, 1))
    x, y = embed(encoder, first), embed(encoder, second)
    s = cosines(x, y)
    hits = [sum(int(one.argmax(1)[i]) == i for i in range(len(x))) / len(x) for one in (s, s.T)]
    assert hits[0] != hits[1]  # so that it matters who asks
    likeness = cosines(x, x).numpy()[np.triu_indices(len(x), 1)]
    found = examine(encoder, Exam(first, likeness**3, first, second))
    wanted = (1.0, alignment(x, y), uniformity(x), mean_cosine(x), hits[0])
    for (name, value), right in zip(found.items(), wanted, strict=True):
        assert value == pytest.approx(float(right), abs=1e-6), name
    assert examine(encoder, Exam(first, -likeness, first, second))["people"] == pytest.approx(-1)


def test_batches_take_every_example_in_a_new_order() -> None:
    drawn = simcse._batches([(torch.tensor(i),) for i in range(6)], SimCSEConfig(batch=2))
    rounds = [[int(one) for _ in range(3) for (one,) in next(drawn)] for _ in range(2)]
    assert sorted(rounds[0]) == sorted(rounds[1]) == list(range(6))
    assert len({tuple(one) for one in (*rounds, range(6))}) == 3


def test_what_simcse_refuses(model: DecoderLM) -> None:
    for settings in ({"frozen": 3}, {"trained": 0}, {"dropout": 1.0, "frozen": 0}, {"frozen": -1}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            SentenceEncoder(model, **settings)  # type: ignore[arg-type]
    encoder = SentenceEncoder(model, frozen=1)
    for wrong in ([], [[1], []]):
        with pytest.raises(ValueError, match="ids must hold at least one text, and each a token"):
            encoder.states(wrong)
    with pytest.raises(ValueError, match="states must hold at least one text"):
        embed(encoder, [])
    for settings in ({"batch": 1}, {"steps": 0}, {"temperature": 0.0}, {"learning_rate": -1}, {"seed": -1}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            SimCSEConfig(**settings)  # type: ignore[arg-type]
    one = encoder.states(IDS)[0]
    for examples in ([(one,)], [(one,)] * 3 + [(one, one)], [(one,) * 4] * 4):
        with pytest.raises(ValueError, match="examples must be at least 4, all of 1, 2 or 3 texts"):
            train_simcse(encoder, examples, SimCSEConfig(batch=4))
