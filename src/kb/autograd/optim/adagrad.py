"""Adagrad: each number has a step size of its own, which shrinks with the squares of all its gradients so far.

    g <- g + weight_decay θ
    s <- s + g²                                (s starts at initial_accumulator_value)
    θ <- θ - lr / (1 + (t - 1) lr_decay) · g / (√s + eps)

Unusual: a group may have an initial_accumulator_value of its own, which torch passes over.

Source: Duchi, Hazan and Singer 2011, Adaptive Subgradient Methods for Online Learning, figure 1 with diagonal matrices;
eps stands outside of the root.
Symbols: θ parameters, g gradient, s sum of squares, t number of the step, from 1.
"""

from typing import Any

from kb.autograd.backend import Array, namespace
from kb.autograd.optim.optimizer import Optimizer
from kb.autograd.optim.options import require_flag, require_number


class Adagrad(Optimizer):
    """Adagrad as ``torch.optim.Adagrad``.

    Args:
        params: Parameters, or groups of them; see :class:`Optimizer`.
        lr: Step size.
        lr_decay: How fast it falls with the steps, whatever the gradients.
        weight_decay: Added to the gradient, times the parameter.
        initial_accumulator_value: What the sum of squares starts from.
        eps: Added to the root of the sum.
        maximize: Whether to climb.

    Raises:
        TypeError, ValueError: as :class:`Optimizer`.
    """

    keeps = ("step", "sum")

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay}
        options["initial_accumulator_value"] = initial_accumulator_value
        super().__init__(params, {**options, "maximize": maximize})

    def _check_options(self, options: dict[str, Any]) -> None:
        for name in ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"):
            require_number(name, options[name])
        require_flag("maximize", options["maximize"])

    def _start(self, array: Array, options: dict[str, Any]) -> dict[str, Any]:
        xp = namespace(array)
        return {"step": 0, "sum": xp.full_like(array, options["initial_accumulator_value"])}

    def _update(self, array: Array, grad: Array, state: dict[str, Any], options: dict[str, Any]) -> None:
        state["step"] += 1
        if options["weight_decay"]:
            grad = grad + options["weight_decay"] * array
        squares = state["sum"]
        squares += grad * grad
        root = namespace(array).sqrt(squares)
        root += options["eps"]
        change = options["lr"] / (1 + (state["step"] - 1) * options["lr_decay"]) * grad
        change /= root
        array -= change
