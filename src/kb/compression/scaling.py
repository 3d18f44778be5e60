"""Moving a factor from activations to weights: x W ᵀ = (x / s)(W diag(s))ᵀ, exact before anything is rounded.

SmoothQuant divides each input by s, so that activations with outliers can be rounded; AWQ multiplies the weights that
large inputs meet, so that *they* lose less when only weights are rounded. The identity is the same, and 1/s folds into
whatever made x: the gain of a norm, or the layer before.

Sources: Xiao et al. 2023, SmoothQuant, equations 3 and 4; Lin et al. 2024, AWQ, section 3.2, equations 4 and 5.
Shapes: O outputs, I inputs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kb.arguments import is_number, require_count
from kb.compression.calibration import InputStatistics, output_error
from kb.compression.grid import Grid, QuantizedTensor, quantize, require_matrix


def smoothing_scale(max_abs: Tensor, weight_OI: Tensor, alpha: float = 0.5) -> Tensor:
    """The scale s [I] = max|x|^α / max|w|^(1-α) of each input: what SmoothQuant divides activations by.

    Args:
        max_abs: Largest absolute value of each input over calibration texts.
        weight_OI: The weights that these inputs meet.
        alpha: 0 leaves all difficulty with the activations and evens out the weights; 1 does the opposite.

    Raises:
        ValueError: alpha is not from 0 to 1, or the shapes do not fit.
    """
    require_matrix("weight", weight_OI)
    if not is_number(alpha) or not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be a number from 0 to 1, got {alpha!r}")
    if max_abs.shape != weight_OI.shape[1:]:
        raise ValueError(f"max_abs must be [{weight_OI.shape[1]}], got {tuple(max_abs.shape)}")
    largest_I = weight_OI.detach().double().abs().amax(0)
    scale_I = max_abs.double() ** alpha / largest_I ** (1 - alpha)
    usable = torch.isfinite(scale_I) & (scale_I > 0)  # an input or a column of zeros: nothing to move
    return torch.where(usable, scale_I, torch.ones_like(scale_I))


@dataclass(frozen=True)
class ScaledTensor:
    """A matrix quantized after its columns were multiplied by a scale.

    Args:
        quantized: Of W diag(s).
        scale: s; it costs nothing where 1/s is folded into what makes the inputs.
        exponent: α of the search that found s.
        errors: Relative error of the output at every α that was tried.
    """

    quantized: QuantizedTensor
    scale: Tensor
    exponent: float
    errors: dict[float, float]

    def dequantize(self) -> Tensor:
        """The weights that act on the unscaled inputs, float32 [O, I]."""
        return self.quantized.dequantize() / self.scale.float()


def awq(weight_OI: Tensor, statistics: InputStatistics, grid: Grid, *, points: int = 20) -> ScaledTensor:
    """Search the exponent α in s = mean|x|^α at which rounding W diag(s) changes the output least.

    Unusual: the authors also clip the weights of each group; that is left out here.

    Args:
        weight_OI: [O, I].
        statistics: Of the layer's inputs.
        grid: What to round to.
        points: α is 0, 1/points, ... up to (points - 1)/points; 0 is plain rounding.

    Raises:
        ValueError: shapes do not fit, or ``points`` is no positive integer.
    """
    require_count("points", points)
    require_matrix("weight", weight_OI)
    if statistics.inputs != weight_OI.shape[1]:
        raise ValueError(f"statistics are of {statistics.inputs} inputs, weight has {weight_OI.shape[1]}")
    weight = weight_OI.detach().float()
    best: ScaledTensor | None = None
    errors: dict[float, float] = {}
    for point in range(points):
        exponent = point / points
        scale_I = statistics.mean_abs.clamp(min=1e-4) ** exponent
        scale_I = (scale_I / (scale_I.max() * scale_I.min()).sqrt()).float()
        tried = ScaledTensor(quantize(weight * scale_I, grid), scale_I, exponent, errors)
        errors[exponent] = output_error(weight, tried.dequantize(), statistics.gram)
        if best is None or errors[exponent] < errors[best.exponent]:
            best = tried
    assert best is not None  # points is at least 1
    return best
