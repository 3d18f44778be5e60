"""BLIP's layers and losses, the Q-Former's masks and layers, and the two stages of BLIP-2."""

import math

import pytest
import torch
from transformers import Blip2QFormerConfig
from transformers.models.blip.configuration_blip import BlipTextConfig
from transformers.models.blip.modeling_blip_text import BlipTextModel
from transformers.models.blip_2.modeling_blip_2 import Blip2QFormerModel

from kb import vision
from kb.vision import MED, Blip, MEDConfig, QFormer, QFormerConfig, StageOne, StageTwo, TextConfig, TextTransformer
from tests.vision.test_encoders import OURS, SIZES, gradients_of, shaken

SMALL = {"vocab": 20, "width": 16, "layers": 2, "heads": 2, "inner": 24, "image_width": 6, "length": 9}
PAIR = torch.tensor([[1, 5, 6, 2, 0, 0], [1, 7, 8, 9, 4, 2], [1, 3, 2, 0, 0, 0]])


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("mode", ["text", "pair", "caption"])
def test_each_mode_of_med_is_transformers(mode: str) -> None:
    config = BlipTextConfig(
        **SIZES, vocab_size=20, encoder_hidden_size=6, max_position_embeddings=9, is_decoder=True, hidden_act="gelu"
    )
    theirs = shaken(BlipTextModel(config, add_pooling_layer=False))
    ours = shaken(MED(MEDConfig(**SMALL)), 1)
    ours.load_transformers(theirs.state_dict(), mode)
    image = None if mode == "text" else torch.randn(3, 4, 6)
    pad = PAIR == 0
    found = ours(PAIR, image, mode=mode, pad_BT=pad)
    wanted = theirs(
        PAIR, attention_mask=(~pad).long(), encoder_hidden_states=image, is_decoder=mode == "caption", use_cache=False
    ).last_hidden_state
    torch.testing.assert_close(found[~pad], wanted[~pad], rtol=1e-4, atol=1e-4)
    wrong = "pair" if mode == "text" else "text"
    with pytest.raises(ValueError, match="image_BPE"):
        ours(PAIR, image, mode=wrong)
    with pytest.raises(ValueError, match="mode must"):
        ours(PAIR, image, mode="decoder")
    with pytest.raises(ValueError, match="T to 9"):
        ours(PAIR.repeat(1, 2), image, mode=mode)


def test_encoder_and_decoder_share_all_but_self_attention() -> None:
    model = shaken(MED(MEDConfig(**SMALL)))
    image, used = torch.randn(3, 4, 6), {}
    for mode in ("text", "pair", "caption"):
        model.zero_grad()
        model(PAIR, None if mode == "text" else image, mode=mode).square().sum().backward()
        used[mode] = {n for n, p in model.named_parameters() if p.grad is not None and n.startswith("layers.0.")}
        for parameter in model.parameters():
            parameter.grad = None
    kinds = {mode: {name.split(".")[2] for name in names} for mode, names in used.items()}
    assert kinds["text"] == {"bidirectional", "feed_forward"}
    assert kinds["pair"] == {"bidirectional", "cross", "feed_forward"}
    assert kinds["caption"] == {"causal", "cross", "feed_forward"}


def test_a_caption_is_written_from_left_to_right() -> None:
    model = shaken(MED(MEDConfig(**SMALL)))
    image, changed = torch.randn(3, 4, 6), PAIR.clone()
    changed[:, 3:] = 11
    torch.testing.assert_close(model.logits(PAIR, image)[:, :3], model.logits(changed, image)[:, :3])
    other = model.logits(PAIR, image + 1)
    assert (model.logits(PAIR, image) - other).abs().max() > 0.1


