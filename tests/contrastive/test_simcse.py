"""Sentences, the encoder on a tiny random language model, SimCSE's losses, and the laboratory of digits."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kb import datasets
from kb.contrastive import cosines, digits_lab, info_nce, nt_xent, sentences
from kb.contrastive.sentence_encoder import SentenceEncoder, embed, pooled
from kb.contrastive.simcse import SimCSEConfig, train_simcse, unsupervised_loss
from kb.lm import DecoderLM, ModelConfig, NoCache
from kb.training import initialize

IDS = [[1, 2, 3], [4, 5], [6, 7, 8, 9], [3, 1]]


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


def test_views_move_and_keep_the_image() -> None:
    (images, labels), (test, _) = digits_lab.digits()
    assert (len(images), len(test), len(labels)) == (1297, 500, 1297)
    seen = digits_lab.view(images[:200], torch.Generator().manual_seed(0), noise=0.0)
    scale = seen.amax(1) / images[:200].amax(1)
    assert scale.min() >= 0.75 - 1e-6
    assert scale.max() <= 1.25 + 1e-6
    moves = {tuple((one > 0).view(8, 8).any(1).nonzero()[[0, -1]].flatten().tolist()) for one in seen[:50]}
    assert len(moves) > 1
    assert torch.equal(seen, digits_lab.view(images[:200], torch.Generator().manual_seed(0), noise=0.0))


def test_the_laboratory_trains_and_self_distillation_has_its_parts() -> None:
    train, (test, labels) = digits_lab.digits()
    network = digits_lab.network(seed=0)
    before = digits_lab.map_at_r(digits_lab.embed_images(network, test), labels)
    digits_lab.fit(network, train, lambda n, v: nt_xent(n(v[0]), n(v[1]), temperature=0.2), steps=30)
    assert digits_lab.map_at_r(digits_lab.embed_images(network, test), labels) > before
    assert network.training
    slow = digits_lab.SelfDistillation(seed=0, momentum=0.5)
    start = slow.target[0].weight.clone()
    digits_lab.fit(slow, train, lambda n, v: n.loss(v), steps=11, after_step=slow.follow)
    assert not torch.equal(slow.target[0].weight, start)
    assert not torch.equal(slow.target[0].weight, slow.encoder[0].weight)
    assert digits_lab.SelfDistillation(seed=0).target is not slow.target
