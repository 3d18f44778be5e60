"""What fitted trees say: scores, leaves, contributions of features, and all of it round by round.

Everything is about a model of some rounds: a part of the trees is a model too. The leaves that rows come to are scores
of trees that say their leaves' numbers.

Sources: LightGBM's documentation of ``LGBMModel.predict``; scikit-learn's ``staged_predict``.
Shapes: N rows, F features, C classes, T trees.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from kb.gbdt.losses import Loss
from kb.gbdt.prediction import leaves as prediction
from kb.gbdt.prediction import shap
from kb.gbdt.tree import Model
from kb.installed import is_installed

_ROWS_OF_A_THREAD = 8192  # with fewer, threads wait for each other longer than they work


class Predicting:
    """The predicting half of an estimator, whose other half checks tables and fits ``model_`` and ``_loss``."""

    n_jobs: int | None
    importance_type: str
    n_features_in_: int
    model_: Model
    _loss: Loss

    if TYPE_CHECKING:

        def _checked(self, X: Any, *, fit: bool, **options: Any) -> Any: ...

    def predict(
        self,
        X: Any,
        raw_score: bool = False,
        start_iteration: int = 0,
        num_iteration: int | None = None,
        pred_leaf: bool = False,
        pred_contrib: bool = False,
    ) -> np.ndarray:
        """What the loss makes of the sums of the trees, [N] or of several classes [N, C], or what else is asked for.

        Args:
            X: A table [N, F]; NaN is missing.
            raw_score: Give the sums of the trees, [N], or [N, C] of several classes.
            start_iteration: The first round whose trees count; below 0 is 0.
            num_iteration: Of how many rounds; None for the best number if training found one and ``start_iteration`` is
                0, else all, and so is what is not positive.
            pred_leaf: Give the number of the leaf that a row comes to in each tree, int32 [N, T].
            pred_contrib: Give what each feature adds to the sum of the trees and, last, their mean over the training
                rows, [N, F + 1], or [N, C * (F + 1)] of several classes. Goes before ``pred_leaf``, as that goes before
                ``raw_score``.

        Raises:
            ValueError: a number of rounds is no integer, or the table is not like the fitted one.
        """
        model = self._rounds(start_iteration, num_iteration)
        values_NF = self._checked(X, fit=False)
        threads = threads_of(self.n_jobs, len(values_NF))
        if pred_contrib:
            return _contributions(model, values_NF, threads).reshape(len(values_NF), -1)
        if pred_leaf:
            return sums(_leaf_numbers(model), values_NF, threads).astype(np.int32)
        scores_NC = sums(model, values_NF, threads)
        if raw_score:
            return scores_NC[:, 0] if model.classes == 1 else scores_NC
        return self._loss.predict(scores_NC)

    def staged_predict(self, X: Any) -> Iterator[np.ndarray]:
        """What :meth:`predict` would say after the first round, after two, and so on."""
        for scores_NC in self._staged_scores(X):
            yield self._loss.predict(scores_NC)

    def _staged_scores(self, X: Any) -> Iterator[np.ndarray]:
        """The sums of the trees [N, C] of the first round, of two, and so on."""
        model = self._rounds(0, -1)
        values_NF = self._checked(X, fit=False)
        scores_NC = np.zeros((len(values_NF), model.classes))
        for number in range(len(model.trees)):
            scores_NC = scores_NC + sums(model.part(number, 1), values_NF, threads_of(self.n_jobs, len(values_NF)))
            yield scores_NC.copy()  # whoever takes it may change it

    def _rounds(self, start_iteration: int, num_iteration: int | None) -> Model:
        """The part of the trees that is asked for."""
        check_is_fitted(self)
        if not _is_integer(start_iteration):
            raise ValueError(f"start_iteration must be an integer, got {start_iteration!r}")
        if num_iteration is not None and not _is_integer(num_iteration):
            raise ValueError(f"num_iteration must be None or an integer, got {num_iteration!r}")
        first = max(0, start_iteration)
        count = num_iteration or 0
        if num_iteration is None and first == 0:
            count = getattr(self, "best_iteration_", None) or 0
        return self.model_.part(first, count if count > 0 else len(self.model_.trees))

    @property
    def feature_importances_(self) -> np.ndarray:
        """How often each feature splits, or with importance_type "gain" what these splits gain; [F]."""
        check_is_fitted(self)
        require_importance_type(self.importance_type)
        total_F = np.zeros(self.n_features_in_)
        for trees in self.model_.trees:
            for tree in trees:
                np.add.at(total_F, tree.feature_K, tree.gain_K if self.importance_type == "gain" else 1.0)
        return total_F if self.importance_type == "gain" else total_F.astype(np.int64)


def require_importance_type(importance_type: Any) -> None:
    """Refuse what no importance of features is called.

    Raises:
        ValueError: it is neither "split" nor "gain".
    """
    if not isinstance(importance_type, str) or importance_type not in ("split", "gain"):
        raise ValueError(f"importance_type must be 'split' or 'gain', got {importance_type!r}")


def require_jobs(n_jobs: Any) -> None:
    """Refuse what is no number of threads.

    Raises:
        ValueError: it is neither None nor an integer.
    """
    if n_jobs is not None and not _is_integer(n_jobs):
        raise ValueError(f"n_jobs must be None or an integer, got {n_jobs!r}")


def threads_of(n_jobs: int | None, rows: int) -> int:
    """As in scikit-learn: None and -1 are all cores, -2 all but one, and so on; but few where there is little to do.

    Raises:
        ValueError: ``n_jobs`` is neither None nor an integer.
    """
    require_jobs(n_jobs)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = cores if n_jobs is None or n_jobs == 0 else max(1, cores + 1 + n_jobs) if n_jobs < 0 else n_jobs
    return min(wanted, 1 + rows // _ROWS_OF_A_THREAD)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def sums(model: Model, values_NF: np.ndarray, threads: int) -> np.ndarray:
    """The sums of the trees of a model, [N, C]."""
    if not is_installed("numba"):
        return prediction.raw_scores(model, values_NF)
    from kb.gbdt.prediction import leaves_numba as prediction_numba

    return prediction_numba.raw_scores(model, values_NF, threads)


def _contributions(model: Model, values_NF: np.ndarray, threads: int) -> np.ndarray:
    if not is_installed("numba"):
        return shap.contributions(model, values_NF)
    from kb.gbdt.prediction import shap_numba

    return shap_numba.contributions(model, values_NF, threads)


def _leaf_numbers(model: Model) -> Model:
    """One round of all trees, which say the numbers of their leaves."""
    trees = [tree for round_ in model.trees for tree in round_]
    numbered = [replace(tree, leaf_value_L=np.arange(tree.leaves, dtype=np.float64)) for tree in trees]
    return Model(model.mappers, [numbered], len(trees))
