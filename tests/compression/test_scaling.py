"""SmoothQuant's identity and AWQ's search: exact before rounding, never worse than rounding on its own inputs."""

import pytest
import torch

from kb.compression import Grid, InputStatistics, awq, int8_linear, output_error, quantize, smoothing_scale


def inputs_with_outlier(seed: int = 0) -> torch.Tensor:
    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(seed))
    x[:, 3] *= 100
    return x


def test_scale_by_hand() -> None:
    weight = torch.tensor([[1.0, 4.0], [0.5, -1.0]])
    scale = smoothing_scale(torch.tensor([16.0, 4.0]), weight)
    assert scale.tolist() == [4.0, 1.0]  # sqrt(16 / 1), sqrt(4 / 4)
    assert smoothing_scale(torch.tensor([16.0, 4.0]), weight, 1.0).tolist() == [16.0, 4.0]
    assert smoothing_scale(torch.tensor([0.0, 4.0]), weight).tolist() == [1.0, 1.0]


def test_the_product_is_unchanged_and_int8_is_mended() -> None:
    x, weight = inputs_with_outlier(), torch.randn(16, 32, generator=torch.Generator().manual_seed(1))
    scale = smoothing_scale(x.abs().amax(0), weight).float()
    exact = x @ weight.T
    torch.testing.assert_close((x / scale) @ (weight * scale).T, exact, rtol=1e-4, atol=1e-3)
    for per in ("token", "tensor"):
        plain = (int8_linear(x, weight, per=per) - exact)[:, :].norm()
        assert (int8_linear(x / scale, weight * scale, per=per) - exact).norm() < plain / 3


def test_awq_is_at_least_as_good_as_rounding_and_better_with_outliers() -> None:
    weight = torch.randn(16, 32, generator=torch.Generator().manual_seed(1))
    statistics, grid = InputStatistics(32), Grid(3, "affine", 16)
    statistics.add(inputs_with_outlier())
    found = awq(weight, statistics, grid)
    rounded = output_error(weight, quantize(weight, grid).dequantize(), statistics.gram)
    assert found.errors[0.0] == pytest.approx(rounded)
    assert found.errors[found.exponent] == min(found.errors.values()) < 0.5 * rounded
    assert output_error(weight, found.dequantize(), statistics.gram) == found.errors[found.exponent]
    assert len(found.errors) == 20


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="alpha"):
        smoothing_scale(torch.ones(2), torch.ones(3, 2), 1.5)
    with pytest.raises(ValueError, match="max_abs"):
        smoothing_scale(torch.ones(3), torch.ones(3, 2))
    with pytest.raises(ValueError, match="statistics are of 3 inputs"):
        awq(torch.ones(4, 2), InputStatistics(3), Grid(4, "affine", "row"))
    with pytest.raises(ValueError, match="points"):
        awq(torch.ones(4, 3), InputStatistics(3), Grid(4, "affine", "row"), points=0)
