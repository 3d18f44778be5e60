"""Boosted trees as scikit-learn's estimators, with LightGBM's parameters and defaults.

Sources: LightGBM's documentation of ``LGBMRegressor`` and ``LGBMClassifier``; scikit-learn's developer guide.
Shapes: N rows, F features, C classes.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets

from kb.gbdt.estimator import GBDTEstimator
from kb.gbdt.evaluating.eval_sets import Wishes
from kb.gbdt.inputs.row_inputs import classes_of, numbers_of, weights_of
from kb.gbdt.losses import Absolute, Custom, Huber, Logistic, Loss, Poisson, Quantile, Softmax, Squared

LOSSES: dict[str, Callable[[Any], Loss]] = {
    "regression": lambda _: Squared(),
    "regression_l1": lambda _: Absolute(),
    "huber": lambda estimator: Huber(float(estimator.alpha)),
    "quantile": lambda estimator: Quantile(float(estimator.alpha)),
    "poisson": lambda estimator: Poisson(float(estimator.poisson_max_delta_step)),
}

_OF_CLASSES = ("logloss", "error")  # what LightGBM has a metric of for two classes and for more


class GBDTRegressor(RegressorMixin, GBDTEstimator):
    """Gradient boosting of numbers; parameters and defaults of ``LGBMRegressor``.

    ``objective`` is one of "regression" (the default), "regression_l1", "huber", "quantile" and "poisson", a
    :class:`kb.gbdt.losses.Loss`, or a function of targets and scores (and weights, if it takes three arguments) that
    returns first and second derivatives. ``subsample`` does nothing unless ``subsample_freq`` is positive, as in
    LightGBM.

    Some things that LightGBM takes are refused here: infinities in ``X``, targets and weights beyond 32 bits, weights
    that are all 0 there, starting scores that are not finite, a negative ``subsample_freq``, ``class_weight`` other
    than of classes, and (by :class:`GBDTClassifier`) a single class. LightGBM's other names of parameters, as
    ``num_iterations`` or ``eta``, are not known.
    """

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        init_score: Any = None,
        eval_set: Any = None,
        eval_names: Sequence[str] | None = None,
        eval_sample_weight: Sequence[Any] | None = None,
        eval_init_score: Sequence[Any] | None = None,
        eval_metric: Any = None,
        categorical_feature: Any = "auto",
        callbacks: Sequence[Callable[..., None]] | None = None,
        *,
        eval_X: Any = None,
        eval_y: Any = None,
    ) -> Self:
        """Fit the trees.

        Args:
            X: A table [N, F]; NaN is missing.
            y: Numbers [N].
            sample_weight: Weights of the rows, of at least 0.
            init_score: Scores to start from [N].
            eval_set: Pairs (X, y) that are judged after each round; with the very ``X`` and ``y``, the training data.
            eval_names: Of these; "valid_0" and so on if None.
            eval_sample_weight: Of each, weights of its rows, or None.
            eval_init_score: Of each, scores to start from, or None.
            eval_metric: Names of metrics, functions of targets and predictions (and weights) that return a name, a
                value and whether more is better, or a list of these; the loss's own is judged by in any case.
            categorical_feature: Places or names of features without an order; "auto" takes a frame's categories.
            callbacks: Called before or after each round; see :mod:`kb.gbdt.evaluating.callbacks`.
            eval_X: In the place of ``eval_set``, a table or a tuple of tables, as LightGBM has it since 4.7.
            eval_y: The targets of that table, or a tuple of the targets of each.

        Raises:
            ValueError: a parameter is out of range, or the data cannot be used.
            TypeError: a metric, a callback or the objective is of a wrong kind.

        Warns:
            UserWarning: a category is 2^31 or more, and so counts as missing.
        """
        values_NF, targets_N = self._checked(X, fit=True, y=numbers_of(y), y_numeric=True)
        weights_N = weights_of(sample_weight, values_NF)
        wishes = Wishes(
            X,
            y,
            eval_set,
            eval_names,
            eval_sample_weight,
            eval_init_score=eval_init_score,
            eval_metric=eval_metric,
            callbacks=callbacks,
            eval_X=eval_X,
            eval_y=eval_y,
        )
        targets_N = targets_N.astype(np.float64)
        self._fit(values_NF, targets_N, self._chosen(), weights_N, init_score, categorical_feature, wishes)
        return self

    def _chosen(self) -> Loss:
        if isinstance(self.objective, Loss):
            return self.objective
        if callable(self.objective):
            return Custom(self.objective)
        name = "regression" if self.objective is None else self.objective
        if name not in LOSSES:
            raise ValueError(f"objective must be one of {', '.join(LOSSES)}, a Loss, or a function; got {name!r}")
        return LOSSES[name](self)

    def _usual_metric(self, classes: int) -> str:
        return "l2"


class GBDTClassifier(ClassifierMixin, GBDTEstimator):
    """Gradient boosting of classes; parameters and defaults of ``LGBMClassifier``."""

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        init_score: Any = None,
        eval_set: Any = None,
        eval_names: Sequence[str] | None = None,
        eval_sample_weight: Sequence[Any] | None = None,
        eval_class_weight: Sequence[Any] | None = None,
        eval_init_score: Sequence[Any] | None = None,
        eval_metric: Any = None,
        categorical_feature: Any = "auto",
        callbacks: Sequence[Callable[..., None]] | None = None,
        *,
        eval_X: Any = None,
        eval_y: Any = None,
    ) -> Self:
        """Fit the trees; ``y`` holds at least two classes, of any kind. Otherwise as :meth:`GBDTRegressor.fit`."""
        values_NF, labels_N = self._checked(X, fit=True, y=y)
        self.classes_, targets_N = classes_of(labels_N)
        check_classification_targets(labels_N)
        if len(self.classes_) < 2:
            raise ValueError(f"a classifier needs samples of at least 2 classes, got one class: {self.classes_[0]!r}")
        weights_N = weights_of(sample_weight, values_NF)
        if self.class_weight is not None:
            balance_N = compute_sample_weight(self.class_weight, labels_N)
            weights_N = balance_N if weights_N is None else weights_N * balance_N
        wishes = Wishes(
            X,
            y,
            eval_set,
            eval_names,
            eval_sample_weight,
            eval_class_weight,
            eval_init_score,
            eval_metric=self._for_classes(eval_metric),
            callbacks=callbacks,
            eval_X=eval_X,
            eval_y=eval_y,
        )
        targets_N = targets_N.astype(np.float64)
        self._fit(values_NF, targets_N, self._chosen(), weights_N, init_score, categorical_feature, wishes)
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
        """Probabilities [N, C], or what else is asked for: see :meth:`.Predicting.predict`."""
        return super().predict(X, raw_score, start_iteration, num_iteration, pred_leaf, pred_contrib)

    def predict(
        self,
        X: Any,
        raw_score: bool = False,
        start_iteration: int = 0,
        num_iteration: int | None = None,
        pred_leaf: bool = False,
        pred_contrib: bool = False,
    ) -> np.ndarray:
        """Classes [N], or what else is asked for: see :meth:`kb.gbdt.prediction.predicting.Predicting.predict`.

        Where the objective is a function, the sums of the trees, as nothing tells what they mean.
        """
        found = super().predict(X, raw_score, start_iteration, num_iteration, pred_leaf, pred_contrib)
        if raw_score or pred_leaf or pred_contrib or isinstance(self._loss, Custom):
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
        return super().staged_predict(X)

    def staged_predict(self, X: Any) -> Iterator[np.ndarray]:
        """The classes [N] after the first round, after two, and so on."""
        for chances_NC in self.staged_predict_proba(X):
            yield self.classes_[chances_NC.argmax(axis=1)]

    def _chosen(self) -> Loss:
        classes = len(self.classes_)
        if isinstance(self.objective, Loss):
            return self.objective
        if callable(self.objective):
            return Custom(self.objective, 1 if classes == 2 else classes)
        name = "binary" if classes == 2 else "multiclass"
        if self.objective not in (None, name):
            raise ValueError(f"objective of {classes} classes must be {name!r} or a function, got {self.objective!r}")
        return Logistic() if classes == 2 else Softmax(classes)

    def _usual_metric(self, classes: int) -> str:
        return "binary_logloss" if classes == 1 else "multi_logloss"

    def _eval_targets(self, targets_N: np.ndarray) -> np.ndarray:
        places_N = np.searchsorted(self.classes_, targets_N).clip(max=len(self.classes_) - 1)
        unknown = self.classes_[places_N] != targets_N
        if unknown.any():
            raise ValueError(f"y must hold classes of the training data, got {targets_N[unknown][0]!r}")
        return places_N.astype(np.float64)

    def _for_classes(self, eval_metric: Any) -> Any:
        """LightGBM's short names, and those that are meant for another number of classes, as what is meant."""
        kind = "binary" if len(self.classes_) == 2 else "multi"
        meant = {f"{before}{what}": f"{kind}_{what}" for before in ("", "binary_", "multi_") for what in _OF_CLASSES}
        asked = eval_metric if isinstance(eval_metric, list | tuple) else [eval_metric]
        return [meant.get(one, one) if isinstance(one, str) else one for one in asked if one is not None]
