"""Adam and AdamW: the mean gradient of late, divided by the root mean square of late.

    g <- g + weight_decay θ  (Adam);   θ <- θ - lr weight_decay θ  (AdamW)
    m <- β1 m + (1 - β1) g,   v <- β2 v + (1 - β2) g²
    v' = max of all v so far  (amsgrad);   v' = v  (else)
    θ <- θ - lr · m / (1 - β1^t) / (√(v' / (1 - β2^t)) + eps)

Both averages start at 0, and the two quotients undo the bias of that. The first step is therefore lr g / (|g| + eps),
of size lr whatever the gradient. Unusual: amsgrad takes its maximum before the bias is undone, as torch does; and
AdamW's decay is multiplied by lr, so a schedule scales it too.

Sources: Kingma and Ba 2015, Adam, algorithm 1; Reddi, Kale and Kumar 2018, On the Convergence of Adam and Beyond,
algorithm 2; Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization, algorithm 2.
Symbols: θ parameters, g gradient, m and v its first and second moment, t number of the step, from 1.
"""

from typing import Any

from kb.autograd.backend import Array, namespace
from kb.autograd.optim.averages import move_average, move_square_average
from kb.autograd.optim.optimizer import Optimizer
from kb.autograd.optim.options import require_flag, require_number, require_numbers


class Adam(Optimizer):
    """Adam as ``torch.optim.Adam``.

    Args:
        params: Parameters, or groups of them; see :class:`Optimizer`.
        lr: Step size.
        betas: Shares of the two averages that last a step.
        eps: Added to the root mean square.
        weight_decay: Added to the gradient, times the parameter.
        amsgrad: Whether to divide by the largest mean square so far.
        maximize: Whether to climb.

    Raises:
        TypeError, ValueError: as :class:`Optimizer`.
    """

    keeps = ("step", "exp_avg", "exp_avg_sq")
    may_keep = ("max_exp_avg_sq",)
    decouples = False  # whether weight decay is kept out of the averages

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "amsgrad": amsgrad, "maximize": maximize})

    def _check_options(self, options: dict[str, Any]) -> None:
        for name in ("lr", "eps", "weight_decay"):
            require_number(name, options[name])
        require_numbers("betas", options["betas"], 2, least=0.0, below=1.0)
        require_flag("amsgrad", options["amsgrad"])
        require_flag("maximize", options["maximize"])

    def _update(self, array: Array, grad: Array, state: dict[str, Any], options: dict[str, Any]) -> None:
        xp = namespace(array)
        lr, (beta1, beta2) = options["lr"], options["betas"]
        state["step"] += 1
        if options["weight_decay"]:
            if self.decouples:
                array *= 1 - lr * options["weight_decay"]
            else:
                grad = grad + options["weight_decay"] * array
        mean, mean_square = state["exp_avg"], state["exp_avg_sq"]
        move_average(mean, grad, 1 - beta1)
        move_square_average(mean_square, grad, beta2)
        if options["amsgrad"]:
            largest = self._buffer(state, "max_exp_avg_sq", array)
            largest[...] = xp.maximum(largest, mean_square)
            mean_square = largest
        root = xp.sqrt(mean_square)
        root /= (1 - beta2 ** state["step"]) ** 0.5
        root += options["eps"]
        change = lr / (1 - beta1 ** state["step"]) * mean
        change /= root
        array -= change


class AdamW(Adam):
    """Adam with weight decay that does not pass through the averages, as ``torch.optim.AdamW``.

    Args:
        params: Parameters, or groups of them; see :class:`Optimizer`.
        lr: Step size.
        betas: Shares of the two averages that last a step.
        eps: Added to the root mean square.
        weight_decay: Times lr, the share of each parameter that is taken off in a step.
        amsgrad: Whether to divide by the largest mean square so far.
        maximize: Whether to climb.

    Raises:
        TypeError, ValueError: as :class:`Optimizer`.
    """

    decouples = True

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
