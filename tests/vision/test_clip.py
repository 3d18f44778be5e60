"""CLIP's and SigLIP's losses, the text encoder, the whole model and zero-shot prediction."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import CLIPConfig as TheirConfig
from transformers import CLIPModel, CLIPTextConfig, CLIPTextModelWithProjection
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

from kb import vision
from kb.vision import CLIP, CLIPConfig, TextConfig, TextTransformer, ViTConfig
from tests.vision.test_encoders import OURS, SIZES, gradients_of, shaken

TEXT = {"vocab": 20, "length": 7, "width": 16, "layers": 2, "heads": 2, "inner": 24, "end": 19}


def texts() -> Tensor:
    return torch.tensor([[1, 5, 6, 19, 0, 0], [1, 7, 19, 19, 3, 2], [1, 2, 3, 4, 5, 19]])


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 6), scale=st.sampled_from([0.1, 5.0, 1e4]), ties=st.booleans())
def test_losses_are_their_loops_and_transformers(n: int, scale: float, ties: bool) -> None:
    logits = (torch.zeros(n, n) if ties else scale * torch.randn(n, n)).requires_grad_()
    for fast, loop in (
        (vision.clip_loss, vision.clip_loss_loop),
        (vision.siglip_loss, vision.siglip_loss_loop),
    ):
        one, other = fast(logits), loop(logits)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradients_of(one, logits), gradients_of(other, logits), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(vision.clip_loss(logits), image_text_contrastive_loss(logits))
    if ties:
        assert math.isclose(float(vision.clip_loss(logits.detach())), math.log(n), abs_tol=1e-6)


def test_losses_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0], [1.0, 3.0]])
    rows = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-2))) / 2
    columns = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-3))) / 2
    assert math.isclose(float(vision.clip_loss(logits)), (rows + columns) / 2, rel_tol=1e-6)
    each = [math.log(1 + math.exp(x)) for x in (-2, 0, 1, -3)]  # own pairs by their logit, others against it
    assert math.isclose(float(vision.siglip_loss(logits)), sum(each) / 2, rel_tol=1e-6)
    for loss in (vision.clip_loss, vision.clip_loss_loop, vision.siglip_loss, vision.siglip_loss_loop):
        for wrong in (torch.zeros(2, 3), torch.zeros(0, 0), torch.zeros(4)):
            with pytest.raises(ValueError, match="square"):
                loss(wrong)


def test_the_model_is_transformers_in_logits_loss_and_gradient() -> None:
    vision_config = {**SIZES, "image_size": 12, "patch_size": 4}
    text_config = {**SIZES, "vocab_size": 20, "max_position_embeddings": 7, "eos_token_id": 19, "bos_token_id": 1}
    theirs = shaken(CLIPModel(TheirConfig(text_config=text_config, vision_config=vision_config, projection_dim=8)))
    config = CLIPConfig(ViTConfig(**OURS, clip=True, eps=1e-5, activation="quick_gelu"), TextConfig(**TEXT), joint=8)
    ours = CLIP(config)
    ours.load_transformers(theirs.state_dict())
    images = torch.randn(3, 3, 12, 12, requires_grad=True)
    wanted = theirs(input_ids=texts(), pixel_values=images, return_loss=True)
    found = ours(images, texts())
    torch.testing.assert_close(found, wanted.logits_per_image, rtol=1e-4, atol=1e-4)
    loss = vision.clip_loss(found)
    torch.testing.assert_close(loss, wanted.loss, rtol=1e-4, atol=1e-5)
    mine = torch.autograd.grad(loss, (images, ours.logit_scale, ours.text.positions))
    named = (images, theirs.logit_scale, theirs.text_model.embeddings.position_embedding.weight)
    for one, other in zip(mine, torch.autograd.grad(wanted.loss, named), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_the_text_encoder_pools_at_the_first_end_and_sees_nothing_behind_it() -> None:
    theirs = CLIPTextModelWithProjection(
        CLIPTextConfig(**SIZES, vocab_size=20, max_position_embeddings=7, eos_token_id=19, projection_dim=16)
    )
    shaken(theirs)
    torch.nn.init.eye_(theirs.text_projection.weight)
    ours = TextTransformer(TextConfig(**TEXT))
    ours.load_transformers({k: v for k, v in theirs.state_dict().items() if k != "text_projection.weight"})
    torch.testing.assert_close(ours(texts()), theirs(texts()).text_embeds, rtol=1e-4, atol=1e-4)
    changed = texts()
    changed[0, 4:] = 7
    torch.testing.assert_close(ours(changed)[0], ours(texts())[0])
    assert ours.logits(ours.embed_tokens(texts())).shape == (3, 6, 20)
    for wrong, told in (
        (texts()[:, :3], "end token 19"),
        (texts().float(), "integers"),
        (texts().repeat(1, 2), "x must"),
    ):
        with pytest.raises(ValueError, match=told):
            ours(wrong)
    with pytest.raises(ValueError, match="end must"):
        TextConfig(vocab=5, end=5)


def test_the_scale_starts_at_one_over_0_07_and_is_limited() -> None:
    model = CLIP(CLIPConfig(ViTConfig(**OURS, clip=True), TextConfig(**TEXT), joint=8))
    assert math.isclose(float(model.logit_scale.detach().exp()), 1 / 0.07, rel_tol=1e-6)
    model.limit_scale()
    assert math.isclose(float(model.logit_scale.detach().exp()), 1 / 0.07, rel_tol=1e-6)
    torch.nn.init.constant_(model.logit_scale, 9.0)
    model.limit_scale()
    assert math.isclose(float(model.logit_scale.detach().exp()), 100, rel_tol=1e-5)
    assert math.isclose(float(model.encode_images(torch.randn(2, 3, 12, 12)).detach().norm()), 2**0.5, rel_tol=1e-5)


def test_classes_are_means_of_unit_vectors() -> None:
    prompts = torch.tensor([[[3.0, 0.0], [0.0, 9.0]], [[-1.0, 0.0], [-2.0, 0.0]]])
    found = vision.class_vectors(prompts)
    torch.testing.assert_close(found, torch.tensor([[0.5**0.5, 0.5**0.5], [-1.0, 0.0]]))
    many = torch.randn(4, 3, 5)
    torch.testing.assert_close(vision.class_vectors(many), vision.class_vectors_loop(many))
    images = torch.tensor([[1.0, 1.0], [-1.0, 0.2], [1.0, 0.0]])
    assert vision.hits(images, found, torch.tensor([0, 1, 1])).tolist() == [True, True, False]
    for labels in (torch.tensor([0, 1]), torch.tensor([0.0, 1, 1]), torch.tensor([0, 1, 2])):
        with pytest.raises(ValueError, match="labels must"):
            vision.hits(images, found, labels)
    with pytest.raises(ValueError, match="must be finite"):
        vision.hits(images / 0, found, torch.tensor([0, 1, 1]))
    with pytest.raises(ValueError, match="prompts must"):
        vision.class_vectors(torch.zeros(0, 2, 3))
    with pytest.raises(ValueError, match="share a width"):
        vision.hits(images, torch.zeros(2, 3), torch.tensor([0, 1, 1]))


def test_the_gap_is_the_distance_of_the_centres() -> None:
    right, left = torch.tensor([[2.0, 0.0]] * 3), torch.tensor([[-1.0, 0.0]] * 3)
    assert vision.modality_gap(right, left) == 2
    assert vision.modality_gap(torch.cat((right, left)), torch.cat((left, right))) == 0
    for wrong in (right[:0], right[:, :1], right[0]):
        with pytest.raises(ValueError, match="images and texts must"):
            vision.modality_gap(wrong, left)
