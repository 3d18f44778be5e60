"""Adafactor: Adam's second moment of a matrix kept as its row and column means, without a first moment.

    β = 1 - t^beta2_decay
    R <- β R + (1 - β) mean of g² over each row,   C <- β C + (1 - β) mean of g² over each column
    V = R C / mean(R)  (matrices);   V <- β V + (1 - β) g²  (vectors)
    u = g / max(√V, eps1),   u <- u / max(1, RMS(u) / d)
    θ <- θ - lr weight_decay θ - max(eps2, RMS(θ)) min(lr, 1/√t) u

A + B numbers for a matrix [A, B] where Adam has 2 A B. V has the true row and column means, and is exact where g² is
of rank one. Unusual: the rate is a share of the parameter's own root mean square, and lr only its bound, which falls as
1/√t; β starts at 0, so there is no bias to undo. Where a tensor has more than two axes, the last two are factored.
eps1 is torch's: it bounds the root and mean(R), where the paper adds a constant, 1e-30, to g². The first moment, which
the paper may keep, torch leaves out, and so does this.

Source: Shazeer and Stern 2018, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost, algorithms 4 to 6;
torch's documentation of ``torch.optim.Adafactor``.
Symbols: θ parameters, g gradient, t number of the step, from 1, RMS root mean square.
"""

import math
from typing import Any

from kb.autograd.backend import Array, namespace
from kb.autograd.optim.averages import move_average
from kb.autograd.optim.optimizer import Optimizer, Shapes
from kb.autograd.optim.options import require_flag, require_number


class Adafactor(Optimizer):
    """Adafactor as ``torch.optim.Adafactor``.

    Args:
        params: Parameters, or groups of them; see :class:`Optimizer`.
        lr: Largest share of its root mean square that a parameter moves in a step.
        beta2_decay: Power of the step that the newest square counts for, at most 0.
        eps: Least root mean square of a gradient, None for the machine epsilon of the parameter's dtype; and least
            root mean square of a parameter, so that one of zeros moves.
        d: Largest root mean square of an update before it is scaled, at least 1.
        weight_decay: Times lr, the share of each parameter that is taken off in a step.
        maximize: Whether to climb.

    Raises:
        TypeError, ValueError: as :class:`Optimizer`.
    """

    keeps = ("step",)

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay}
        super().__init__(params, {**options, "maximize": maximize})

    def _check_options(self, options: dict[str, Any]) -> None:
        for name in ("lr", "weight_decay"):
            require_number(name, options[name])
        require_number("d", options["d"], least=1.0)
        require_number("beta2_decay", options["beta2_decay"], least=-math.inf)
        if options["beta2_decay"] > 0:
            raise ValueError(f"beta2_decay must be at most 0, got {options['beta2_decay']!r}")
        eps = options["eps"]
        if not (isinstance(eps, tuple | list) and len(eps) == 2):
            raise ValueError(f"eps must be two numbers, the first of them may be None, got {eps!r}")
        if eps[0] is not None:
            require_number("eps[0]", eps[0])
        require_number("eps[1]", eps[1])
        require_flag("maximize", options["maximize"])

    def _kept_shapes(self, array: Array) -> Shapes:
        shape = tuple(array.shape)
        if len(shape) < 2:
            return {"step": (), "variance": shape}
        return {"step": (), "row_var": (*shape[:-1], 1), "col_var": (*shape[:-2], 1, shape[-1])}

    def _update(self, array: Array, grad: Array, state: dict[str, Any], options: dict[str, Any]) -> None:
        xp = namespace(array)
        state["step"] += 1
        if not math.prod(array.shape):
            return
        least, least_parameter = options["eps"]
        least = float(xp.finfo(array.dtype).eps) if least is None else least
        newest = state["step"] ** options["beta2_decay"]
        rate = max(least_parameter, _root_mean_square(array)) * min(options["lr"], state["step"] ** -0.5)
        if options["weight_decay"]:
            array *= 1 - options["lr"] * options["weight_decay"]
        square = grad * grad
        if array.ndim > 1:
            rows, columns = state["row_var"], state["col_var"]
            move_average(rows, xp.mean(square, axis=-1, keepdims=True), newest)
            move_average(columns, xp.mean(square, axis=-2, keepdims=True), newest)
            estimate = rows @ columns / _at_least(xp.mean(rows, axis=-2, keepdims=True), least)
        else:
            move_average(state["variance"], square, newest)
            estimate = state["variance"]
        update = grad / xp.sqrt(_at_least(estimate, least * least))
        update /= max(1.0, _root_mean_square(update) / options["d"])
        array -= rate * update


def _at_least(array: Array, least: float) -> Array:
    """With every number below ``least`` raised to it; NaN stays, as in torch."""
    xp = namespace(array)
    return xp.where(array < least, xp.full_like(array, least), array)


def _root_mean_square(array: Array) -> float:
    xp = namespace(array)
    return float(xp.sqrt(xp.mean(array * array)))
