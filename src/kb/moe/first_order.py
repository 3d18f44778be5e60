"""Backwards by hand that autograd is not to go through once more."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch


def first_order(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Make a gradient that keeps its graph an error, instead of one that may be wrong.

    ``torch.autograd.function.once_differentiable`` lets it pass wherever the gradient from above is a constant: what
    the backward takes from the forward then counts as constant too, and a penalty on gradients loses its part.
    """

    @wraps(backward)
    def checked(ctx: Any, *grads: Any) -> Any:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError("this backward by hand cannot be differentiated twice: take implementation='loop'")
        return backward(ctx, *grads)

    return checked
