"""The gated feed-forward network of Llama: down(silu(gate(x)) · up(x)).

Source: Shazeer 2020, GLU Variants Improve Transformer, equation 6 (FFN_SwiGLU, no bias).
Shapes: D model width, F inner width; ``...`` any leading axes.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Names as in the `hidden_act` of Hugging Face configurations.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
}


def swiglu_loop(x_D: Tensor, gate_FD: Tensor, up_FD: Tensor, down_DF: Tensor) -> Tensor:
    """Reference: one token [D], one inner unit at a time; silu(a) = a / (1 + exp(-a)).

    Raises:
        ValueError: the shapes are not [D], [F, D], [F, D] and [D, F].
    """
    (width,), inner = x_D.shape, gate_FD.shape[0]
    if gate_FD.shape != (inner, width) or up_FD.shape != (inner, width) or down_DF.shape != (width, inner):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (x_D, gate_FD, up_FD, down_DF))
        raise ValueError(f"wanted x [D], gate and up [F, D] and down [D, F], got {shapes}")
    out = torch.zeros_like(x_D)
    for f in range(inner):
        a = gate_FD[f] @ x_D
        # Not 1 / (1 + exp(-a)): the exponential overflows far below 0, and its gradient with it.
        out = out + down_DF[:, f] * (a * torch.sigmoid(a) * (up_FD[f] @ x_D))
    return out


class SwiGLU(nn.Module):
    """Gated feed-forward network; the three matrices are named as in Hugging Face's Llama.

    Args:
        width: D.
        inner: F.
        bias: Whether the three projections have one.
        activation: A key of :data:`ACTIVATIONS`; "silu" is SwiGLU proper, "gelu" GEGLU.

    Raises:
        ValueError: the activation is not known.
    """

    def __init__(self, width: int, inner: int, *, bias: bool = False, activation: str = "silu") -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation {activation!r} is not known; wanted one of {', '.join(ACTIVATIONS)}")
        self.activation = ACTIVATIONS[activation]
        self.gate_proj = nn.Linear(width, inner, bias=bias)
        self.up_proj = nn.Linear(width, inner, bias=bias)
        self.down_proj = nn.Linear(inner, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] to [..., D]."""
        out: Tensor = self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x))
        return out
