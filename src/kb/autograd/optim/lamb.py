"""LAMB: Adam's direction for each tensor, rescaled to the tensor's own length.

    m <- β1 m + (1 - β1) g,   v <- β2 v + (1 - β2) g²
    r = m / (1 - β1^t) / (√(v / (1 - β2^t)) + eps) + weight_decay θ
    θ <- θ - lr · (‖θ‖ / ‖r‖) · r

Every tensor moves by the share lr of its length, whatever its gradients: a rate that many layers can share when
batches, and so rates, are very large. Unusual: a tensor of zeros, or one without a direction, has no ratio; 1 stands
for it, as in most implementations, since a bias that starts at 0 would else stay there. Decay is inside of r, so it
takes part in the ratio; φ, a function of ‖θ‖ that the paper leaves open, is the identity.

Source: You et al. 2020, Large Batch Optimization for Deep Learning: Training BERT in 76 minutes, algorithm 2.
Symbols: θ one tensor of parameters, g its gradient, m and v first and second moment, t number of the step, from 1.
"""

from typing import Any

from kb.autograd.backend import Array, namespace
from kb.autograd.optim.averages import move_average, move_square_average
from kb.autograd.optim.optimizer import Optimizer
from kb.autograd.optim.options import require_flag, require_number, require_numbers


class LAMB(Optimizer):
    """LAMB, as its paper's algorithm 2 has it; torch 2.13 has none.

    Args:
        params: Parameters, or groups of them; see :class:`Optimizer`. Each tensor is a layer of the paper.
        lr: Share of a tensor's length that it moves in a step.
        betas: Shares of the two averages that last a step.
        eps: Added to the root mean square.
        weight_decay: Times the parameter, added to Adam's direction before that is rescaled.
        maximize: Whether to climb.

    Raises:
        TypeError, ValueError: as :class:`Optimizer`.
    """

    keeps = ("step", "exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 1e-2,
        *,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "maximize": maximize})

    def _check_options(self, options: dict[str, Any]) -> None:
        for name in ("lr", "eps", "weight_decay"):
            require_number(name, options[name])
        require_numbers("betas", options["betas"], 2, least=0.0, below=1.0)
        require_flag("maximize", options["maximize"])

    def _update(self, array: Array, grad: Array, state: dict[str, Any], options: dict[str, Any]) -> None:
        xp = namespace(array)
        beta1, beta2 = options["betas"]
        state["step"] += 1
        mean, mean_square = state["exp_avg"], state["exp_avg_sq"]
        move_average(mean, grad, 1 - beta1)
        move_square_average(mean_square, grad, beta2)
        root = xp.sqrt(mean_square)
        root /= (1 - beta2 ** state["step"]) ** 0.5
        root += options["eps"]
        direction = mean / (1 - beta1 ** state["step"])
        direction /= root
        direction += options["weight_decay"] * array
        length, way = _length(array), _length(direction)
        ratio = length / way if length > 0 and way > 0 else 1.0
        array -= options["lr"] * ratio * direction


def _length(array: Array) -> float:
    xp = namespace(array)
    return float(xp.sqrt(xp.sum(array * array)))
