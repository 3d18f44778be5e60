"""Gradient-boosted decision trees that are LightGBM's, in its and scikit-learn's interface."""

from kb.gbdt.estimators import GBDTClassifier, GBDTRegressor

__all__ = ["GBDTClassifier", "GBDTRegressor"]
