"""A linear layer whose weight lies in memory in the order in which the processor's kernel reads it.

``torch.nn.functional.linear`` gets the weight as a plain matrix and calls MKL, which knows nothing of AVX-512 on
processors that are not Intel's. oneDNN, which torch carries as well, has kernels for all of them, and a blocked weight
layout that it would otherwise have to make at every call: here it is made once. Unusual: these are the operators that
torch's own compiler emits for a frozen linear layer; they have no public name, so where a build of torch lacks them,
and for everything but float32 on a CPU, the layer is left as it is.

Inference only: no gradient flows through the packed weight.
"""

import torch
from torch import Tensor, nn

_ROWS_EXPECTED = 512  # a hint to oneDNN; layouts for one row alone are slower for many


class PackedLinear(nn.Module):
    """The same function as a float32 ``nn.Linear`` on the CPU, x W^T + b.

    Args:
        linear: The layer to pack; it is not changed.

    Raises:
        ValueError: the layer is not float32 on the CPU, or this build of torch has no such kernel.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        if not can_pack(linear):
            weight = linear.weight
            raise ValueError(f"only float32 on a CPU with oneDNN can be packed, got {weight.dtype} on {weight.device}")
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        with torch.no_grad():
            self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _ROWS_EXPECTED)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features]."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return out


def can_pack(linear: nn.Linear) -> bool:
    """Whether :class:`PackedLinear` takes this layer."""
    has_kernels = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    weight = linear.weight
    return has_kernels and weight.dtype == torch.float32 and weight.device.type == "cpu"


def pack_linears(model: nn.Module) -> int:
    """Replace every ``nn.Linear`` of a model that can be packed, in place; returns how many were.

    The plain weights are let go, but for one that something else holds as well, such as an embedding tied to it.
    """
    packed = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and can_pack(child):
                setattr(parent, name, PackedLinear(child))
                packed += 1
    return packed
