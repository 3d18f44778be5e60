"""Muon: momentum for matrices, with every singular value of the step brought near 1.

    b <- momentum b + (1 - momentum) g
    d  = momentum b + (1 - momentum) g  (Nesterov);  d = b  (else)
    θ <- θ - lr weight_decay θ - lr' NS(d)

NS is the Newton-Schulz iteration. From X = d / max(‖d‖, eps), Frobenius norm, it repeats

    X <- p X + q (X Xᵀ) X + r (X Xᵀ)² X

which leaves the singular vectors alone and sends each singular value s to p s + q s³ + r s⁵. Unusual: the coefficients
(3.4445, -4.775, 2.0315) do not converge to 1 but are steep at 0; after five rounds each s between 0.0016 and 1 has come
to between 0.68 and 1.21. lr' makes matrices of all shapes move alike: lr √max(1, A/B) ("original", the default), or
0.2 lr √max(A, B), which has the root mean square of an update of AdamW ("match_rms_adamw").

torch computes NS in bfloat16, whatever the parameter; here it is done in the parameter's dtype, so that the two part by
up to a hundredth of the way that they walk.

Sources: Jordan et al. 2024, Muon: An optimizer for hidden layers in neural networks, kellerjordan.github.io/posts/muon;
Liu et al. 2025, Muon is Scalable for LLM Training, section 2.2 (weight decay, match_rms_adamw); Björck and Bowie 1971
(the iteration).
Symbols: θ parameter [A, B], g gradient, b momentum buffer.
"""

import math
from collections.abc import Sequence
from typing import Any

from kb.arguments import is_integer
from kb.autograd.backend import Array, namespace
from kb.autograd.optim.averages import move_average
from kb.autograd.optim.optimizer import Optimizer
from kb.autograd.optim.options import require_flag, require_number, require_numbers

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ADJUSTMENTS = (None, "original", "match_rms_adamw")


def newton_schulz_loop(
    matrix: Sequence[Sequence[float]],
    coefficients: tuple[float, float, float] = COEFFICIENTS,
    steps: int = 5,
    eps: float = 1e-7,
) -> list[list[float]]:
    """Reference of :func:`newton_schulz`: rows of Python's floats, one product at a time, no side chosen."""
    p, q, r = coefficients
    norm = max(math.sqrt(math.fsum(value * value for row in matrix for value in row)), eps)
    x = [[value / norm for value in row] for row in matrix]
    for _ in range(steps):
        gram = _multiply(x, _transpose(x))
        cubic = _multiply(gram, x)
        quintic = _multiply(gram, cubic)
        x = [
            [p * first + q * third + r * fifth for first, third, fifth in zip(*rows, strict=True)]
            for rows in zip(x, cubic, quintic, strict=True)
        ]
    return x


def newton_schulz(
    matrix_AB: Array,
    coefficients: tuple[float, float, float] = COEFFICIENTS,
    steps: int = 5,
    eps: float = 1e-7,
) -> Array:
    """The matrix with its singular vectors as they are and its singular values near 1, in the matrix's own dtype.

    Args:
        matrix_AB: [A, B].
        coefficients: Of X, (X Xᵀ) X and (X Xᵀ)² X in a step.
        steps: How many there are.
        eps: Least norm to divide by.

    Returns:
        [A, B].
    """
    xp = namespace(matrix_AB)
    p, q, r = coefficients
    tall = matrix_AB.shape[0] > matrix_AB.shape[1]
    x = matrix_AB.T if tall else matrix_AB  # X Xᵀ is as large as the shorter side squared
    norm = xp.sqrt(xp.sum(x * x))
    x = x / xp.where(norm < eps, xp.full_like(norm, eps), norm)
    for _ in range(steps):
        gram = x @ x.T
        polynomial = gram @ gram
        polynomial *= r
        polynomial += q * gram
        x = p * x + polynomial @ x
    return x.T if tall else x


class Muon(Optimizer):
    """Muon as ``torch.optim.Muon``, for the matrices of hidden layers; AdamW is for all else.

    Args:
        params: Matrices, or groups of them; see :class:`Optimizer`.
        lr: Step size: the update is about orthogonal, times this and a factor for the shape.
        weight_decay: Times lr, the share of each parameter that is taken off in a step.
        momentum: Share of the mean gradient that lasts a step.
        nesterov: Whether to look a step ahead.
        ns_coefficients: See :func:`newton_schulz`.
        eps: Least norm to divide by.
        ns_steps: Rounds of the iteration, below 100.
        adjust_lr_fn: "original" (as None) or "match_rms_adamw".

    Raises:
        TypeError: as :class:`Optimizer`.
        ValueError: as :class:`Optimizer`; or a parameter is no matrix.
    """

    keeps = ("momentum_buffer",)

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = COEFFICIENTS,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        options = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov}
        newton = {"ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps}
        super().__init__(params, {**options, **newton, "adjust_lr_fn": adjust_lr_fn})

    def _check_options(self, options: dict[str, Any]) -> None:
        for name in ("lr", "weight_decay", "momentum", "eps"):
            require_number(name, options[name])
        require_flag("nesterov", options["nesterov"])
        require_numbers("ns_coefficients", options["ns_coefficients"], 3)
        if not (is_integer(options["ns_steps"]) and 0 <= options["ns_steps"] < 100):
            raise ValueError(f"ns_steps must be an integer from 0 to 99, got {options['ns_steps']!r}")
        if options["adjust_lr_fn"] not in _ADJUSTMENTS:
            raise ValueError(f"adjust_lr_fn must be one of {_ADJUSTMENTS}, got {options['adjust_lr_fn']!r}")

    def _check_array(self, array: Array) -> None:
        if array.ndim != 2:
            raise ValueError(f"params of Muon must be matrices, got one of shape {tuple(array.shape)}")

    def _update(self, array: Array, grad: Array, state: dict[str, Any], options: dict[str, Any]) -> None:
        mean, lr = state["momentum_buffer"], options["lr"]
        move_average(mean, grad, 1 - options["momentum"])
        direction = mean
        if options["nesterov"]:
            direction = grad + options["momentum"] * (mean - grad)
        update = newton_schulz(direction, options["ns_coefficients"], options["ns_steps"], options["eps"])
        A, B = array.shape
        if options["adjust_lr_fn"] == "match_rms_adamw":
            factor = 0.2 * math.sqrt(max(A, B))
        else:
            factor = math.sqrt(max(1.0, A / B)) if B else 1.0
        array *= 1 - lr * options["weight_decay"]
        array -= lr * factor * update


def _transpose(matrix: list[list[float]]) -> list[list[float]]:
    return [list(column) for column in zip(*matrix, strict=True)]


def _multiply(left: list[list[float]], right: list[list[float]]) -> list[list[float]]:
    columns = _transpose(right)
    return [[math.fsum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in left]
