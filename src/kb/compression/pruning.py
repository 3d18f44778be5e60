"""Pruning: which weights to drop, by size or by what they do to the output, anywhere or two of every four.

A mask is True where a weight stays. Magnitude keeps large weights; Wanda keeps a large |w| ‖x‖, the weight times the
norm of its input over calibration texts, compared within each row. 2:4 keeps the best two of every four neighbours,
which hardware can skip; anywhere-sparse matrices save time only on kernels made for them.

Sources: Han et al. 2015, Learning both Weights and Connections, section 3; Sun et al. 2024, Wanda, section 3 (equation
1); Mishra et al. 2021, Accelerating Sparse Deep Neural Networks (2:4 and how it is stored).
Shapes: O outputs, I inputs.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kb.arguments import is_number, require_count
from kb.compression.grid import require_matrix


def magnitude_mask(weight_OI: Tensor, sparsity: float) -> Tensor:
    """The largest |w| of a matrix, bool [O, I]; ``round(sparsity · O I)`` are dropped, of equals the earlier first.

    Raises:
        ValueError: the weight is no finite matrix, or the sparsity is not a share from 0 to 1.
    """
    require_matrix("weight", weight_OI)
    _require_share(sparsity)
    return _keep_best(weight_OI.detach().abs().reshape(1, -1), sparsity).view(weight_OI.shape)


def global_magnitude_masks(weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """The largest |w| of all matrices together: a layer of small weights loses more than its share.

    Raises:
        ValueError: there are no weights, or as for :func:`magnitude_mask`.
    """
    if not weights:
        raise ValueError("weights must hold at least one matrix, got none")
    for name, weight in weights.items():
        require_matrix(f"weights[{name!r}]", weight)
    _require_share(sparsity)
    sizes = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])
    kept = _keep_best(sizes[None], sparsity)[0].split([weight.numel() for weight in weights.values()])
    return {name: mask.view(weights[name].shape) for name, mask in zip(weights, kept, strict=True)}


def wanda_scores(weight_OI: Tensor, norm: Tensor) -> Tensor:
    """|w| ‖x‖, [O, I]: root of the squared error of the output if this weight alone is dropped.

    Args:
        weight_OI: [O, I].
        norm: Length of each input over all tokens of the calibration texts.

    Raises:
        ValueError: shapes do not fit.
    """
    require_matrix("weight", weight_OI)
    if norm.shape != weight_OI.shape[1:]:
        raise ValueError(f"norm must be [{weight_OI.shape[1]}], got {tuple(norm.shape)}")
    return weight_OI.detach().abs().double() * norm.double()


def row_mask(scores_OI: Tensor, sparsity: float) -> Tensor:
    """The best scores of each row, so that every output loses as many inputs: Wanda's way of comparing.

    Raises:
        ValueError: the scores are no finite matrix, or the sparsity is not a share from 0 to 1.
    """
    require_matrix("scores", scores_OI)
    _require_share(sparsity)
    return _keep_best(scores_OI, sparsity)


def semi_structured_mask(scores_OI: Tensor, *, kept: int = 2, of: int = 4) -> Tensor:
    """The best ``kept`` of every ``of`` neighbours in a row; of equals the later ones stay.

    Raises:
        ValueError: a row is not a whole number of such groups, or ``kept`` is not from 1 to ``of``.
    """
    require_matrix("scores", scores_OI)
    require_count("kept", kept)
    require_count("of", of)
    if kept > of or scores_OI.shape[1] % of:
        raise ValueError(f"cannot keep {kept} of every {of} in rows of {scores_OI.shape[1]}")
    return _keep_best(scores_OI.reshape(-1, of), (of - kept) / of).view(scores_OI.shape)


def semi_structured_mask_loop(scores_OI: Tensor, *, kept: int = 2, of: int = 4) -> Tensor:
    """The same, group by group."""
    mask = torch.zeros(scores_OI.shape, dtype=torch.bool)
    for row, scores in enumerate(scores_OI.tolist()):
        for start in range(0, len(scores), of):
            places = sorted(range(start, start + of), key=lambda place: (scores[place], place))
            for place in places[of - kept :]:
                mask[row, place] = True
    return mask


def compress_2_4(weight_OI: Tensor, mask_OI: Tensor) -> tuple[Tensor, Tensor]:
    """A 2:4 matrix as its kept values and where they stood: what a sparse tensor core reads.

    Returns:
        Values [O, I / 2], and 2-bit places within their four, four of them in a byte, uint8 [O, I / 8].

    Raises:
        ValueError: the mask does not keep two of every four, or a row is not a multiple of 8.
    """
    if mask_OI.dtype != torch.bool or mask_OI.shape != weight_OI.shape or weight_OI.shape[-1] % 8:
        raise ValueError(f"mask must be bool of the weight's shape, rows in eights, got {tuple(mask_OI.shape)}")
    fours = mask_OI.reshape(-1, 4)
    if not bool((fours.sum(1) == 2).all()):
        raise ValueError("mask must keep exactly two of every four neighbours")
    places = fours.nonzero()[:, 1].to(torch.uint8).view(len(weight_OI), -1, 4)
    packed = places[..., 0] | places[..., 1] << 2 | places[..., 2] << 4 | places[..., 3] << 6
    return weight_OI[mask_OI].view(len(weight_OI), -1), packed


def decompress_2_4(values: Tensor, packed: Tensor) -> Tensor:
    """The matrix [O, I] of :func:`compress_2_4`, zeros where nothing was kept."""
    outputs, half = values.shape
    places = torch.stack([packed >> shift & 3 for shift in (0, 2, 4, 6)], dim=-1).view(outputs, half // 2, 2)
    fours = torch.zeros(outputs, half // 2, 4, dtype=values.dtype, device=values.device)
    return fours.scatter(2, places.long(), values.view(outputs, half // 2, 2)).view(outputs, 2 * half)


@torch.no_grad()
def apply_masks(layers: Mapping[str, nn.Linear], masks: Mapping[str, Tensor]) -> None:
    """Set the dropped weights of the named layers to 0; called after each step, it keeps them 0 in training.

    Raises:
        ValueError: a name is no layer's, or a mask has another shape; nothing is changed then.
    """
    for name, mask in masks.items():
        if name not in layers or layers[name].weight.shape != mask.shape:
            raise ValueError(f"masks: {name!r} of {tuple(mask.shape)} fits none of the layers")
    for name, mask in masks.items():
        layers[name].weight.mul_(mask)


def _keep_best(scores: Tensor, sparsity: float) -> Tensor:
    """True at the best of each row."""
    dropped = round(sparsity * scores.shape[1])
    order = scores.argsort(dim=1, stable=True)
    return torch.ones_like(scores, dtype=torch.bool).scatter(1, order[:, :dropped], False)


def _require_share(sparsity: float) -> None:
    if not is_number(sparsity) or not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity must be a share from 0 to 1, got {sparsity!r}")