def test_hard_negatives_are_never_the_pair_and_mostly_the_nearest() -> None:
    logits = torch.zeros(4, 4)
    logits[0, 3] = logits[1, 1] = 50.0
    drawn = torch.stack([vision.hard_negatives(logits, generator=g) for g in [generator()] * 1 for _ in range(200)])
    assert not (drawn == torch.arange(4)).any()
    assert (drawn[:, 0] == 3).all()
    assert set(drawn[:, 1].tolist()) == {0, 2, 3}
    for wrong in (torch.zeros(1, 1), torch.zeros(2, 3), torch.full((2, 2), math.nan), torch.full((3, 3), -math.inf)):
        with pytest.raises(ValueError, match=r"at least two|must be finite"):
            vision.hard_negatives(wrong, generator())


def test_soft_targets_and_the_caption_loss_by_hand() -> None:
    found = vision.soft_targets(torch.zeros(2, 2), 0.4)
    torch.testing.assert_close(found, torch.tensor([[0.8, 0.2], [0.2, 0.8]]))
    uneven = vision.soft_targets(torch.tensor([[0.0, math.log(3)], [0.0, 0.0]]), 0.4)
    torch.testing.assert_close(uneven, torch.tensor([[0.7, 0.3], [0.2, 0.8]]))
    for shape, share, told in (((2, 2), 1.5, "share must"), ((2, 1), 0.4, "momentum must"), ((3,), 0.4, "momentum")):
        with pytest.raises(ValueError, match=told):
            vision.soft_targets(torch.zeros(shape), share)
    logits = torch.zeros(1, 4, 5)
    logits[0, 0, 3] = math.log(4)  # 4 of 8
    tokens = torch.tensor([[1, 3, 2, 0]])
    assert math.isclose(float(vision.caption_loss(logits, tokens)), (math.log(2) + math.log(5)) / 2, rel_tol=1e-6)
    for wrong in (tokens[:, :1], tokens.T, tokens.repeat(2, 1)):
        with pytest.raises(ValueError, match="tokens must"):
            vision.caption_loss(logits, wrong)


def test_blip_trains_all_of_its_parts_at_once() -> None:
    text = MEDConfig(**{**SMALL, "image_width": 16})
    model = Blip(vision.ViTConfig(**OURS), text, joint=8)
    losses = model(torch.randn(3, 3, 12, 12), PAIR, generator())
    torch.testing.assert_close(losses.total, losses.contrast + losses.matching + losses.caption)
    losses.total.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for n, p in model.named_parameters())
    for config, small, joint, told in (
        (OURS, MEDConfig(**SMALL), 8, "image_width must"),
        ({**OURS, "pool": "mean"}, text, 8, "pool must"),
        (OURS, text, 0, "joint must"),
    ):
        with pytest.raises(ValueError, match=told):
            Blip(vision.ViTConfig(**config), small, joint)


@pytest.mark.parametrize("kind", ["blip", "stage one"])
def test_matching_asks_each_pair_a_wrong_text_and_a_wrong_image(kind: str) -> None:
    B, pad, seen = 3, PAIR == 0, []
    if kind == "blip":
        model = shaken(Blip(vision.ViTConfig(**OURS), MEDConfig(**{**SMALL, "image_width": 16}), joint=8))
        images = torch.randn(B, 3, 12, 12)
        patches = model.vision.tokens(images)
        logits = model.contrast_logits(patches, PAIR, pad)
    else:
        model = shaken(StageOne(QFormerConfig(**SMALL, queries=3), start_caption=18, joint=8))
        patches = images = torch.randn(B, 4, 6)
        logits = model.similarities(patches, PAIR, pad)
    logits, ask = logits.detach(), model.match_logits
    model.match_logits = lambda *given: seen.append(given) or ask(*given)
    own = torch.arange(B)
    for seed in range(12):  # enough for a draw by columns to differ from one by rows
        losses = model(images, PAIR, torch.Generator().manual_seed(seed))
        drawing = torch.Generator().manual_seed(seed)
        text, image = vision.hard_negatives(logits, drawing), vision.hard_negatives(logits.T, drawing)
        pictures, words = torch.cat((own, own, image)), torch.cat((own, text, own))
        for found, wanted in zip(seen[-1], (patches[pictures], PAIR[words], pad[words]), strict=True):
            torch.testing.assert_close(found, wanted)
        wanted = torch.nn.functional.cross_entropy(ask(*seen[-1]), torch.tensor([1] * B + [0] * 2 * B))
        torch.testing.assert_close(losses.matching, wanted)
        torch.testing.assert_close(losses.contrast, vision.clip_loss(logits))


