"""Losses with the names and arguments of ``torch.nn.functional``."""

from kb.autograd.losses.classification import cross_entropy, nll_loss
from kb.autograd.losses.distances import huber_loss, l1_loss, mse_loss, smooth_l1_loss
from kb.autograd.losses.probabilities import binary_cross_entropy_with_logits, kl_div

__all__ = [
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "smooth_l1_loss",
]
