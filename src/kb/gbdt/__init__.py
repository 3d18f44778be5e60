"""Gradient-boosted decision trees that are LightGBM's, in its and scikit-learn's interface."""

from kb.gbdt.estimators import GBDTClassifier, GBDTRegressor
from kb.gbdt.evaluating.callbacks import early_stopping, log_evaluation, record_evaluation, reset_parameter
from kb.gbdt.ranker import GBDTRanker

__all__ = [
    "GBDTClassifier",
    "GBDTRanker",
    "GBDTRegressor",
    "early_stopping",
    "log_evaluation",
    "record_evaluation",
    "reset_parameter",
]
