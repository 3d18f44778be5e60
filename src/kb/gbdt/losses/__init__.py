"""Losses by LightGBM's names of objectives."""

from kb.gbdt.losses.classification import Logistic, Softmax
from kb.gbdt.losses.custom import Custom
from kb.gbdt.losses.lambdarank import LambdaRank, RankScores
from kb.gbdt.losses.loss import Loss
from kb.gbdt.losses.regression import Absolute, Huber, Poisson, Quantile, Squared

__all__ = [
    "Absolute",
    "Custom",
    "Huber",
    "LambdaRank",
    "Logistic",
    "Loss",
    "Poisson",
    "Quantile",
    "RankScores",
    "Softmax",
    "Squared",
]
