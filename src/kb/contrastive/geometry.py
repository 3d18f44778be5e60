"""Embeddings as points on a sphere: cosines, distances, and what is measured of a whole cloud of them.

Unusual: ``unit_rows`` divides by the largest entry before it takes a length, so that no row is too long or too short
for its dtype, and a row of zeros stays one with a finite gradient (``F.normalize`` gives it 1e12 times what came);
products are not made in bfloat16 under autocast. What is refused is said in :mod:`kb.contrastive.inputs`.

Sources: Wang and Isola 2020, arXiv 2005.10242, section 4.1 (alignment, uniformity); Wang and Liu 2021, arXiv
2012.09740, section 4 (tolerance); Ethayarajh 2019, arXiv 1909.00512 (anisotropy as a mean cosine); Roy
and Vetterli 2007 (rank).
Shapes: N, M rows, D width, P pairs of different rows.
"""

import math

import torch
from torch import Tensor

from kb.contrastive.inputs import classes, embeddings, pairs


def unit_rows(x_ND: Tensor) -> Tensor:
    """The rows at length 1; a row of zeros stays so."""
    x = embeddings("x_ND", x_ND)
    largest_N1 = x.detach().abs().amax(1, keepdim=True)
    empty_N1 = largest_N1 == 0
    scaled_ND = x / torch.where(empty_N1, 1, largest_N1)
    length_N1 = torch.linalg.vector_norm(scaled_ND, dim=1, keepdim=True)
    return scaled_ND / torch.where(empty_N1, 1, length_N1)


def cosines(x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """Cosines of all rows with all rows, [N, M], in float32 at least, under autocast too."""
    x, y = unit_rows(x_ND), unit_rows(embeddings("y_MD", y_MD, like=x_ND))
    with torch.autocast(x.device.type, enabled=False):
        return x @ y.T


def distances(x_ND: Tensor, *, squared: bool = False) -> Tensor:
    """Euclidean distances of all rows from all rows, [N, N], from differences; the gradient at distance 0 is 0."""
    x = embeddings("x_ND", x_ND)
    found_NN = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    return found_NN.square() if squared else found_NN


def alignment(x_ND: Tensor, y_ND: Tensor) -> Tensor:
    """Mean squared distance of the two of a pair, at length 1; 0 is perfect."""
    x, y = pairs("x_ND", x_ND, "y_ND", y_ND)
    return (unit_rows(x) - unit_rows(y)).square().sum(1).mean()


def uniformity(x_ND: Tensor) -> Tensor:
    """Log of the mean of exp(-2 ‖x - y‖²) over pairs of rows, at length 1: 0 for one point, less is better.

    Many points spread evenly in many dimensions are nearly all at right angles, which makes it -4.
    """
    square_P = 2 - 2 * _above_diagonal(x_ND)
    return (-2 * square_P).logsumexp(0) - math.log(len(square_P))


def uniformity_loop(x_ND: Tensor) -> Tensor:
    """Reference: one pair at a time."""
    x = unit_rows(x_ND)
    terms = [(-2 * (x[i] - x[j]).square().sum()).exp() for i in range(len(x)) for j in range(i)]
    return torch.stack(terms).mean().log()


def mean_cosine(x_ND: Tensor) -> Tensor:
    """Anisotropy: the mean cosine of pairs of rows; 0 where directions are spread evenly, 1 in one point."""
    return _above_diagonal(x_ND).mean()


def tolerance(x_ND: Tensor, labels_N: Tensor) -> Tensor:
    """The mean cosine of pairs of one class: how near a loss that knows no classes leaves what belongs together."""
    same_NN, _ = classes(labels_N, len(x_ND))
    if not same_NN.any():
        raise ValueError("labels_N must hold two rows of one class, got none")
    return cosines(x_ND, x_ND)[same_NN].mean()


def effective_rank(x_ND: Tensor) -> Tensor:
    """How many directions the rows use, from 1 to D: e to the entropy of the singular values, once these sum to 1.

    The rows are taken at length 1 and not centred, so that a cloud that points one way counts as one direction.
    """
    x = unit_rows(x_ND)
    if not (x.isfinite().all() and x.any()):
        raise ValueError("x_ND must be finite and have a row that is not zero, got none")
    values = torch.linalg.svdvals(x)
    p = values / values.sum()
    return torch.special.entr(p).sum().exp()


def _above_diagonal(x_ND: Tensor) -> Tensor:
    if len(embeddings("x_ND", x_ND)) < 2:
        raise ValueError(f"x_ND must have at least two rows, got {len(x_ND)}")
    row_P, column_P = torch.triu_indices(len(x_ND), len(x_ND), offset=1, device=x_ND.device)
    return cosines(x_ND, x_ND)[row_P, column_P]
