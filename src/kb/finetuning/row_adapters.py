"""One batch, a different adapter in every row: what a server of many fine-tuned models computes.

The product with W is shared by all rows; only the thin products with A and B differ. Servers do these with a kernel
that gathers, here it is a batched product over gathered matrices.

Sources: Chen et al. 2023, Punica (the kernel); Sheng et al. 2023, S-LoRA (many adapters on one base).
Shapes: B rows, T tokens, I inputs, O outputs, R rank, N adapters.
"""

import torch
from torch import Tensor


def lora_by_row_loop(x_BTI: Tensor, a_NRI: Tensor, b_NOR: Tensor, index_B: Tensor, scaling: float) -> Tensor:
    """Reference: one row after the other, [B, T, O]."""
    _check(x_BTI, a_NRI, b_NOR, index_B)
    rows = [
        scaling * (x_TI @ a_NRI[n].T @ b_NOR[n].T) if n >= 0 else x_TI.new_zeros(len(x_TI), b_NOR.shape[1])
        for x_TI, n in zip(x_BTI, index_B.tolist(), strict=True)
    ]
    return torch.stack(rows)


def lora_by_row(x_BTI: Tensor, a_NRI: Tensor, b_NOR: Tensor, index_B: Tensor, scaling: float) -> Tensor:
    """S B A x with each row's own A and B, to be added to W x.

    Args:
        x_BTI: The inputs.
        a_NRI: A of all adapters.
        b_NOR: B of all adapters.
        index_B: int64, the adapter of each row; -1 for none.
        scaling: s.

    Returns:
        [B, T, O].

    Raises:
        ValueError: the shapes do not fit, or an index is outside -1 to N - 1.
    """
    _check(x_BTI, a_NRI, b_NOR, index_B)
    if not len(a_NRI):  # no adapter is loaded, so that every row is the base's
        return x_BTI.new_zeros(*x_BTI.shape[:2], b_NOR.shape[1])
    chosen_B = index_B.clamp(min=0)
    low_BTR = torch.bmm(x_BTI, a_NRI[chosen_B].mT)
    out_BTO = scaling * torch.bmm(low_BTR, b_NOR[chosen_B].mT)
    return torch.where(index_B[:, None, None] >= 0, out_BTO, 0.0)


def _check(x_BTI: Tensor, a_NRI: Tensor, b_NOR: Tensor, index_B: Tensor) -> None:
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (x_BTI, a_NRI, b_NOR, index_B))
    fits = x_BTI.ndim == a_NRI.ndim == b_NOR.ndim == 3 and index_B.ndim == 1
    if not fits or (len(a_NRI), a_NRI.shape[1]) != (len(b_NOR), b_NOR.shape[2]):
        raise ValueError(f"wanted x [B, T, I], a [N, R, I], b [N, O, R] and index [B], got {shapes}")
    if x_BTI.shape[2] != a_NRI.shape[2] or len(index_B) != len(x_BTI):
        raise ValueError(f"wanted x [B, T, I], a [N, R, I], b [N, O, R] and index [B], got {shapes}")
    if index_B.dtype != torch.int64 or bool(((index_B < -1) | (index_B >= len(a_NRI))).any()):
        raise ValueError(f"index must be int64 in -1 to {len(a_NRI) - 1}, got {index_B}")
