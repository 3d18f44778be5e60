"""Linear layers whose products are compiled here, with all that stands around a product done on the way.

A step of a serving engine multiplies with each weight once, for as few rows as sequences decode together. So what
counts is that weights come from memory in long runs, and that nothing is done twice: several layers of one input are
one product, and the norm before it, silu of the gate and the residual stream after it are part of it. Rows are worked
on 8 at a time: up to 8 cost what 8 cost, and 9 what 16 do.

Unusual: made for AVX-512, on whose 32 registers of 16 numbers the kernel counts; elsewhere it is right and slow, which
``kb.nn.processor`` knows. It needs numba, so it is imported only where it is used. Inference only: no gradient flows
through it, and the packed weights are no parameters.

Shapes: M rows, K inputs, N outputs of all layers, P panels, J columns of a panel; ``...`` any leading axes.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.nn.compiled import use_torch_threads
from kb.nn.norms import RMSNorm
from kb.nn.packed_linear import Packed
from kb.nn.panel_linear_numba import product
from kb.nn.tile_product import WIDTH

_NONE_K, _NONE_MN = np.empty(0, np.float32), np.empty((0, 0), np.float32)


def fits_panels(linear: nn.Linear) -> bool:
    """Whether :class:`PanelLinear` takes this layer."""
    weight = linear.weight
    return weight.dtype == torch.float32 and weight.device.type == "cpu" and weight.numel() > 0


def panel_linear_reference(
    x: Tensor,
    linears: Sequence[nn.Linear],
    *,
    norm: RMSNorm | None = None,
    gated: bool = False,
    add: Tensor | None = None,
) -> Tensor:
    """Reference: what :class:`PanelLinear` computes, one step after the other in torch."""
    x = x if norm is None else norm(x)
    outs = [linear(x) for linear in linears]
    out = F.silu(outs[0]) * outs[1] if gated else torch.cat(outs, dim=-1)
    return out if add is None else out + add


class PanelLinear(Packed):
    """One or several float32 layers of one input on the CPU, their outputs side by side.

    Args:
        linears: The layers; they are not changed.
        norm: Goes over the input first.
        gated: Whether the result is silu(first layer) times the second one, of two equally wide ones.

    Raises:
        ValueError: a layer is not float32 on the CPU, or layers and norm do not fit each other.
    """

    def __init__(self, *linears: nn.Linear, norm: RMSNorm | None = None, gated: bool = False) -> None:
        super().__init__()
        shapes = [tuple(linear.weight.shape) for linear in linears]
        if not linears or not all(map(fits_panels, linears)):
            kinds = ", ".join(f"{linear.weight.dtype} on {linear.weight.device}" for linear in linears)
            raise ValueError(f"wanted layers of float32 on a CPU with at least one weight, got {kinds or 'none'}")
        if len({inputs for _, inputs in shapes}) > 1 or (gated and (len(shapes) != 2 or shapes[0] != shapes[1])):
            raise ValueError(f"layers of weights {shapes} do not have one input, or are not a gate and its equal")
        self.in_features = linears[0].in_features
        self.out_features = linears[0].out_features if gated else sum(outputs for outputs, _ in shapes)
        if norm is not None:
            _require("norm.weight", norm.weight, (self.in_features,))
            if not (norm.eps > 0 and math.isfinite(norm.eps)):
                raise ValueError(f"norm.eps must be a positive number, got {norm.eps}")
        self.own = 2 if gated else 1  # panels that a column of the result takes
        with torch.no_grad():
            weights = [linear.weight.detach() for linear in linears]
            biases = [x.weight.new_zeros(x.out_features) if x.bias is None else x.bias.detach() for x in linears]
            if not gated:
                weights, biases = [torch.cat(weights)], [torch.cat(biases)]
            self._bias_N = None if gated or all(x.bias is None for x in linears) else biases[0].numpy()
            self._panels_PKJ = _panels(weights)
            self._bias_PJ = _panels([bias[:, None] for bias in biases])[:, 0]
            self._gain_K = _NONE_K if norm is None else norm.weight.detach().numpy().copy()
        self._eps = np.float32(0 if norm is None else norm.eps)

    def forward(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        """[..., K] to [..., N].

        Args:
            x: Float32 on the CPU.
            add: [..., N], added to the result; not for gated layers.

        Raises:
            ValueError: a shape, dtype or device does not fit.
        """
        shape, add_MN = (*x.shape[:-1], self.out_features), None
        _require("x", x, (*x.shape[:-1], self.in_features))
        if add is not None:
            _require("add", add, shape)
            if self.own == 2:
                raise ValueError("add is not for gated layers")
            add_MN = add.detach().reshape(-1, self.out_features).contiguous().numpy()
        x_MK = x.detach().reshape(x.shape[:-1].numel(), self.in_features).contiguous().numpy()
        return torch.from_numpy(self.multiply(x_MK, add_MN)).view(shape)

    def multiply(self, x_MK: np.ndarray, add_MN: np.ndarray | None = None) -> np.ndarray:
        """The same of contiguous arrays, [M, K] to [M, N], which are not checked: each layer of a step comes here."""
        out_MN = np.empty((len(x_MK), self.out_features), np.float32)
        if add_MN is None:
            add_MN = _NONE_MN
        elif self._bias_N is not None:
            add_MN = add_MN + self._bias_N
        threads = use_torch_threads()
        product(x_MK, self._gain_K, self._eps, self._panels_PKJ, self._bias_PJ, add_MN, out_MN, self.own, threads)
        return out_MN


def _panels(sides: list[Tensor]) -> np.ndarray:
    """Of weights [N, K] of each side: [P, K, J], the last ones filled up with 0, those of all sides by turns."""
    padded = [F.pad(rows_NK, (0, 0, 0, -len(rows_NK) % WIDTH)) for rows_NK in sides]
    panels = [rows_NK.unflatten(0, (-1, WIDTH)).transpose(1, 2) for rows_NK in padded]
    out: np.ndarray = torch.stack(panels, 1).flatten(0, 1).contiguous().numpy()
    return out


def _require(name: str, x: Tensor, shape: tuple[int, ...]) -> None:
    if x.shape != shape or x.dtype != torch.float32 or x.device.type != "cpu":
        raise ValueError(f"{name} must be float32 {shape} on the CPU, got {x.dtype} {tuple(x.shape)} on {x.device}")
