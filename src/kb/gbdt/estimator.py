"""What the estimators share: LightGBM's parameters and defaults, and fitting.

Sources: LightGBM's documentation of ``LGBMModel``; scikit-learn's developer guide.
Shapes: N rows, F features, C classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_sample_weight, validate_data

from kb.gbdt import settings, tables
from kb.gbdt.binning.mapper import Mapper, find_mappers
from kb.gbdt.bins import Bins, to_bins
from kb.gbdt.booster import Training, boost
from kb.gbdt.drawing import Drawing
from kb.gbdt.engine import NumpyEngine
from kb.gbdt.losses import Loss
from kb.gbdt.predicting import Predicting, has_numba, threads_of
from kb.gbdt.row_sampling import Bagging, Goss, RowSampling
from kb.gbdt.saving import Saving


@dataclass(eq=False, repr=False)
class GBDTEstimator(Predicting, Saving, BaseEstimator):
    """What regressor and classifier share; the parameters are LightGBM's, under its names and with its defaults."""

    boosting_type: str = "gbdt"
    num_leaves: int = 31
    max_depth: int = -1
    learning_rate: float = 0.1
    n_estimators: int = 100
    subsample_for_bin: int = 200_000
    objective: Any = None
    class_weight: Any = None
    min_split_gain: float = 0.0
    min_child_weight: float = 1e-3
    min_child_samples: int = 20
    subsample: float = 1.0
    subsample_freq: int = 0
    colsample_bytree: float = 1.0
    reg_alpha: float = 0.0
    reg_lambda: float = 0.0
    random_state: Any = None
    n_jobs: int | None = None
    importance_type: str = "split"
    max_bin: int = 255
    min_data_in_bin: int = 3
    monotone_constraints: Sequence[int] | None = None
    alpha: float = 0.9
    poisson_max_delta_step: float = 0.7
    top_rate: float = 0.2
    other_rate: float = 0.1
    cat_smooth: float = 10.0
    cat_l2: float = 10.0
    max_cat_threshold: int = 32
    max_cat_to_onehot: int = 4
    min_data_per_group: int = 100

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _checked(self, X: Any, *, fit: bool, **options: Any) -> Any:
        """The table as float64 or float32 [N, F], and with it ``y``; NaN is missing, infinities are refused."""
        if fit:
            self._columns = tables.columns_of(X)
        table = tables.to_numbers(X, self._columns)
        kinds = [np.float64, np.float32]
        return validate_data(self, table, reset=fit, dtype=kinds, ensure_all_finite="allow-nan", **options)

    def _fit(
        self,
        values_NF: np.ndarray,
        targets_N: np.ndarray,
        loss: Loss,
        weights_N: np.ndarray | None,
        init_score: Any,
        categorical_feature: Any,
    ) -> None:
        settings.check(self)
        parameters = settings.tree_parameters(self)
        loss.check(targets_N)
        N, F = values_NF.shape
        seeds, threads = settings.seeds(self.random_state), threads_of(self.n_jobs, N)
        names = getattr(self, "feature_names_in_", None)
        categorical = {*tables.places(categorical_feature, names, F), *self._columns.categories}
        mappers = find_mappers(
            values_NF,
            max_bin=self.max_bin,
            min_data_in_bin=self.min_data_in_bin,
            sample=self.subsample_for_bin,
            categorical=sorted(categorical),
            seed=seeds.data,
            threads=threads,
        )
        bins = to_bins(values_NF, mappers, threads)
        start_NC = None if init_score is None else np.asarray(init_score, np.float64).reshape(N, -1, order="F")
        if start_NC is not None and start_NC.shape[1] != loss.classes:
            raise ValueError(f"init_score must have {loss.classes} columns for {N} rows, got {np.shape(init_score)}")
        training = Training(
            bins,
            mappers,
            targets_N.astype(np.float32).astype(np.float64),  # LightGBM's labels have 32 bits
            loss,
            _engine(bins, parameters, _directions(self.monotone_constraints, F), threads),
            self.learning_rate,
            weights_N=None if weights_N is None else weights_N.astype(np.float32).astype(np.float64),
            init_scores_NC=start_NC,
            rows=self._rows(N, seeds),
            features=self._features(mappers, seeds),
        )
        self._model = boost(training, self.n_estimators)
        self._loss = loss
        self.n_iter_ = len(self._model.trees)

    def _rows(self, N: int, seeds: settings.Seeds) -> RowSampling | None:
        if self.boosting_type == "goss":
            return Goss(self.top_rate, self.other_rate, int(1 / self.learning_rate), seeds.bagging)
        if self.subsample_freq > 0 and self.subsample < 1:
            return Bagging(N, self.subsample, self.subsample_freq, seeds.bagging)
        return None

    def _features(self, mappers: list[Mapper], seeds: settings.Seeds) -> Callable[[], np.ndarray] | None:
        if self.colsample_bytree >= 1:
            return None
        useful = np.flatnonzero([mapper.bins > 1 for mapper in mappers])
        count = max(int(len(useful) * self.colsample_bytree + 0.5), min(2, len(useful)))
        drawing = Drawing(seeds.features)
        drawing.sample(len(useful), count)  # LightGBM draws once before there is a tree

        def draw() -> np.ndarray:
            open_F = np.zeros(len(mappers), bool)
            open_F[useful[drawing.sample(len(useful), count)]] = True
            return open_F

        return draw


def weights_of(sample_weight: Any, values_NF: np.ndarray) -> np.ndarray | None:
    """The weights of the rows, checked; None for all alike.

    Raises:
        ValueError: there is not one for each row, one is negative, or all are 0.
    """
    if sample_weight is None:
        return None
    weights_N: np.ndarray = _check_sample_weight(sample_weight, values_NF, ensure_non_negative=True)
    if not weights_N.any():
        raise ValueError("sample_weight must not be 0 for all rows")
    return weights_N


def _engine(bins: Bins, parameters: Any, monotone_F: np.ndarray, threads: int) -> NumpyEngine:
    if not has_numba():
        return NumpyEngine(bins, parameters, monotone_F)
    from kb.gbdt.engine_numba import NumbaEngine

    return NumbaEngine(bins, parameters, monotone_F, threads)


def _directions(constraints: Sequence[int] | None, F: int) -> np.ndarray:
    if constraints is None:
        return np.zeros(F, np.int8)
    if len(constraints) != F or any(one not in (-1, 0, 1) for one in constraints):
        raise ValueError(f"monotone_constraints must be -1, 0 or 1 for each of {F} features, got {list(constraints)}")
    return np.array(constraints, np.int8)
