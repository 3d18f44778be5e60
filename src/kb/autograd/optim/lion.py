"""Lion: a step of one size for every number, in the direction that gradients of late agree on.

    u = sign(β1 m + (1 - β1) g)
    θ <- θ - lr weight_decay θ - lr u
    m <- β2 m + (1 - β2) g

One buffer where Adam has two. Unusual: the direction and what is remembered are two different averages of the same
numbers, and with β1 < β2 the newest gradient counts for more in the direction than it does in the memory. The sign of 0
is 0, so a number that never had a gradient stays.

Source: Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, program 1 and algorithm 2.
Symbols: θ parameters, g gradient, m momentum, u direction.
"""

from typing import Any

from kb.autograd.backend import Array, namespace
from kb.autograd.optim.averages import move_average
from kb.autograd.optim.optimizer import Optimizer
from kb.autograd.optim.options import require_flag, require_number, require_numbers


class Lion(Optimizer):
    """Lion, as its paper's algorithm 2 has it; torch 2.13 has none.

    Args:
        params: Parameters, or groups of them; see :class:`Optimizer`.
        lr: Size of every step of every number.
        betas: Shares of the momentum that last a step: in the direction, and in what is remembered.
        weight_decay: Times lr, the share of each parameter that is taken off in a step.
        maximize: Whether to climb.

    Raises:
        TypeError, ValueError: as :class:`Optimizer`.
    """

    keeps = ("exp_avg",)

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize})

    def _check_options(self, options: dict[str, Any]) -> None:
        for name in ("lr", "weight_decay"):
            require_number(name, options[name])
        require_numbers("betas", options["betas"], 2, least=0.0, below=1.0)
        require_flag("maximize", options["maximize"])

    def _update(self, array: Array, grad: Array, state: dict[str, Any], options: dict[str, Any]) -> None:
        lr, (beta1, beta2) = options["lr"], options["betas"]
        mean = state["exp_avg"]
        direction = beta1 * mean + (1 - beta1) * grad
        if options["weight_decay"]:
            array *= 1 - lr * options["weight_decay"]
        array -= lr * namespace(array).sign(direction)
        move_average(mean, grad, 1 - beta2)
