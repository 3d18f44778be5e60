"""What fine-tuning did to the matrices: the singular values of each update, and the update cut to a rank.

Source: Hu et al. 2021, LoRA, section 7 (the subspaces of the update); the cut is the best of its rank in Frobenius'
norm (Eckart and Young 1936).
Shapes: I inputs, O outputs, K singular values.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from kb.arguments import is_number, require_count


def update_spectra(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Singular values [K] of the update of every matrix, largest first.

    Raises:
        ValueError: the two do not hold the same names and shapes, or hold no matrix.
    """
    updates = _updates(before, after)
    return {name: torch.linalg.svdvals(update_OI) for name, update_OI in updates.items()}


def rank_of_share(values_K: Tensor, share: float) -> int:
    """How many of the largest singular values hold this share of the sum of their squares.

    Raises:
        ValueError: the share is not above 0 and at most 1, or the values are no finite [K] with a positive one.
    """
    if not is_number(share) or not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share!r}")
    if values_K.ndim != 1 or not bool(values_K.isfinite().all() and (values_K > 0).any()):
        raise ValueError("values must be [K], finite, with a positive one")
    energy_K = values_K.double().square().cumsum(0)
    return int((energy_K < share * energy_K[-1]).sum()) + 1


def with_rank(before: Mapping[str, Tensor], after: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """The tensors after fine-tuning, but the update of every matrix replaced by the best of this rank.

    What is no matrix stays as it is before fine-tuning with ``rank`` 0, and as it is after it otherwise.

    Raises:
        ValueError: the rank is negative, or the two do not fit each other.
    """
    require_count("rank", rank, least=0)
    updates = _updates(before, after)
    made = dict(before if rank == 0 else after)
    for name, update_OI in updates.items():
        u_OK, values_K, vh_KI = torch.linalg.svd(update_OI, full_matrices=False)
        cut_OI = (u_OK[:, :rank] * values_K[:rank]) @ vh_KI[:rank]
        made[name] = (before[name].to(cut_OI.dtype) + cut_OI).to(before[name].dtype)
    return made


def _updates(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if before.keys() != after.keys() or any(before[name].shape != after[name].shape for name in before):
        raise ValueError("before and after must hold the same names and shapes")
    matrices = [name for name in before if before[name].ndim == 2]
    found = {name: _wide(after[name]) - _wide(before[name]) for name in matrices}
    if not found:
        raise ValueError("before and after hold no matrix")
    return found


def _wide(tensor: Tensor) -> Tensor:
    """Detached, in float32 at least: there is no singular value decomposition of 16 bits."""
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32))
