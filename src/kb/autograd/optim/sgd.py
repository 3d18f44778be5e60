"""Stochastic gradient descent, with momentum.

    g <- g + weight_decay θ
    b <- momentum b + (1 - dampening) g        (in the first step b <- g)
    d  = g + momentum b  (Nesterov), b  (momentum), g  (neither)
    θ <- θ - lr d

Unusual: the velocity b holds gradients, not steps as in the papers, so a new lr acts at once on all that b remembers;
and dampening leaves the first gradient whole. Both are torch's choice.

Sources: Robbins and Monro 1951; Polyak 1964 (momentum); Nesterov 1983, in the form of Sutskever et al. 2013, On the
Importance of Initialization and Momentum in Deep Learning, equations 3 and 4.
Symbols: θ parameters, g gradient, b momentum buffer.
"""

from typing import Any

from kb.autograd.backend import Array, copy
from kb.autograd.optim.optimizer import Optimizer
from kb.autograd.optim.options import require_flag, require_number


class SGD(Optimizer):
    """Gradient descent as ``torch.optim.SGD``.

    Args:
        params: Parameters, or groups of them; see :class:`Optimizer`.
        lr: Step size.
        momentum: Share of the velocity that lasts a step.
        dampening: Share of each gradient that is kept out of the velocity.
        weight_decay: Added to the gradient, times the parameter.
        nesterov: Whether to look a step of the velocity ahead.
        maximize: Whether to climb.

    Raises:
        TypeError, ValueError: as :class:`Optimizer`; or Nesterov without momentum, or with dampening.
    """

    may_keep = ("momentum_buffer",)

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**options, "nesterov": nesterov, "maximize": maximize})

    def _check_options(self, options: dict[str, Any]) -> None:
        for name in ("lr", "momentum", "weight_decay"):
            require_number(name, options[name])
        require_number("dampening", options["dampening"], least=float("-inf"))
        require_flag("nesterov", options["nesterov"])
        require_flag("maximize", options["maximize"])
        if options["nesterov"] and (options["momentum"] == 0 or options["dampening"] != 0):
            raise ValueError(
                "nesterov wants a momentum above 0 and no dampening, "
                f"got momentum {options['momentum']} and dampening {options['dampening']}"
            )

    def _update(self, array: Array, grad: Array, state: dict[str, Any], options: dict[str, Any]) -> None:
        momentum = options["momentum"]
        if options["weight_decay"]:
            grad = grad + options["weight_decay"] * array
        if momentum:
            velocity = state.get("momentum_buffer")
            if velocity is None:
                velocity = state["momentum_buffer"] = copy(grad)
            else:
                velocity *= momentum
                velocity += grad if not options["dampening"] else (1 - options["dampening"]) * grad
            grad = grad + momentum * velocity if options["nesterov"] else velocity
        array -= options["lr"] * grad