def test_contrast_logits_are_cosines_over_the_temperature() -> None:
    model = shaken(Blip(vision.ViTConfig(**OURS), MEDConfig(**{**SMALL, "image_width": 16}), joint=8))
    torch.nn.init.constant_(model.temperature, 0.2)
    patches, pad = torch.randn(3, 10, 16), PAIR == 0
    image = model.vision_projection(patches[:, 0])
    text = model.text_projection(model.text(PAIR, pad_BT=pad)[:, 0])
    wanted = 5 * torch.cosine_similarity(image[:, None], text[None], dim=-1)
    torch.testing.assert_close(model.contrast_logits(patches, PAIR, pad), wanted, rtol=1e-4, atol=1e-5)


def test_masks_by_hand() -> None:
    def seen(kind: str) -> list[str]:
        return ["".join("·x"[not one] for one in row) for row in vision.query_text_mask(kind, 2, 3).tolist()]

    assert seen("apart") == ["xx···", "xx···", "··xxx", "··xxx", "··xxx"]
    assert seen("together") == ["xxxxx"] * 5
    assert seen("captioning") == ["xx···", "xx···", "xxx··", "xxxx·", "xxxxx"]
    for kind, queries, told in (("causal", 2, "kind must"), ("apart", 0, "queries must")):
        with pytest.raises(ValueError, match=told):
            vision.query_text_mask(kind, queries, 3)


