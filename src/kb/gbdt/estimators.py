"""Boosted trees as scikit-learn's estimators, with LightGBM's parameters and defaults.

Sources: LightGBM's documentation of ``LGBMRegressor`` and ``LGBMClassifier``; scikit-learn's developer guide.
Shapes: N rows, F features, C classes.
"""

from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets

from kb.gbdt.estimator import GBDTEstimator, weights_of
from kb.gbdt.losses import Absolute, Huber, Logistic, Loss, Poisson, Quantile, Softmax, Squared

LOSSES: dict[str, Callable[[Any], Loss]] = {
    "regression": lambda _: Squared(),
    "regression_l1": lambda _: Absolute(),
    "huber": lambda estimator: Huber(estimator.alpha),
    "quantile": lambda estimator: Quantile(estimator.alpha),
    "poisson": lambda estimator: Poisson(estimator.poisson_max_delta_step),
}


class GBDTRegressor(RegressorMixin, GBDTEstimator):
    """Gradient boosting of numbers; parameters and defaults of ``LGBMRegressor``.

    ``objective`` is one of "regression" (the default), "regression_l1", "huber", "quantile" and "poisson", or a
    :class:`kb.gbdt.losses.Loss`. ``subsample`` does nothing unless ``subsample_freq`` is positive, as in LightGBM.
    """

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        init_score: Any = None,
        categorical_feature: Any = "auto",
    ) -> Self:
        """Fit the trees.

        Args:
            X: A table [N, F]; NaN is missing.
            y: Numbers [N].
            sample_weight: Weights of the rows, of at least 0.
            init_score: Scores to start from [N].
            categorical_feature: Places or names of features without an order; "auto" takes a frame's categories.

        Raises:
            ValueError: a parameter is out of range, or the data cannot be used.
        """
        values_NF, targets_N = self._checked(X, fit=True, y=y, y_numeric=True)
        weights_N = weights_of(sample_weight, values_NF)
        self._fit(values_NF, targets_N.astype(np.float64), self._chosen(), weights_N, init_score, categorical_feature)
        return self

    def predict(
        self,
        X: Any,
        raw_score: bool = False,
        start_iteration: int = 0,
        num_iteration: int | None = None,
        pred_leaf: bool = False,
        pred_contrib: bool = False,
    ) -> np.ndarray:
        """Numbers [N], or what else is asked for: see :meth:`kb.gbdt.predicting.Predicting._predict`."""
        return self._predict(X, raw_score, start_iteration, num_iteration, pred_leaf, pred_contrib)

    def staged_predict(self, X: Any) -> Iterator[np.ndarray]:
        """The predictions [N] after the first round, after two, and so on."""
        for scores_NC in self._staged_scores(X):
            yield self._loss.predict(scores_NC)

    def _chosen(self) -> Loss:
        if isinstance(self.objective, Loss):
            return self.objective
        name = "regression" if self.objective is None else self.objective
        if name not in LOSSES:
            raise ValueError(f"objective must be one of {', '.join(LOSSES)}, or a Loss; got {name!r}")
        return LOSSES[name](self)


class GBDTClassifier(ClassifierMixin, GBDTEstimator):
    """Gradient boosting of classes; parameters and defaults of ``LGBMClassifier``."""

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        init_score: Any = None,
        categorical_feature: Any = "auto",
    ) -> Self:
        """Fit the trees; ``y`` holds at least two classes, of any kind. Otherwise as :meth:`GBDTRegressor.fit`."""
        values_NF, labels_N = self._checked(X, fit=True, y=y)
        check_classification_targets(labels_N)
        self.classes_, targets_N = np.unique(labels_N, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"a classifier needs samples of at least 2 classes, got one class: {self.classes_[0]!r}")
        weights_N = weights_of(sample_weight, values_NF)
        if self.class_weight is not None:
            balance_N = compute_sample_weight(self.class_weight, labels_N)
            weights_N = balance_N if weights_N is None else weights_N * balance_N
        loss = Logistic() if len(self.classes_) == 2 else Softmax(len(self.classes_))
        self._fit(values_NF, targets_N.astype(np.float64), loss, weights_N, init_score, categorical_feature)
        return self

    def predict_proba(
        self,
        X: Any,
        raw_score: bool = False,
        start_iteration: int = 0,
        num_iteration: int | None = None,
        pred_leaf: bool = False,
        pred_contrib: bool = False,
    ) -> np.ndarray:
        """Probabilities [N, C], or what else is asked for: see :meth:`kb.gbdt.predicting.Predicting._predict`."""
        return self._predict(X, raw_score, start_iteration, num_iteration, pred_leaf, pred_contrib)

    def predict(
        self,
        X: Any,
        raw_score: bool = False,
        start_iteration: int = 0,
        num_iteration: int | None = None,
        pred_leaf: bool = False,
        pred_contrib: bool = False,
    ) -> np.ndarray:
        """Classes [N], or what else is asked for: see :meth:`kb.gbdt.predicting.Predicting._predict`."""
        found = self._predict(X, raw_score, start_iteration, num_iteration, pred_leaf, pred_contrib)
        if raw_score or pred_leaf or pred_contrib:
            return found
        return self.classes_[found.argmax(axis=1)]

    def decision_function(self, X: Any) -> np.ndarray:
        """The sums of the trees: [N] for two classes, else [N, C]."""
        return self.predict_proba(X, raw_score=True)

    def staged_decision_function(self, X: Any) -> Iterator[np.ndarray]:
        """The sums of the trees after the first round, after two, and so on, shaped as by ``decision_function``."""
        for scores_NC in self._staged_scores(X):
            yield scores_NC[:, 0] if self._loss.classes == 1 else scores_NC

    def staged_predict_proba(self, X: Any) -> Iterator[np.ndarray]:
        """The probabilities [N, C] after the first round, after two, and so on."""
        for scores_NC in self._staged_scores(X):
            yield self._loss.predict(scores_NC)

    def staged_predict(self, X: Any) -> Iterator[np.ndarray]:
        """The classes [N] after the first round, after two, and so on."""
        for chances_NC in self.staged_predict_proba(X):
            yield self.classes_[chances_NC.argmax(axis=1)]
