"""Schedulers of the learning rate, in the interface of ``torch.optim.lr_scheduler``; for our optimizers and torch's."""

from kb.autograd.schedulers.cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from kb.autograd.schedulers.decays import ExponentialLR, LambdaLR, LinearLR, MultiStepLR, StepLR
from kb.autograd.schedulers.one_cycle import OneCycleLR
from kb.autograd.schedulers.plateau import ReduceLROnPlateau
from kb.autograd.schedulers.scheduler import LRScheduler
from kb.autograd.schedulers.sequential import SequentialLR

__all__ = [
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
