"""Losses as modules; arguments, results and errors as of the functions in ``kb.autograd.losses``."""

from typing import Any

from kb.autograd import losses
from kb.autograd.losses.reduction import require_reduction
from kb.autograd.nn.module import Module


class Loss(Module):
    """Base of the losses."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        require_reduction(reduction, *(("batchmean",) if isinstance(self, KLDivLoss) else ()))
        self.reduction = reduction


class CrossEntropyLoss(Loss):
    """See :func:`kb.autograd.losses.cross_entropy`; ``weight`` is a buffer."""

    def __init__(
        self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ) -> None:
        super().__init__(reduction)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing
        self.weight: Any
        self.register_buffer("weight", weight)

    def forward(self, input: Any, target: Any) -> Any:  # noqa: A002 - torch's name
        """Logits [N, C, ...], and classes or probabilities."""
        return losses.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(Loss):
    """See :func:`kb.autograd.losses.nll_loss`; ``weight`` is a buffer."""

    def __init__(self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.ignore_index = ignore_index
        self.weight: Any
        self.register_buffer("weight", weight)

    def forward(self, input: Any, target: Any) -> Any:  # noqa: A002
        """Logarithms of probabilities [N, C, ...], and classes."""
        return losses.nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class L1Loss(Loss):
    """See :func:`kb.autograd.losses.l1_loss`."""

    def forward(self, input: Any, target: Any) -> Any:  # noqa: A002
        """Two tensors of one shape."""
        return losses.l1_loss(input, target, reduction=self.reduction)


class MSELoss(Loss):
    """See :func:`kb.autograd.losses.mse_loss`."""

    def forward(self, input: Any, target: Any) -> Any:  # noqa: A002
        """Two tensors of one shape."""
        return losses.mse_loss(input, target, reduction=self.reduction)


class HuberLoss(Loss):
    """See :func:`kb.autograd.losses.huber_loss`."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input: Any, target: Any) -> Any:  # noqa: A002
        """Two tensors of one shape."""
        return losses.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class SmoothL1Loss(Loss):
    """See :func:`kb.autograd.losses.smooth_l1_loss`."""

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: Any, target: Any) -> Any:  # noqa: A002
        """Two tensors of one shape."""
        return losses.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class BCEWithLogitsLoss(Loss):
    """See :func:`kb.autograd.losses.binary_cross_entropy_with_logits`; the weights are buffers."""

    def __init__(self, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self.weight: Any
        self.pos_weight: Any
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Any, target: Any) -> Any:  # noqa: A002
        """Logits and probabilities of one shape."""
        return losses.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class KLDivLoss(Loss):
    """See :func:`kb.autograd.losses.kl_div`."""

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, input: Any, target: Any) -> Any:  # noqa: A002
        """Logarithms of probabilities, and probabilities, of one shape."""
        return losses.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)
