"""GPTQ equals OBQ in one order, whatever the blocks; its compensation is optimal; the output error falls."""

import pytest
import torch
from torch import Tensor

from kb.compression import Grid, gptq, obq_loop, output_error, quantize

F32 = torch.float32


def layer(seed: int, outputs: int = 6, inputs: int = 24, tokens: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(inputs, inputs, generator=generator, dtype=torch.float64) / inputs**0.5
    X = torch.randn(tokens, inputs, generator=generator, dtype=torch.float64) @ (mix + 0.3 * torch.eye(inputs))
    return torch.randn(outputs, inputs, generator=generator), X


@pytest.mark.parametrize("block", [1, 5, 8, 24, 128])
@pytest.mark.parametrize("grid", [Grid(3, "affine", "row", F32), Grid(4, "symmetric", 8), Grid(2, "affine", 12)])
def test_equals_obq_for_every_block_size(grid: Grid, block: int) -> None:
    weight, X = layer(0)
    fast, slow = gptq(weight, X.T @ X, grid, block=block), obq_loop(weight, X.T @ X, grid)
    assert torch.equal(fast.codes, slow.codes)
    torch.testing.assert_close(fast.dequantize(), slow.dequantize())


def test_one_step_is_the_least_squares_answer() -> None:
    # Fix the first weight at its level; the others' best values solve a least-squares problem.
    weight, X = layer(1, outputs=1, inputs=5)
    grid = Grid(3, "symmetric", "row", F32)
    fixed = quantize(weight, grid).dequantize().double()[0, 0]
    w = weight.double()[0]
    best = torch.linalg.lstsq(X[:, 1:], (X @ w - X[:, 0] * fixed)[:, None]).solution[:, 0]
    inverse = torch.linalg.inv(X.T @ X)
    by_formula = w - (w[0] - fixed) / inverse[0, 0] * inverse[0]
    torch.testing.assert_close(by_formula[1:], best)
    torch.testing.assert_close(by_formula[0], fixed)


@pytest.mark.parametrize("by_activation", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_output_error_is_below_rounding(bits: int, by_activation: bool) -> None:
    grid = Grid(bits, "affine", 12)
    for seed in range(3):
        weight, X = layer(seed, outputs=16)
        gram = X.T @ X
        rounded = output_error(weight, quantize(weight, grid).dequantize(), gram)
        better = output_error(weight, gptq(weight, gram, grid, by_activation=by_activation).dequantize(), gram)
        assert better < 0.8 * rounded


def test_without_correlation_it_is_rounding() -> None:
    weight, _ = layer(2)
    grid = Grid(4, "affine", "row")
    for by_activation in (False, True):
        ours = gptq(weight, torch.eye(24), grid, by_activation=by_activation)
        assert torch.equal(ours.codes, quantize(weight, grid).codes)


def test_inputs_that_were_never_on_cost_nothing() -> None:
    weight, X = layer(3)
    X[:, 5] = 0
    ours = gptq(weight, X.T @ X, Grid(4, "affine", "row"))
    assert torch.equal(ours.dequantize()[:, 5], torch.zeros(6))


def test_bad_input_is_refused() -> None:
    weight, X = layer(4)
    gram = X.T @ X
    with pytest.raises(ValueError, match=r"gram must be \[24, 24\]"):
        gptq(weight, gram[:3], Grid(4, "affine", "row"))
    with pytest.raises(ValueError, match="damping"):
        gptq(weight, gram, Grid(4, "affine", "row"), damping=-1)
    with pytest.raises(ValueError, match="block"):
        gptq(weight, gram, Grid(4, "affine", "row"), block=0)
    with pytest.raises(ValueError, match="not positive definite"):
        gptq(weight, -gram, Grid(4, "affine", "row"), damping=0)
    with pytest.raises(ValueError, match="group 7 does not divide"):
        gptq(weight, gram, Grid(4, "affine", 7))
