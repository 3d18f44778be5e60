"""NF4: the published table, blocks by hand and by loop, sizes counted, a layer with gradients."""

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import norm

from kb.compression import NF4Linear, nf4_table, quantize_nf4

# Dettmers et al. 2023, appendix E.
PUBLISHED = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635]
PUBLISHED += [-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725]
PUBLISHED += [0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941]
PUBLISHED += [0.7229568362236023, 1.0]


def test_table_equals_the_published_one() -> None:
    torch.testing.assert_close(nf4_table(), torch.tensor(PUBLISHED), rtol=0, atol=3e-6)


def test_table_equals_scipys_quantiles() -> None:
    offset = 0.9677083
    positive = norm.ppf(torch.linspace(offset, 0.5, 9, dtype=torch.float64)[:-1])
    negative = -norm.ppf(torch.linspace(offset, 0.5, 8, dtype=torch.float64)[:-1])
    expected = sorted([*negative, 0.0, *positive])
    torch.testing.assert_close(nf4_table(), torch.tensor(expected).float() / max(positive), rtol=0, atol=1e-6)


def test_equals_a_loop_over_blocks() -> None:
    weight = torch.randn(3, 24, generator=torch.Generator().manual_seed(0))
    ours = quantize_nf4(weight, 8, double_quant=False).dequantize()
    table = nf4_table().tolist()
    expected = []
    for block in weight.view(-1, 8).tolist():
        largest = max(abs(value) for value in block)
        expected += [largest * min(table, key=lambda level: abs(level - value / largest)) for value in block]
    torch.testing.assert_close(ours.flatten(), torch.tensor(expected))
    assert torch.equal(ours.view(-1, 8).abs().amax(1), weight.view(-1, 8).abs().amax(1))


def test_levels_come_back_exactly() -> None:
    weight = nf4_table().repeat(4, 1) * torch.tensor([[1.0], [2.0], [0.5], [4.0]])
    assert torch.equal(quantize_nf4(weight, 16, double_quant=False).dequantize(), weight)


def test_bits_are_the_papers() -> None:
    weight = torch.randn(256, 1024, generator=torch.Generator().manual_seed(1))
    plain, double = quantize_nf4(weight, double_quant=False), quantize_nf4(weight)
    assert plain.bits_per_weight == 4.5
    assert double.bits_per_weight == pytest.approx(4 + 8 / 64 + 32 / (64 * 256), abs=2e-4)  # and one mean
    scales = weight.view(-1, 64).abs().amax(1)
    near = double.dequantize().view(-1, 64).abs().amax(1)
    assert ((near - scales).abs() / scales).max() < 0.01
    torch.testing.assert_close(double.dequantize(), plain.dequantize(), rtol=0.01, atol=1e-6)


def test_a_last_block_that_is_not_full_and_zeros() -> None:
    weight = torch.randn(3, 7, generator=torch.Generator().manual_seed(2))
    assert quantize_nf4(weight, 8).dequantize().shape == (3, 7)
    assert torch.equal(quantize_nf4(torch.zeros(2, 8), 8).dequantize(), torch.zeros(2, 8))


def test_layer_equals_its_weight_with_gradients_and_survives_a_state_dict() -> None:
    generator = torch.Generator().manual_seed(3)
    weight, bias = torch.randn(5, 16, generator=generator), torch.randn(5, generator=generator)
    layer = NF4Linear(weight, bias, block_size=8)
    x = torch.randn(4, 16, generator=generator, requires_grad=True)
    upstream = torch.randn(4, 5, generator=generator)
    ours = torch.autograd.grad(layer(x), x, upstream)[0]
    expected = torch.autograd.grad(F.linear(x, quantize_nf4(weight, 8).dequantize(), bias), x, upstream)[0]
    torch.testing.assert_close(ours, expected)
    assert not list(layer.parameters())
    other = NF4Linear(torch.randn(5, 16, generator=generator), torch.zeros(5), block_size=8)
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other(x), layer(x))
    assert NF4Linear(weight, block_size=8).bfloat16()(x.bfloat16()).dtype == torch.bfloat16


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="block_size must be even"):
        quantize_nf4(torch.ones(2, 8), 7)
    with pytest.raises(ValueError, match="block_size must be an integer"):
        quantize_nf4(torch.ones(2, 8), 0)
    with pytest.raises(ValueError, match="weight must be finite"):
        quantize_nf4(torch.full((2, 8), float("inf")))
    with pytest.raises(ValueError, match=r"bias must be \[2\]"):
        NF4Linear(torch.ones(2, 8), torch.ones(3))
