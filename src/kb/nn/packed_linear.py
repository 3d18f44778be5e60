"""Linear layers whose weights lie in memory in the order in which the processor's kernel reads them.

``torch.nn.functional.linear`` gets the weight as a plain matrix and calls MKL, which knows nothing of AVX-512 on
processors that are not Intel's. oneDNN, which torch carries as well, has kernels for all of them, and a blocked weight
layout that it would otherwise have to make at every call: here it is made once. Unusual: these are the operators that
torch's own compiler emits for a frozen linear layer; they have no public name, so where a build of torch lacks them,
and for everything but float32 on a CPU, the layer is left as it is.

A feed-forward network is packed as a whole: its activation and its product run inside the matrix products, and many
tokens go through it some hundred at a time, so that the wide vectors between its layers stay in the processor's cache.

Inference only: no gradient flows through packed weights.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.nn.feed_forward import SwiGLU

_ROWS_EXPECTED = 512  # a hint to oneDNN; layouts for one row alone are slower for many
_TILE = 512  # rows at a time; 512 rows of a width of 1,536 are 3 MB


class Packed(nn.Module):
    """A layer whose weights are no parameters any more: a ``state_dict`` does not hold them."""


class PackedLinear(Packed):
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
        return self.then(x, "none")

    def then(self, x: Tensor, activation: str) -> Tensor:
        """The same, followed by an activation by oneDNN's name, "swish" for silu."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, activation, [], "")
        return out

    def times(self, x: Tensor, factor: Tensor) -> Tensor:
        """The same, multiplied by ``factor``, [..., out_features]."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, factor, self.packed, self.bias, "mul")
        return out


class PackedSwiGLU(nn.Module):
    """The same function as a float32 :class:`~kb.nn.SwiGLU` with silu on the CPU.

    Args:
        ffn: The network to pack; it is not changed.

    Raises:
        ValueError: it has another activation, or its layers cannot be packed.
    """

    def __init__(self, ffn: SwiGLU) -> None:
        super().__init__()
        if ffn.activation is not F.silu:
            raise ValueError("only a feed-forward network with silu can be packed as a whole")
        self.gate_proj, self.up_proj = PackedLinear(ffn.gate_proj), PackedLinear(ffn.up_proj)
        self.down_proj = PackedLinear(ffn.down_proj)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] to [..., D]."""
        rows = x.reshape(-1, x.shape[-1])
        tiles = [self._tile(tile) for tile in rows.split(_TILE)]
        return (tiles[0] if len(tiles) == 1 else torch.cat(tiles)).reshape(x.shape)

    def _tile(self, x: Tensor) -> Tensor:
        return self.down_proj(self.up_proj.times(x, self.gate_proj.then(x, "swish")))


def can_pack(linear: nn.Linear) -> bool:
    """Whether :class:`PackedLinear` takes this layer."""
    has_kernels = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    weight = linear.weight
    return has_kernels and weight.dtype == torch.float32 and weight.device.type == "cpu"


def pack_linears(model: nn.Module) -> int:
    """Replace every ``nn.Linear`` of a model that can be packed, in place, and every SwiGLU; returns how many layers.

    The plain weights are let go, but for one that something else holds as well, such as an embedding tied to it.
    """
    packed = 0
    waiting = [model]
    while waiting:
        parent = waiting.pop()
        for name, child in list(parent.named_children()):
            if type(child) is SwiGLU and child.activation is F.silu and can_pack(child.gate_proj):
                setattr(parent, name, PackedSwiGLU(child))
                packed += 3
            elif type(child) is nn.Linear and can_pack(child):
                setattr(parent, name, PackedLinear(child))
                packed += 1
            else:
                waiting.append(child)
    return packed
