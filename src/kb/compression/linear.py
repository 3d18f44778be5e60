"""Linear layers that keep integers: weights alone in 4 or 8 bits, or weights and activations in 8.

Weight-only: codes are turned back into floats at every call, and the product is a float one; what is saved is memory,
and time where reading weights is what takes the time. Int8: the product itself is over integers, and one scale a token
times one a row of the weight turns the sums back. LLM.int8(): the few inputs with outliers go through a float product,
all others through the int8 one. Unusual: the integer product runs in float64, which holds these sums exactly, as it is
far faster on a CPU than torch's product of int32.

Sources: Dettmers et al. 2022, LLM.int8(), sections 3.1 and 3.2; Xiao et al. 2023, SmoothQuant, section 2 and figure 3.
Shapes: N tokens, O outputs, I inputs.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.arguments import is_number
from kb.compression.grid import Grid, QuantizedTensor, decode, quantize, require_matrix, spread
from kb.compression.packing import pack_int4, unpack_int4

INT8_ROWS = Grid(8, "symmetric", "row", torch.float32)
_PER = ("token", "tensor")


class WeightOnlyLinear(nn.Module):
    """A linear layer whose weight is kept as codes, two a byte up to 4 bits, and dequantized at every call.

    Args:
        quantized: The weight.
        bias: [O], or None.

    Raises:
        ValueError: the bias is not [O], or codes of at most 4 bits have an odd number of inputs.
    """

    codes: Tensor
    scale: Tensor
    offset: Tensor
    bias: Tensor | None

    def __init__(self, quantized: QuantizedTensor, bias: Tensor | None = None) -> None:
        super().__init__()
        outputs, self.in_features = quantized.codes.shape
        if bias is not None and bias.shape != (outputs,):
            raise ValueError(f"bias must be [{outputs}], got {tuple(bias.shape)}")
        self.grid = quantized.grid
        self.packs = quantized.grid.bits <= 4
        self.register_buffer("codes", pack_int4(quantized.codes) if self.packs else quantized.codes)
        self.register_buffer("scale", quantized.scale.to(self.grid.scale_dtype))
        whole = self.grid.kind == "affine"  # zero-points are integers
        self.register_buffer("offset", quantized.offset.to(torch.uint8 if whole else self.grid.scale_dtype))
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    @property
    def weight(self) -> Tensor:
        """The dequantized weight, made anew at each access, float32 [O, I]."""
        codes = unpack_int4(self.codes, signed=self.grid.kind == "symmetric") if self.packs else self.codes
        scale, offset = (spread(part.float(), self.in_features) for part in (self.scale, self.offset))
        return decode(codes.float(), scale, offset, self.grid)

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] to [..., O], in the dtype of ``x``."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


@dataclass(frozen=True)
class QuantizedInputs:
    """Activations as int8 codes [N, I] and a float32 scale [N, 1], or [1, 1] of all tokens."""

    codes: Tensor
    scale: Tensor


def quantize_inputs(x_NI: Tensor, *, per: str = "token") -> QuantizedInputs:
    """Round activations to int8 by their largest absolute value.

    Args:
        x_NI: Finite numbers [N, I].
        per: "token" for a scale each, "tensor" for one scale.

    Raises:
        ValueError: it is no such matrix, or ``per`` is neither.
    """
    if per not in _PER:
        raise ValueError(f"per must be one of {', '.join(_PER)}, got {per!r}")
    share = "row" if per == "token" else "tensor"
    quantized = quantize(x_NI, Grid(8, "symmetric", share, torch.float32))
    return QuantizedInputs(quantized.codes, quantized.scale)


def integer_product(a_NI: Tensor, b_OI: Tensor) -> Tensor:
    """The product a bᵀ of int8 codes, int32 [N, O], exact.

    Raises:
        ValueError: shapes do not fit, or the sums may not fit into int32.
    """
    if a_NI.dtype != torch.int8 or b_OI.dtype != torch.int8 or a_NI.dim() != 2 or a_NI.shape[1:] != b_OI.shape[1:]:
        got = f"{tuple(a_NI.shape)} {a_NI.dtype} and {tuple(b_OI.shape)} {b_OI.dtype}"
        raise ValueError(f"a and b must be int8 [N, I] and [O, I], got {got}")
    if a_NI.shape[1] > 2**31 // 128**2:
        raise ValueError(f"a has {a_NI.shape[1]} inputs, whose sums may not fit into int32")
    return (a_NI.double() @ b_OI.double().T).int()


def int8_linear(x_NI: Tensor, weight_OI: Tensor, *, per: str = "token") -> Tensor:
    """The product x Wᵀ with both factors rounded to int8, the weight by rows; float32 [N, O].

    Raises:
        ValueError: as for :func:`quantize_inputs`, or shapes do not fit.
    """
    x, weight = quantize_inputs(x_NI, per=per), quantize(weight_OI, INT8_ROWS)
    return integer_product(x.codes, weight.codes).float() * x.scale * weight.scale.T


def int8_linear_loop(x_NI: Tensor, weight_OI: Tensor) -> Tensor:
    """The same with a scale a token by explicit loops over numbers; float64 [N, O]."""
    out = torch.zeros(len(x_NI), len(weight_OI), dtype=torch.float64)
    for n, token in enumerate(x_NI.tolist()):
        token_scale = max(abs(value) for value in token) / 127 or 1.0
        for o, row in enumerate(weight_OI.tolist()):
            row_scale = max(abs(value) for value in row) / 127 or 1.0
            total = 0
            for value, weight in zip(token, row, strict=True):
                total += round(value / token_scale) * round(weight / row_scale)
            out[n, o] = total * token_scale * row_scale
    return out


def outlier_linear(x_NI: Tensor, weight_OI: Tensor, *, threshold: float = 6.0) -> tuple[Tensor, Tensor]:
    """LLM.int8(): inputs that reach the threshold in any token by a float product, all others by int8.

    Returns:
        The output [N, O], and which inputs went through the float product, bool [I].

    Raises:
        ValueError: the threshold is not a positive number, or as for :func:`int8_linear`.
    """
    require_matrix("x", x_NI)
    if not is_number(threshold) or threshold <= 0:
        raise ValueError(f"threshold must be a positive number, got {threshold!r}")
    if x_NI.shape[1:] != weight_OI.shape[1:]:
        raise ValueError(f"x and weight must be [N, I] and [O, I], got {x_NI.shape} and {weight_OI.shape}")
    outlier_I = (x_NI.abs() >= threshold).any(0)
    out_NO = x_NI[:, outlier_I].float() @ weight_OI[:, outlier_I].float().T
    if not bool(outlier_I.all()):
        out_NO = out_NO + int8_linear(x_NI[:, ~outlier_I], weight_OI[:, ~outlier_I])
    return out_NO, outlier_I
