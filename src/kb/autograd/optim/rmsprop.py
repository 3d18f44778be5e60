"""RMSprop: the gradient divided by its root mean square of late.

    g <- g + weight_decay θ
    v <- alpha v + (1 - alpha) g²
    a <- alpha a + (1 - alpha) g,  v' = v - a²  (centered);  v' = v  (else)
    b <- momentum b + g / (√v' + eps),  θ <- θ - lr b

Unusual: v' is a variance, and it can come out below 0 by rounding where the gradient hardly changes; its root is NaN
then, here as in torch.

Sources: Tieleman and Hinton 2012, Coursera lecture 6.5; Graves 2013, Generating Sequences with Recurrent Neural
Networks, equations 38 to 41 (centered; there eps stands within the root).
Symbols: θ parameters, g gradient, v mean square, a mean gradient, b momentum buffer.
"""

from typing import Any

from kb.autograd.backend import Array, namespace
from kb.autograd.optim.averages import move_average, move_square_average
from kb.autograd.optim.optimizer import Optimizer
from kb.autograd.optim.options import require_flag, require_number


class RMSprop(Optimizer):
    """RMSprop as ``torch.optim.RMSprop``.

    Args:
        params: Parameters, or groups of them; see :class:`Optimizer`.
        lr: Step size.
        alpha: Share of the averages that lasts a step.
        eps: Added to the root mean square.
        weight_decay: Added to the gradient, times the parameter.
        momentum: Share of the velocity that lasts a step.
        centered: Whether to divide by the standard deviation instead.
        maximize: Whether to climb.

    Raises:
        TypeError, ValueError: as :class:`Optimizer`.
    """

    keeps = ("step", "square_avg")
    may_keep = ("grad_avg", "momentum_buffer")

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "centered": centered, "maximize": maximize})

    def _check_options(self, options: dict[str, Any]) -> None:
        for name in ("lr", "momentum", "alpha", "eps", "weight_decay"):
            require_number(name, options[name])
        require_flag("centered", options["centered"])
        require_flag("maximize", options["maximize"])

    def _update(self, array: Array, grad: Array, state: dict[str, Any], options: dict[str, Any]) -> None:
        state["step"] += 1
        if options["weight_decay"]:
            grad = grad + options["weight_decay"] * array
        variance = state["square_avg"]
        move_square_average(variance, grad, options["alpha"])
        if options["centered"]:
            mean = self._buffer(state, "grad_avg", array)
            move_average(mean, grad, 1 - options["alpha"])
            variance = variance - mean * mean
        root = namespace(array).sqrt(variance)
        root += options["eps"]
        if options["momentum"]:
            velocity = self._buffer(state, "momentum_buffer", array)
            velocity *= options["momentum"]
            velocity += grad / root
            array -= options["lr"] * velocity
        else:
            change = options["lr"] * grad
            change /= root
            array -= change