@pytest.mark.parametrize("kind", ["apart", "together", "captioning"])
def test_the_q_former_is_transformers_under_every_mask(kind: str) -> None:
    config = Blip2QFormerConfig(
        **SIZES, encoder_hidden_size=6, use_qformer_text_input=True, cross_attention_frequency=2, hidden_act="gelu"
    )
    theirs = shaken(Blip2QFormerModel(config))
    ours = shaken(QFormer(QFormerConfig(**SMALL, queries=3)), 1)
    ours.load_transformers(theirs.state_dict())
    image = torch.randn(3, 4, 6, requires_grad=True)
    pad = PAIR == 0
    queries, text = ours(image, PAIR, kind, pad)
    hidden = (
        vision.query_text_mask(kind, 3, 6)[None, None] | torch.cat((torch.zeros(3, 3).bool(), pad), 1)[:, None, None]
    )
    embedded = torch.cat((ours.queries.expand(3, -1, -1), ours.embed_tokens(PAIR) + ours.positions[:6]), dim=1)
    wanted = theirs(embedded, query_length=3, attention_mask=~hidden, encoder_hidden_states=image).last_hidden_state
    torch.testing.assert_close(queries, wanted[:, :3], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(text[~pad], wanted[:, 3:][~pad], rtol=1e-4, atol=1e-4)
    (mine,), (other,) = gradients_of(queries, image), gradients_of(wanted[:, :3], image)
    torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


def test_the_masks_decide_what_reaches_what() -> None:
    model = shaken(QFormer(QFormerConfig(**SMALL, queries=3)))
    image, changed = torch.randn(3, 4, 6), PAIR.clone()
    changed[:, 4:] = 9
    alone, none = model(image)
    assert none.shape == (3, 0, 16)
    for kind in ("apart", "together", "captioning"):
        queries, text = model(image, PAIR, kind)
        other_queries, other_text = model(image, changed, kind)
        _, text_of_other_image = model(image + 1, PAIR, kind)
        assert torch.allclose(queries, alone, atol=1e-4) == (kind != "together")
        assert torch.allclose(queries, other_queries, atol=1e-4) == (kind != "together")
        assert torch.allclose(text[:, :4], other_text[:, :4], atol=1e-4) == (kind == "captioning")
        assert torch.allclose(text, text_of_other_image, atol=1e-4) == (kind == "apart")
    with pytest.raises(ValueError, match="image must"):
        model(torch.randn(3, 4, 5))
    for tokens in (PAIR.repeat(1, 2), PAIR[:2], PAIR[0]):
        with pytest.raises(ValueError, match="tokens must"):
            model(image, tokens)


def test_similarity_is_that_of_the_nearest_query() -> None:
    queries, texts = torch.randn(3, 4, 5), torch.randn(2, 5)
    torch.testing.assert_close(vision.query_similarity(queries, texts), vision.query_similarity_loop(queries, texts))
    for wrong in ((queries[:, :0], texts), (queries, texts[:, :1]), (queries[0], texts)):
        with pytest.raises(ValueError, match="queries must"):
            vision.query_similarity(*wrong)


def test_stage_one_trains_the_q_former_with_three_losses() -> None:
    model = StageOne(QFormerConfig(**SMALL, queries=3), start_caption=18, joint=8)
    losses = model(torch.randn(3, 4, 6), PAIR, generator())
    losses.total.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert all(math.isfinite(float(one.detach())) for one in (losses.contrast, losses.matching, losses.caption))


def test_stage_one_gives_each_loss_its_mask() -> None:
    model = shaken(StageOne(QFormerConfig(**SMALL, queries=3), start_caption=18, joint=8))
    image, pad, changed = torch.randn(3, 4, 6), PAIR == 0, PAIR.clone()
    alone = model.similarities(image[:1], PAIR[1:2], pad[1:2])[0, 0]  # neither side has seen its own partner
    torch.testing.assert_close(model.similarities(image, PAIR, pad)[0, 1], alone, rtol=1e-4, atol=1e-4)
    queries, _ = model.qformer(image, PAIR, "together", pad)
    each = torch.stack([model.match_head(queries[:, k]) for k in range(3)])
    torch.testing.assert_close(model.match_logits(image, PAIR, pad), sum(each) / 3, rtol=1e-4, atol=1e-4)
    captions = model.caption_logits(image, PAIR, pad)
    changed[:, 0] = 11  # the first token gives its place to the sign to write
    torch.testing.assert_close(model.caption_logits(image, changed, pad), captions)
    changed[:, 3:] = 11
    torch.testing.assert_close(model.caption_logits(image, changed, pad)[:, :3], captions[:, :3])
    changed[:, 1] = 11
    assert (model.caption_logits(image, changed, pad)[:, 1] - captions[:, 1]).abs().max() > 1e-2
    assert (model.caption_logits(image + 1, PAIR, pad) - captions).abs().max() > 1e-2
    for start, joint, told in ((20, 8, "start_caption must"), (3, 0, "joint must")):
        with pytest.raises(ValueError, match=told):
            StageOne(QFormerConfig(**SMALL, queries=3), start, joint)


def test_stage_two_leaves_the_language_model_as_it_is() -> None:
    language = TextTransformer(TextConfig(20, 12, 10, 2, 2, 20, end=2, activation="gelu")).requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in language.state_dict().items()}
    model = StageTwo(QFormer(QFormerConfig(**SMALL, queries=3)), language)
    image = torch.randn(3, 4, 6)
    assert model.prompt(image).shape == (3, 3, 10)
    assert model.logits(image, PAIR).shape == (3, 6, 20)
    whole = torch.cat((model.prompt(image), language.embed_tokens(PAIR)), dim=1)
    torch.testing.assert_close(model.logits(image, PAIR)[:, -1], language.logits(whole)[:, -1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    first = model(image, PAIR)
    first.backward()
    optimizer.step()
    assert model(image, PAIR) < first
    assert all(torch.equal(before[name], tensor) for name, tensor in language.state_dict().items())
    assert not any(name.startswith("_model") for name, _ in model.named_parameters())


def test_blip2s_q_former_has_about_188_million_parameters() -> None:
    with torch.device("meta"):
        model = StageOne(QFormerConfig(), start_caption=0)
    count = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("word_head"))
    assert 185e6 < count < 190e6, count
