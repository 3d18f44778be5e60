"""Patches, the vision transformer and its poolings: against loops, by hand, and against transformers."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, SiglipVisionConfig, ViTModel
from transformers import ViTConfig as TheirConfig
from transformers.models.siglip.modeling_siglip import SiglipMultiheadAttentionPoolingHead

from kb.vision import (
    AttentionPool,
    Classifier,
    ConvNet,
    PatchEmbedding,
    VisionTransformer,
    ViTConfig,
    load_renamed,
    patchify,
    patchify_loop,
    resize_positions,
)

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
OURS = {"image": 12, "patch": 4, "width": 16, "layers": 2, "heads": 2, "inner": 24}


def shaken(model: nn.Module, seed: int = 0) -> nn.Module:
    """Weights large enough for every part to matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def gradients_of(output: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(9))
    return torch.autograd.grad((output * weights).sum(), inputs)


@settings(max_examples=15, deadline=None)
@given(b=st.integers(0, 2), c=st.integers(1, 3), p=st.integers(1, 3), h=st.integers(1, 3), w=st.integers(1, 3))
def test_patches_loop_unfold_convolution_and_product_agree(b: int, c: int, p: int, h: int, w: int) -> None:
    images = torch.randn(b + 1, h * p, w * p, c).permute(0, 3, 1, 2).requires_grad_()  # not contiguous
    cut = patchify(images, p)
    assert torch.equal(cut, patchify_loop(images, p))
    assert torch.equal(cut, nn.functional.unfold(images, p, stride=p).transpose(1, 2))
    embed = PatchEmbedding(p, 5, c)
    by_convolution, by_product = embed(images), embed.as_linear(images)
    torch.testing.assert_close(by_convolution, by_product)
    inputs = (images, embed.projection.weight)
    torch.testing.assert_close(gradients_of(by_convolution, *inputs), gradients_of(by_product, *inputs))


def test_patches_by_hand_are_rows_of_the_grid() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert patchify(image, 2)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert patchify(image[:0], 2).shape == PatchEmbedding(2, 4, 1).as_linear(image[:0]).shape == (0, 4, 4)


@pytest.mark.parametrize("shape", [(1, 3, 5, 4), (3, 4, 4), (1, 3, 0, 4), (1, 3, 2, 4)])
def test_images_that_patches_do_not_fill_are_refused(shape: tuple[int, ...]) -> None:
    for call in (lambda x: patchify(x, 4), PatchEmbedding(4, 8), VisionTransformer(ViTConfig(**OURS))):
        with pytest.raises(ValueError, match="images must"):
            call(torch.zeros(shape))


