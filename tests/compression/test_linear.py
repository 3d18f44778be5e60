"""Integer layers: loop = fast = torch's own int8 product; packed weights; outliers split off."""

import pytest
import torch
import torch.nn.functional as F

from kb.compression import (
    Grid,
    WeightOnlyLinear,
    int8_linear,
    int8_linear_loop,
    integer_product,
    outlier_linear,
    quantize,
    quantize_inputs,
)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_integer_product_equals_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randint(-127, 128, (size, 512), generator=generator, dtype=torch.int8) for size in (24, 40))
    ours = integer_product(a, b)
    assert ours.dtype == torch.int32
    assert torch.equal(ours, torch._int_mm(a, b.T))
    most = torch.full((1, 4096), 127, dtype=torch.int8)
    assert integer_product(most, most).item() == 127 * 127 * 4096  # more than float32 holds exactly


def test_loop_equals_fast_and_is_near_the_float_product() -> None:
    x, weight = numbers(3, 20), numbers(5, 20, seed=1)
    torch.testing.assert_close(int8_linear(x, weight).double(), int8_linear_loop(x, weight), rtol=1e-4, atol=1e-4)
    exact = x @ weight.T
    assert ((int8_linear(x, weight) - exact).norm() / exact.norm()) < 0.02


def test_scales_by_hand() -> None:
    x = torch.tensor([[127.0, -1.0], [12.7, 6.35]])
    token, tensor = quantize_inputs(x), quantize_inputs(x, per="tensor")
    assert token.codes.tolist() == [[127, -1], [127, 64]]  # 63.5 to the even 64
    assert tensor.codes.tolist() == [[127, -1], [13, 6]]


@pytest.mark.parametrize("grid", [Grid(4, "symmetric", 8), Grid(4, "affine", 8), Grid(3, "affine", "row")])
def test_packed_layer_equals_the_dequantized_matrix(grid: Grid) -> None:
    weight, bias, x = numbers(6, 16), numbers(6, seed=1), numbers(2, 3, 16, seed=2).requires_grad_()
    quantized = quantize(weight, grid)
    layer = WeightOnlyLinear(quantized, bias)
    expected = F.linear(x, quantized.dequantize(), bias)
    torch.testing.assert_close(layer(x), expected)
    upstream = torch.ones_like(expected)
    torch.testing.assert_close(*(torch.autograd.grad(out, x, upstream)[0] for out in (layer(x), expected)))
    assert layer.codes.numel() == weight.numel() // 2
    assert layer.codes.element_size() == 1


@pytest.mark.parametrize("kind", ["symmetric", "affine", "minimum"])
def test_8_bit_layer(kind: str) -> None:
    quantized = quantize(numbers(6, 16), Grid(8, kind, 8))
    torch.testing.assert_close(WeightOnlyLinear(quantized).weight, quantized.dequantize())


def test_outliers_go_through_the_float_product() -> None:
    x, weight = numbers(32, 64), numbers(16, 64, seed=1)
    x[:, 7] *= 100
    exact = x @ weight.T
    mixed, outliers = outlier_linear(x, weight)
    assert outliers.nonzero().flatten().tolist() == [7]
    plain = (int8_linear(x, weight) - exact).norm() / exact.norm()
    assert (mixed - exact).norm() / exact.norm() < plain / 20
    whole, all_of_them = outlier_linear(x, weight, threshold=1e-9)
    assert bool(all_of_them.all())
    torch.testing.assert_close(whole, exact)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="per must be one of"):
        quantize_inputs(numbers(2, 2), per="row")
    with pytest.raises(ValueError, match="a and b must be int8"):
        integer_product(torch.ones(2, 3), torch.ones(2, 3))
    with pytest.raises(ValueError, match="may not fit into int32"):
        integer_product(*(torch.ones(1, 2**18, dtype=torch.int8),) * 2)
    with pytest.raises(ValueError, match="threshold"):
        outlier_linear(numbers(2, 4), numbers(3, 4), threshold=0)
    with pytest.raises(ValueError, match="x and weight"):
        outlier_linear(numbers(2, 4), numbers(3, 5))
    with pytest.raises(ValueError, match="bias must be"):
        WeightOnlyLinear(quantize(numbers(6, 16), Grid(4, "affine", 8)), torch.ones(5))
    with pytest.raises(ValueError, match="even last axis"):
        WeightOnlyLinear(quantize(numbers(6, 15), Grid(4, "affine", "row")))
