"""Boosted trees that rank the documents of a query, with LightGBM's parameters and defaults.

Sources: LightGBM's documentation of ``LGBMRanker``; Burges 2010, From RankNet to LambdaRank to LambdaMART.
Shapes: N documents, F features, Q queries.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from kb.gbdt.estimator import GBDTEstimator
from kb.gbdt.evaluating.eval_sets import Wishes
from kb.gbdt.inputs.queries import checked_gains, checked_groups, checked_labels
from kb.gbdt.inputs.row_inputs import numbers_of, weights_of
from kb.gbdt.losses import Custom, LambdaRank, Loss, RankScores


@dataclass(eq=False, repr=False)
class GBDTRanker(GBDTEstimator):
    """Gradient boosting of rankings; parameters and defaults of ``LGBMRanker``.

    ``objective`` is "lambdarank" (the default), or a function of labels and scores (with weights and the queries' sizes
    as a third and a fourth argument, if it takes them) that returns first and second derivatives.
    """

    lambdarank_truncation_level: int = 30
    lambdarank_norm: bool = True
    label_gain: Sequence[float] | None = None
    sigmoid: float = 1.0

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        init_score: Any = None,
        group: Any = None,
        eval_set: Any = None,
        eval_names: Sequence[str] | None = None,
        eval_sample_weight: Sequence[Any] | None = None,
        eval_init_score: Sequence[Any] | None = None,
        eval_group: Sequence[Any] | None = None,
        eval_metric: Any = None,
        eval_at: Sequence[int] = (1, 2, 3, 4, 5),
        categorical_feature: Any = "auto",
        callbacks: Sequence[Callable[..., None]] | None = None,
        *,
        eval_X: Any = None,
        eval_y: Any = None,
    ) -> Self:
        """Fit the trees; as :meth:`kb.gbdt.GBDTRegressor.fit`, and with queries.

        The documents of a query are rows side by side, and ``group`` says how many each query has [Q]; ``eval_group``
        says so for each of ``eval_set``. ``y`` is how relevant each document is: integers from 0 on, each with a gain
        in ``label_gain``. The metric "ndcg" is taken after ``eval_at`` documents.

        Raises:
            ValueError: groups do not sum to the rows, or a label is no integer or has no gain, besides the rest.
            TypeError: a metric, a callback or the objective is of a wrong kind.
        """
        values_NF, labels_N = self._checked(X, fit=True, y=numbers_of(y), y_numeric=True)
        labels_N, groups_Q = labels_N.astype(np.float64), checked_groups(group, len(values_NF))
        if eval_group is None and not (eval_set is None and eval_X is None):
            raise ValueError("eval_group must say how many rows each query of each set has, got None")
        weights_N = weights_of(sample_weight, values_NF)
        evaluated = eval_set, eval_names, eval_sample_weight, None, eval_init_score, eval_group, eval_metric, eval_at
        wishes = Wishes(X, y, *evaluated, self.label_gain, callbacks, eval_X, eval_y)
        loss = self._chosen(labels_N, groups_Q)
        self._fit(values_NF, labels_N, loss, weights_N, init_score, categorical_feature, wishes, groups_Q)
        if isinstance(loss, LambdaRank):
            self._loss = RankScores()
        return self

    def _chosen(self, labels_N: np.ndarray, groups_Q: np.ndarray) -> Loss:
        if callable(self.objective):
            return Custom(self.objective, groups_Q=groups_Q)
        if self.objective not in (None, "lambdarank"):
            raise ValueError(f"objective must be 'lambdarank' or a function, got {self.objective!r}")
        return LambdaRank(
            labels_N,
            groups_Q,
            self.lambdarank_truncation_level,
            self.lambdarank_norm,
            self.label_gain,
            self.sigmoid,
        )

    def _usual_metric(self, classes: int) -> str:
        return "ndcg"

    def _eval_targets(self, targets_N: np.ndarray) -> np.ndarray:
        labels_N = super()._eval_targets(targets_N)
        checked_labels(labels_N, len(checked_gains(self.label_gain)))
        return labels_N
