"""Losses that compare: pairs, triplets, softmax over candidates, none at all; what they learn, and SimCSE."""

from kb.contrastive import gradients
from kb.contrastive.batches import cached_backward, gathered_loss
from kb.contrastive.geometry import (
    alignment,
    cosines,
    distances,
    effective_rank,
    mean_cosine,
    tolerance,
    uniformity,
    uniformity_loop,
    unit_rows,
)
from kb.contrastive.in_batch import (
    info_nce,
    info_nce_loop,
    n_pair_loss,
    n_pair_loss_loop,
    nt_xent,
    nt_xent_loop,
    sigmoid_loss,
    sigmoid_loss_loop,
)
from kb.contrastive.information import (
    correlated_gaussians,
    correlation_for,
    info_nce_bound,
    log_density_ratio,
)
from kb.contrastive.margins import mine, mine_loop, pair_loss, pair_loss_loop, triplet_loss
from kb.contrastive.noise import (
    fit_nce,
    nce_covariance,
    nce_loss,
    nce_loss_loop,
    negative_sampling_loss,
    sampled_softmax_loss,
)
from kb.contrastive.supervised import circle_loss, circle_loss_loop, supcon_loss, supcon_loss_loop
from kb.contrastive.without_negatives import VICReg, byol_loss, follow, vicreg_loss, vicreg_loss_loop

__all__ = [
    "VICReg",
    "alignment",
    "byol_loss",
    "cached_backward",
    "circle_loss",
    "circle_loss_loop",
    "correlated_gaussians",
    "correlation_for",
    "cosines",
    "distances",
    "effective_rank",
    "fit_nce",
    "follow",
    "gathered_loss",
    "gradients",
    "info_nce",
    "info_nce_bound",
    "info_nce_loop",
    "log_density_ratio",
    "mean_cosine",
    "mine",
    "mine_loop",
    "n_pair_loss",
    "n_pair_loss_loop",
    "nce_covariance",
    "nce_loss",
    "nce_loss_loop",
    "negative_sampling_loss",
    "nt_xent",
    "nt_xent_loop",
    "pair_loss",
    "pair_loss_loop",
    "sampled_softmax_loss",
    "sigmoid_loss",
    "sigmoid_loss_loop",
    "supcon_loss",
    "supcon_loss_loop",
    "tolerance",
    "triplet_loss",
    "uniformity",
    "uniformity_loop",
    "unit_rows",
    "vicreg_loss",
    "vicreg_loss_loop",
]
