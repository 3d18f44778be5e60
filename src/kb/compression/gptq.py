"""GPTQ: round a matrix column by column, and let the columns that are left make up for each rounding error.

For one row w of a layer the squared error of the output is (w - ŵ) H (w - ŵ)ᵀ with H = XᵀX. When column i is fixed at
ŵ_i, the best change of the free columns is -(w_i - ŵ_i) / [H⁻¹]_ii · [H⁻¹]_{i,:}, H⁻¹ being that of the columns still
free. Optimal Brain Quantization (OBQ) picks the cheapest column of each row and updates H⁻¹ after each; GPTQ takes
the same order for all rows, reads every H⁻¹ it will need off one Cholesky factor, and applies updates in blocks.
Unusual: with groups smaller than a block the scale is fitted to the weights as they stand, this block's updates
included, so that the result does not depend on the block size.

Sources: Frantar et al. 2023, GPTQ, section 4 and algorithm 1 (equations 2 and 3: OBQ); Frantar, Singh and Alistarh
2022, Optimal Brain Compression (OBQ itself).
Shapes: O outputs, I inputs, C columns of a block.
"""

import torch
from torch import Tensor

from kb.arguments import is_number, require_count
from kb.compression.grid import Grid, QuantizedTensor, decode, encode, fit, require_matrix


def gptq(
    weight_OI: Tensor,
    gram_II: Tensor,
    grid: Grid,
    *,
    block: int = 128,
    damping: float = 0.01,
    by_activation: bool = False,
) -> QuantizedTensor:
    """Quantize a layer so that its *output* on the calibration inputs changes little.

    Args:
        weight_OI: [O, I].
        gram_II: XᵀX of the calibration inputs; a factor does not matter.
        grid: What to round to.
        block: Columns whose updates of the later ones are applied together; does not change the result.
        damping: This times the mean of H's diagonal is added to it.
        by_activation: Take columns with large inputs first, when many others are left to make up for them; scales are
            then fitted to the original weights.

    Raises:
        ValueError: shapes do not fit, or the damped matrix is not positive definite.
    """
    require_count("block", block)
    weight, H = _prepared(weight_OI, gram_II, grid, damping)
    order = H.diagonal().argsort(descending=True, stable=True) if by_activation else torch.arange(len(H))
    scales = _Scales(weight, grid, fixed=by_activation)
    weight, H = weight[:, order].clone(), H[order][:, order]
    try:
        # Row i of this factor is the row of H⁻¹ that step i needs, over the root of its diagonal.
        U = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(H)), upper=True)
    except torch.linalg.LinAlgError as error:
        raise ValueError("gram is not positive definite with this damping; raise damping") from error
    codes = torch.empty_like(weight)
    for start in range(0, len(H), block):
        stop = min(start + block, len(H))
        errors_OC = torch.zeros(len(weight), stop - start, dtype=weight.dtype)
        for i in range(start, stop):
            # Columns past the block lack this block's updates; a group that reaches there is brought up to date.
            ahead = errors_OC[:, : i - start] @ U[start:i, stop:] if scales.reaches(i, stop) else None
            scale, offset = scales.of(int(order[i]), i, weight, stop, ahead)
            codes[:, i] = encode(weight[:, i], scale, offset, grid)
            error_O = (weight[:, i] - decode(codes[:, i], scale, offset, grid)) / U[i, i]
            weight[:, i:stop] -= error_O[:, None] * U[i, i:stop]
            errors_OC[:, i - start] = error_O
        weight[:, stop:] -= errors_OC @ U[start:stop, stop:]
    return scales.result(codes[:, order.argsort()])


def obq_loop(weight_OI: Tensor, gram_II: Tensor, grid: Grid, *, damping: float = 0.01) -> QuantizedTensor:
    """The same by the definition: after each column, H⁻¹ of the columns left, by inverting what is left of H.

    Raises:
        ValueError: shapes do not fit.
    """
    weight, H = _prepared(weight_OI, gram_II, grid, damping)
    weight = weight.clone()
    scales = _Scales(weight, grid, fixed=False)
    codes = torch.empty_like(weight)
    for i in range(len(H)):
        inverse = torch.linalg.inv(H[i:, i:])
        scale, offset = scales.of(i, i, weight, len(H), None)
        codes[:, i] = encode(weight[:, i], scale, offset, grid)
        change = weight[:, i] - decode(codes[:, i], scale, offset, grid)
        for row in range(len(weight)):
            weight[row, i:] -= change[row] / inverse[0, 0] * inverse[0]
    return scales.result(codes)


class _Scales:
    """The scales of the groups, each fitted when its first column is reached, or all at once."""

    def __init__(self, weight: Tensor, grid: Grid, *, fixed: bool) -> None:
        self._grid, self._inputs = grid, weight.shape[1]
        self._width = grid.width(self._inputs)
        self._fitted = fixed or not isinstance(grid.group, int)
        self._scale, self._offset = (part.double() for part in fit(weight, grid))

    def reaches(self, i: int, stop: int) -> bool:
        return not self._fitted and i % self._width == 0 and i + self._width > stop

    def of(self, column: int, i: int, weight: Tensor, stop: int, ahead: Tensor | None) -> tuple[Tensor, Tensor]:
        if not self._fitted and i % self._width == 0:
            group = weight[:, i : i + self._width].clone()
            if ahead is not None:
                group[:, stop - i :] -= ahead[:, : i + self._width - stop]
            scale, offset = fit(group, self._grid)
            place = i // self._width
            self._scale[:, place], self._offset[:, place] = scale[:, 0].double(), offset[:, 0].double()
        place = column // self._width if isinstance(self._grid.group, int) else 0
        return self._scale[:, place], self._offset[:, place]

    def result(self, codes: Tensor) -> QuantizedTensor:
        dtype = torch.int8 if self._grid.kind == "symmetric" else torch.uint8
        return QuantizedTensor(codes.to(dtype), self._scale.float(), self._offset.float(), self._grid)


def _prepared(weight_OI: Tensor, gram_II: Tensor, grid: Grid, damping: float) -> tuple[Tensor, Tensor]:
    """Weights and damped H in float64; an input that was never on has weight 0, as nothing depends on it."""
    require_matrix("weight", weight_OI)
    inputs = weight_OI.shape[1]
    if gram_II.shape != (inputs, inputs):
        raise ValueError(f"gram must be [{inputs}, {inputs}], the inputs of weight, got {tuple(gram_II.shape)}")
    if not is_number(damping) or damping < 0:
        raise ValueError(f"damping must be a number of at least 0, got {damping!r}")
    grid.width(inputs)
    weight, H = weight_OI.detach().double().clone(), gram_II.double().clone()
    never = H.diagonal() == 0
    weight[:, never] = 0
    H[never, never] = 1
    H += damping * H.diagonal().mean() * torch.eye(inputs, dtype=torch.float64)
    return weight, H
