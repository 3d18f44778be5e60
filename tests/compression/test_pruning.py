"""Masks: equal to torch.nn.utils.prune, by hand, by loop; 2:4 there and back; masked weights stay 0 in training."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from kb.compression import (
    apply_masks,
    compress_2_4,
    decompress_2_4,
    global_magnitude_masks,
    magnitude_mask,
    row_mask,
    semi_structured_mask,
    semi_structured_mask_loop,
    wanda_scores,
)
from kb.training import TrainConfig, train


def linear(seed: int, outputs: int = 6, inputs: int = 16) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed)))
    return layer


@settings(max_examples=20)
@given(st.integers(0, 100), st.floats(0, 1))
def test_magnitude_equals_torch(seed: int, sparsity: float) -> None:
    layer = linear(seed)
    ours = magnitude_mask(layer.weight, sparsity)
    prune.l1_unstructured(layer, "weight", amount=sparsity)
    assert torch.equal(ours.float(), layer.weight_mask)


def test_global_magnitude_equals_torch() -> None:
    layers = {"a": linear(0), "b": linear(1, 8, 4)}
    with torch.no_grad():
        layers["b"].weight.mul_(0.1)
    ours = global_magnitude_masks({name: layer.weight for name, layer in layers.items()}, 0.4)
    parts = [(layer, "weight") for layer in layers.values()]
    prune.global_unstructured(parts, pruning_method=prune.L1Unstructured, amount=0.4)
    for name, layer in layers.items():
        assert torch.equal(ours[name].float(), layer.weight_mask)
    assert ours["b"].float().mean() < 0.2 < ours["a"].float().mean()


def test_wanda_by_hand_turns_magnitude_around() -> None:
    weight, norm = torch.tensor([[1.0, 3.0, -2.0, 0.5]]), torch.tensor([10.0, 1.0, 1.0, 8.0])
    assert wanda_scores(weight, norm).tolist() == [[10.0, 3.0, 2.0, 4.0]]
    assert row_mask(wanda_scores(weight, norm), 0.5).tolist() == [[True, False, False, True]]
    assert magnitude_mask(weight, 0.5).tolist() == [[False, True, True, False]]


def test_wanda_score_is_the_error_of_dropping_one_weight() -> None:
    x, weight = torch.randn(20, 5).double(), torch.randn(3, 5).double()
    scores = wanda_scores(weight, x.norm(dim=0))
    for o, i in ((0, 0), (2, 3)):
        dropped = weight.clone()
        dropped[o, i] = 0
        torch.testing.assert_close((x @ (weight - dropped).T).norm(), scores[o, i])


@settings(max_examples=20)
@given(st.integers(0, 100), st.sampled_from([(2, 4), (1, 4), (4, 8), (1, 2)]))
def test_semi_structured_equals_its_loop(seed: int, pattern: tuple[int, int]) -> None:
    scores = torch.randint(0, 4, (3, 16), generator=torch.Generator().manual_seed(seed)).float()
    kept, of = pattern
    mask = semi_structured_mask(scores, kept=kept, of=of)
    assert torch.equal(mask, semi_structured_mask_loop(scores, kept=kept, of=of))
    assert bool((mask.view(-1, of).sum(1) == kept).all())


def test_2_4_comes_back_and_its_size_is_counted() -> None:
    weight = linear(2).weight.detach()
    mask = semi_structured_mask(weight.abs())
    values, packed = compress_2_4(weight, mask)
    assert torch.equal(decompress_2_4(values, packed), weight * mask)
    bits = 16 * values.numel() + 8 * packed.numel()  # with values of 16 bits
    assert bits / (16 * weight.numel()) == 0.5625


def test_masked_weights_stay_zero_in_training() -> None:
    layer = linear(3)
    layers, masks = {"0": layer}, {"0": semi_structured_mask(layer.weight.detach().abs())}
    apply_masks(layers, masks)
    x, goal = torch.randn(8, 16), torch.randn(8, 6)
    train(
        layer,
        [(x, goal)] * 5,
        lambda model, batch: (model(batch[0]) - batch[1]).square().mean(),
        TrainConfig(5),
        after_step=lambda step: apply_masks(layers, masks),
    )
    assert not layer.weight[~masks["0"]].any()
    assert layer.weight[masks["0"]].all()


def test_bad_input_is_refused() -> None:
    weight = linear(4).weight.detach()
    for sparsity in (-0.1, 1.1, float("nan"), True):
        with pytest.raises(ValueError, match="sparsity"):
            magnitude_mask(weight, sparsity)
    with pytest.raises(ValueError, match="at least one matrix"):
        global_magnitude_masks({}, 0.5)
    with pytest.raises(ValueError, match=r"norm must be \[16\]"):
        wanda_scores(weight, torch.ones(3))
    with pytest.raises(ValueError, match="cannot keep"):
        semi_structured_mask(weight[:, :6])
    with pytest.raises(ValueError, match="exactly two"):
        compress_2_4(weight, torch.ones_like(weight, dtype=torch.bool))
    with pytest.raises(ValueError, match="fits none"):
        apply_masks({"0": linear(4)}, {"1": torch.ones(6, 16, dtype=torch.bool)})