@pytest.mark.parametrize(("size", "interpolate"), [((12, 12), False), ((16, 8), True)])
def test_the_vit_is_transformers_in_value_and_gradient(size: tuple[int, int], interpolate: bool) -> None:
    theirs = shaken(ViTModel(TheirConfig(**SIZES, image_size=12, patch_size=4), add_pooling_layer=False))
    ours = VisionTransformer(ViTConfig(**OURS))
    ours.load_transformers(theirs.state_dict())
    images = torch.randn(2, 3, *size, requires_grad=True)
    wanted = theirs(images, interpolate_pos_encoding=interpolate).last_hidden_state
    found = ours.tokens(images)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert torch.equal(ours(images), found[:, 0])
    named = {"ours": ours.positions, "theirs": theirs.embeddings.position_embeddings}
    mine, other = gradients_of(found, images, named["ours"]), gradients_of(wanted, images, named["theirs"])
    torch.testing.assert_close(mine[0], other[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(mine[1], other[1][0], rtol=1e-3, atol=1e-3)


def test_clips_encoder_is_transformers() -> None:
    theirs = shaken(CLIPVisionModel(CLIPVisionConfig(**SIZES, image_size=12, patch_size=4)))
    ours = VisionTransformer(ViTConfig(**OURS, clip=True, eps=1e-5, activation="quick_gelu"))
    ours.load_transformers(theirs.state_dict())
    images = torch.randn(2, 3, 12, 12)
    wanted = theirs(images)
    torch.testing.assert_close(ours(images), wanted.pooler_output, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.tokens(images), wanted.last_hidden_state, rtol=1e-4, atol=1e-4)


def test_attention_pooling_is_siglips() -> None:
    config = SiglipVisionConfig(**SIZES, hidden_act="gelu")
    theirs = shaken(SiglipMultiheadAttentionPoolingHead(config))
    ours = AttentionPool(16, 2, 24)
    tensors = dict(theirs.state_dict())
    for kind in ("weight", "bias"):
        for one, part in zip("qkv", tensors.pop(f"attention.in_proj_{kind}").chunk(3), strict=True):
            tensors[f"attn.{one}_proj.{kind}"] = part
    load_renamed(
        ours, tensors, [("attention.out", "attn.out"), ("layernorm", "norm"), ("mlp.fc1", "up"), ("mlp.fc2", "down")]
    )
    x = torch.randn(3, 7, 16)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pool", ["class", "mean", "attention"])
@pytest.mark.parametrize("clip", [False, True])
def test_parameters_are_counted_by_hand(pool: str, clip: bool) -> None:
    if clip and pool != "class":
        with pytest.raises(ValueError, match="pool must be class"):
            ViTConfig(clip=True, pool=pool)
        return
    config = ViTConfig(**OURS, pool=pool, clip=clip)
    assert config.parameters() == sum(p.numel() for p in VisionTransformer(config).parameters())


def test_vit_b_16_has_the_published_size() -> None:
    with torch.device("meta"):
        theirs = ViTModel(TheirConfig(), add_pooling_layer=False)
    assert ViTConfig().parameters() == sum(p.numel() for p in theirs.parameters()) == 85_798_656


def test_pools_differ_in_what_they_see() -> None:
    images = torch.randn(1, 3, 12, 12)
    for pool, tokens in (("class", 10), ("mean", 9), ("attention", 9)):
        model = shaken(VisionTransformer(ViTConfig(**OURS, pool=pool)))
        assert model.tokens(images).shape == (1, tokens, 16)
        assert model(images).shape == (1, 16)
    mean = shaken(VisionTransformer(ViTConfig(**OURS, pool="mean")))
    torch.testing.assert_close(mean(images), mean.tokens(images).mean(1))


def test_without_positions_the_mean_does_not_know_the_order_of_patches() -> None:
    model = shaken(VisionTransformer(ViTConfig(**OURS, pool="mean")))
    images = torch.randn(1, 3, 12, 12)
    mirrored = images.unflatten(3, (3, 4)).flip(3).flatten(3)  # columns of patches, the patches themselves as they are
    assert (model(images) - model(mirrored)).abs().max() > 1e-2
    nn.init.zeros_(model.positions)
    torch.testing.assert_close(model(images), model(mirrored), rtol=1e-4, atol=1e-4)


def test_resized_positions_keep_the_class_token_and_the_same_grid() -> None:
    table = torch.randn(10, 4)
    assert resize_positions(table, (3, 3)) is table
    larger = resize_positions(table, (5, 2))
    assert larger.shape == (11, 4)
    assert torch.equal(larger[0], table[0])
    flat = torch.ones(4, 2)
    torch.testing.assert_close(resize_positions(flat, (3, 5), extra=0), torch.ones(15, 2))
    for bad in (torch.randn(9, 4), torch.randn(1, 4), torch.randn(0, 4)):
        with pytest.raises(ValueError, match="table must"):
            resize_positions(bad, (2, 2))
    with pytest.raises(ValueError, match="grid must"):
        resize_positions(table, (0, 2))


@pytest.mark.parametrize("wrong", [{"patch": 5}, {"pool": "max"}, {"heads": 0}, {"activation": "tanhh"}])
def test_a_wrong_configuration_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ViTConfig(**{**OURS, **wrong})  # type: ignore[arg-type]


def test_tensors_that_do_not_fit_are_refused() -> None:
    model = nn.Linear(2, 3)
    for tensors, told in (
        ({"weight": torch.zeros(3, 2)}, "no bias"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(4)}, "bias wants"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(3), "more": torch.zeros(1)}, "nothing takes more"),
    ):
        with pytest.raises(ValueError, match=told):
            load_renamed(model, tensors, [])


def test_the_convolutional_net_does_not_care_where_and_the_vit_does() -> None:
    convnet, vit = ConvNet((4, 8)), shaken(VisionTransformer(ViTConfig(**OURS, pool="mean")))
    image = torch.zeros(1, 3, 12, 12)
    image[..., 4:6, 4:6] = torch.randn(2, 2)
    moved = image.roll((2, 2), (2, 3))  # by the product of the strides
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(convnet(image), convnet(moved), rtol=1e-4, atol=1e-5)
    assert (vit(image) - vit(moved)).abs().max() > 1e-2
    assert Classifier(convnet, 8, 5)(image).shape == (1, 5)
    for widths in ((), (6,), (0,)):
        with pytest.raises(ValueError, match="widths must"):
            ConvNet(widths)
