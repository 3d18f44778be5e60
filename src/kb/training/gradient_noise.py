"""The gradient noise scale: how large a batch must be for its gradient to be more signal than noise.

A batch of B examples has a gradient whose squared length is, in the mean over batches,

    E ‖g_B‖² = ‖G‖² + tr(Σ) / B

with G the gradient of the whole distribution and Σ the covariance of one example's gradient. Two batch sizes give two
such equations, and so both unknowns without bias:

    ‖G‖² = (B ‖g_B‖² - b ‖g_b‖²) / (B - b),   tr(Σ) = (‖g_b‖² - ‖g_B‖²) / (1/b - 1/B)

Their quotient tr(Σ) / ‖G‖² is the simple noise scale, in examples. Unusual: the quotient of two estimates is biased and
noisy, so that several measurements are averaged above and below before dividing; and the estimate of ‖G‖² may come out
below 0, which then says that the noise is too large for so few examples.

Source: McCandlish et al. 2018, An Empirical Model of Large-Batch Training, section 2.2 and appendix A.1.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kb.arguments import is_number, require_count


@dataclass(frozen=True)
class NoiseScale:
    """Estimates of signal and noise in a gradient.

    Attributes:
        signal: ‖G‖², the squared length of the true gradient; may be below 0 by chance.
        noise: tr(Σ), the sum of the variances of one example's gradient.
    """

    signal: float
    noise: float

    @property
    def simple(self) -> float:
        """tr(Σ) / ‖G‖² in examples; infinite where the signal is not above 0."""
        return self.noise / self.signal if self.signal > 0 else math.inf


def noise_scale(small_square: float, big_square: float, *, small: int, big: int) -> NoiseScale:
    """Signal and noise from the squared lengths of the gradients of two batch sizes, each perhaps a mean over many.

    Args:
        small_square: Mean of ‖g_b‖².
        big_square: Mean of ‖g_B‖².
        small: b, examples.
        big: B, examples.

    Raises:
        ValueError: a size is not positive, big is not above small, or a square is negative or not finite.
    """
    require_count("small", small)
    require_count("big", big, least=small + 1)
    for name, value in (("small_square", small_square), ("big_square", big_square)):
        if not is_number(value) or value < 0:
            raise ValueError(f"{name} must be a number of at least 0, got {value!r}")
    signal = (big * big_square - small * small_square) / (big - small)
    return NoiseScale(signal, (small_square - big_square) / (1 / small - 1 / big))


def noise_scale_loop(gradients_ND: Tensor) -> NoiseScale:
    """Reference: from the gradients of N single examples, the sample covariance's trace and what it adds to the mean.

    Raises:
        ValueError: there are fewer than two examples.
    """
    if gradients_ND.ndim != 2 or len(gradients_ND) < 2:
        raise ValueError(f"gradients must be [N, D] with N at least 2, got {tuple(gradients_ND.shape)}")
    count, mean = len(gradients_ND), [float(column.mean()) for column in gradients_ND.T.double()]
    trace = sum((float(value) - mean[d]) ** 2 for row in gradients_ND for d, value in enumerate(row)) / (count - 1)
    return NoiseScale(sum(value**2 for value in mean) - trace / count, trace)


def average(scales: Iterable[NoiseScale]) -> NoiseScale:
    """The mean signal and the mean noise of several measurements.

    Raises:
        ValueError: there are none.
    """
    found = list(scales)
    if not found:
        raise ValueError("scales must hold at least one measurement, got none")
    return NoiseScale(sum(one.signal for one in found) / len(found), sum(one.noise for one in found) / len(found))


def measure_noise(model: nn.Module, parts: Iterable[Any], loss: Callable[[nn.Module, Any], Tensor]) -> NoiseScale:
    """Signal and noise at a model's weights from equal parts of one batch, as data-parallel workers have them.

    Args:
        model: Its gradients are cleared, before and after.
        parts: At least two, each of as many examples; their gradients are the small batches, and their mean the big
            one.
        loss: A mean over the examples of a part.

    Raises:
        ValueError: there are fewer than two parts, or they are empty or not equally long.
    """
    parts = list(parts)
    lengths = [len(part) for part in parts]
    if len(parts) < 2 or len(set(lengths)) != 1 or not lengths[0]:
        raise ValueError(f"parts must be at least two of one length above 0, got lengths {lengths}")
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    squares, total = [], [torch.zeros_like(parameter) for parameter in parameters]
    for part in parts:
        model.zero_grad(set_to_none=True)
        loss(model, part).backward()
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        squares.append(_square(gradients))
        torch._foreach_add_(total, gradients)
    model.zero_grad(set_to_none=True)
    size = lengths[0]
    return noise_scale(sum(squares) / len(parts), _square(total) / len(parts) ** 2, small=size, big=size * len(parts))


def _square(tensors: Sequence[Tensor]) -> float:
    return sum(float(tensor.double().square().sum()) for tensor in tensors)
