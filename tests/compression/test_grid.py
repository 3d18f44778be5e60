"""Uniform grids: by hand = loop = fast = torch.ao's observers and gguf's blocks; sizes counted; bad input refused."""

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.ao.quantization.observer import PerChannelMinMaxObserver

from kb.compression import Grid, quantize, quantize_loop

F32 = torch.float32
WEIGHT = torch.tensor([[1.0, -2.0, 0.5, 7.0], [0.0, 3.0, 6.0, 15.0]])


def test_two_rows_by_hand() -> None:
    symmetric = quantize(WEIGHT, Grid(4, "symmetric", "row", F32))
    assert symmetric.codes.tolist() == [[1, -2, 0, 7], [0, 1, 3, 7]]  # 0.5 is a half: to the even code
    torch.testing.assert_close(symmetric.scale, torch.tensor([[1.0], [15 / 7]]))
    affine = quantize(WEIGHT, Grid(4, "affine", "row", F32))
    assert affine.codes.tolist() == [[5, 0, 4, 15], [0, 3, 6, 15]]  # steps 9/15 and 1; zero-points round(2 / 0.6), 0
    assert affine.offset.tolist() == [[3.0], [0.0]]


def test_one_scale_of_a_tensor_and_a_group() -> None:
    tensor = quantize(WEIGHT, Grid(4, "symmetric", "tensor", F32))
    assert tensor.scale.shape == (1, 1)
    torch.testing.assert_close(tensor.scale.item(), 15 / 7)
    group = quantize(WEIGHT, Grid(4, "symmetric", 2, F32))
    torch.testing.assert_close(group.scale, torch.tensor([[2 / 7, 1.0], [3 / 7, 15 / 7]]))
    assert (group.dequantize() - WEIGHT).abs().max() < (tensor.dequantize() - WEIGHT).abs().max()


@settings(max_examples=60)
@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12),
    st.integers(2, 8),
    st.sampled_from(["symmetric", "affine", "minimum"]),
)
def test_loop_equals_fast_and_errors_stay_within_half_a_step(values: list[float], bits: int, kind: str) -> None:
    if max(map(abs, values)) < 1e-30:
        values = [0.0]
    _, restored = quantize_loop(values, bits, kind)
    fast = quantize(torch.tensor([values]), Grid(bits, kind, "row", F32))
    step = fast.scale.item()
    # A value at half a step may round to either side in another precision; its error is half a step both times.
    errors = np.abs(np.array(restored) - values), (fast.dequantize()[0] - torch.tensor(values)).abs().numpy()
    slack = 1e-3 * step + 1e-5 * max(map(abs, values))
    np.testing.assert_allclose(errors[0], errors[1], atol=slack)
    limit = step if kind == "affine" else step / 2  # the zero-point is rounded as well
    assert errors[1].max() <= limit + slack
    assert fast.codes.min() >= fast.grid.lowest
    assert fast.codes.max() <= fast.grid.highest


@pytest.mark.parametrize("kind", ["symmetric", "affine"])
@pytest.mark.parametrize("bits", [4, 8])
def test_equals_torch_ao(kind: str, bits: int) -> None:
    weight = torch.randn(6, 48, generator=torch.Generator().manual_seed(0))
    grid = Grid(bits, kind, "row", F32)
    symmetric = kind == "symmetric"
    observer = PerChannelMinMaxObserver(
        ch_axis=0,
        dtype=torch.qint8 if symmetric else torch.quint8,
        qscheme=torch.per_channel_symmetric if symmetric else torch.per_channel_affine,
        quant_min=grid.lowest,
        quant_max=grid.highest,
    )
    observer(weight)
    scale, zero = observer.calculate_qparams()
    theirs = torch.fake_quantize_per_channel_affine(weight, scale, zero.int(), 0, grid.lowest, grid.highest)
    ours = quantize(weight, grid)
    torch.testing.assert_close(ours.scale[:, 0], scale)
    torch.testing.assert_close(ours.dequantize(), theirs, rtol=1e-5, atol=1e-6)


def test_minimum_grid_equals_ggufs_blocks_and_rounds_them_again_without_error() -> None:
    weight = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
    packed = gguf.quants.quantize(weight.numpy(), gguf.GGMLQuantizationType.Q4_1)
    theirs = torch.from_numpy(gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q4_1))
    grid = Grid(4, "minimum", 32, torch.float16)
    ours = quantize(weight, grid)
    # gguf rounds to the scale before it is stored in half precision: codes at an edge may differ by one.
    assert ((ours.dequantize() - theirs).abs() > 1e-6).float().mean() < 0.02
    assert torch.equal(quantize(theirs, grid).dequantize(), theirs)
    assert ours.bits_per_weight == 5.0  # 4 bits, and 16 + 16 over 32
    assert ours.storage_bytes == packed.nbytes


def test_bits_are_counted_with_scales() -> None:
    assert Grid(4, "symmetric", 64).bits_per_weight(8, 128) == 4.25
    assert Grid(4, "affine", 128).bits_per_weight(8, 128) == 4 + 20 / 128
    assert Grid(8, "symmetric", "row").bits_per_weight(8, 128) == 8.125
    assert Grid(8, "symmetric", "tensor").bits_per_weight(8, 128) == 8 + 16 / 1024


def test_zeros_and_tiny_weights_give_zeros() -> None:
    for kind in ("symmetric", "affine", "minimum"):
        assert torch.equal(quantize(torch.zeros(2, 4), Grid(4, kind, 2)).dequantize(), torch.zeros(2, 4))
        assert quantize(torch.full((1, 4), 1e-12), Grid(4, kind, 2)).dequantize().abs().max() < 1e-11


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"bits": 1}, "bits"),
        ({"bits": 9}, "bits"),
        ({"bits": True}, "bits"),
        ({"kind": "log"}, "kind"),
        ({"group": 0}, "group"),
        ({"group": "column"}, "group"),
        ({"scale_dtype": torch.int8}, "scale_dtype"),
    ],
)
def test_a_bad_grid_is_refused(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Grid(**change)  # type: ignore[arg-type]


def test_bad_weights_are_refused() -> None:
    with pytest.raises(TypeError, match="weight must be a tensor of floating-point"):
        quantize(torch.ones(2, 2, dtype=torch.int64), Grid())
    for bad in (torch.ones(4), torch.ones(0, 4), torch.tensor([[1.0, float("nan")]])):
        with pytest.raises(ValueError, match="weight must be"):
            quantize(bad, Grid(4, "affine", "row"))
    with pytest.raises(ValueError, match="group 3 does not divide the 4 inputs"):
        quantize(WEIGHT, Grid(4, "affine", 3))
    with pytest.raises(ValueError, match="too large for scales in"):
        quantize(torch.full((1, 2), 1e9), Grid(4, "symmetric", "row"))
