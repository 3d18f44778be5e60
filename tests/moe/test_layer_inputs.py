"""Inputs of a layer that hold no numbers, or a single token: named, or answered in their own shape."""

import pytest
import torch

from kb.moe import MoELayer, RouterConfig


@pytest.mark.parametrize("shape", [(2, 0), (0, 0), (3, 0, 7), ()])
def test_inputs_of_another_width_are_named_also_without_numbers(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x must be \[T, 8\], got"):
        MoELayer.swiglu(8, 16, RouterConfig(4, 2))(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(0, 8), (3, 0, 8), (8,)])
def test_no_tokens_and_a_single_one_keep_their_shape(shape: tuple[int, ...]) -> None:
    out, routing = MoELayer.swiglu(8, 16, RouterConfig(4, 2))(torch.zeros(shape))
    assert out.shape == shape
    assert len(routing.experts_TK) == out.numel() // 8
