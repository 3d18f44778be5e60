"""What the estimators share: LightGBM's parameters and defaults, and fitting.

Sources: LightGBM's documentation of ``LGBMModel``; scikit-learn's developer guide.
Shapes: N rows, F features, C classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from kb.gbdt import settings
from kb.gbdt.binning.bins import Bins, to_bins
from kb.gbdt.binning.mapper import Mapper, find_mappers
from kb.gbdt.booster import Training
from kb.gbdt.evaluating import eval_sets, evaluation
from kb.gbdt.files.saving import Saving
from kb.gbdt.growing.engine import NumpyEngine
from kb.gbdt.growing.engines import engine_for
from kb.gbdt.growing.parameters import TreeParameters
from kb.gbdt.inputs import tables
from kb.gbdt.inputs.row_inputs import in_32_bits, start_scores, weights_in_32_bits
from kb.gbdt.losses import Loss
from kb.gbdt.prediction.predicting import Predicting, sums, threads_of
from kb.gbdt.sampling.drawing import Drawing
from kb.gbdt.sampling.row_sampling import Bagging, Goss, RowSampling
from kb.gbdt.training import Trained, Watching, train
from kb.gbdt.tree import Model


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
    metric: Any = None
    verbose: int = 0
    device_type: str = "cpu"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _checked(self, X: Any, *, fit: bool, **options: Any) -> Any:
        """The table as float64 or float32 [N, F], and with it ``y``; NaN is missing, infinities are refused.

        Before a fit the parameters are checked, so that a wrong one is named before anything is done.
        """
        if fit:
            settings.check(self)
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
        wishes: eval_sets.Wishes,
        groups_Q: np.ndarray | None = None,
    ) -> None:
        N, F = values_NF.shape
        start_NC = start_scores(init_score, N, loss.classes)
        targets_N = in_32_bits(targets_N, "y")
        if weights_N is not None:
            weights = "sample_weight" if self.class_weight is None else "sample_weight times class_weight"
            weights_N = weights_in_32_bits(weights_N, weights)
        loss.check(targets_N)
        if weights_N is not None:
            loss.check(targets_N[weights_N > 0])  # as these rows alone say where to start
        watching = self._watching(wishes, loss, evaluation.Labelled(targets_N, weights_N, groups_Q))
        seeds, threads = settings.seeds(self.random_state), threads_of(self.n_jobs, N)
        names = getattr(self, "feature_names_in_", None)
        categorical = {*tables.places(categorical_feature, names, F), *self._columns.categories}
        monotone_F = settings.directions(self.monotone_constraints, F, categorical, names)
        tables.warn_of_large_categories(values_NF, categorical, names)
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
        training = Training(
            mappers,
            targets_N,
            loss,
            self._engine(bins, settings.tree_parameters(self), monotone_F, threads),
            self.learning_rate,
            weights_N=weights_N,
            init_scores_NC=start_NC,
            rows=self._rows(N, seeds),
            features=self._features(mappers, seeds),
        )
        self._keep(train(training, self.n_estimators, watching), loss)

    def _engine(self, bins: Bins, parameters: TreeParameters, monotone_F: np.ndarray, threads: int) -> NumpyEngine:
        """What grows the trees."""
        return engine_for(self.device_type, bins, parameters, monotone_F, threads)

    def _keep(self, trained: Trained, loss: Loss) -> None:
        self.model_: Model = trained.model
        self._loss = loss
        self.evals_result_, self.best_score_ = trained.evals_result, trained.best_score
        self.best_iteration_ = trained.best_iteration
        self.n_iter_ = self.n_estimators_ = len(trained.model.trees)

    def _watching(self, wishes: eval_sets.Wishes, loss: Loss, labelled: evaluation.Labelled) -> Watching:
        """The sets of data to look at, the metrics and the callbacks, all checked."""
        reading = eval_sets.Reading(
            lambda table: self._checked(table, fit=False), self._eval_targets, loss.classes, labelled
        )
        watched, name = eval_sets.read(wishes, reading)
        options = evaluation.Options(self.alpha, wishes.eval_at, wishes.label_gain)
        usual = loss.name if evaluation.is_known(loss.name) else self._usual_metric(loss.classes)
        default = self.metric if self.metric is not None else usual if watched else "None"
        metrics = evaluation.choose(wishes.eval_metric, default, loss, options)
        callbacks = list(wishes.callbacks or ())
        return Watching(watched, metrics, callbacks, name, self._sums, self.get_params(), self._shows_bar())

    def _usual_metric(self, classes: int) -> str:
        """By what a loss is judged that has no metric of its own."""
        raise NotImplementedError

    def _eval_targets(self, targets_N: np.ndarray) -> np.ndarray:
        """Targets of a set that is looked at, as the loss takes them."""
        return check_array(targets_N, ensure_2d=False, dtype=np.float64)

    def _shows_bar(self) -> bool:
        if self.verbose <= 0:
            return False
        from kb.datasets import shows_progress  # only here, as it brings in downloads

        return shows_progress()

    def _rows(self, N: int, seeds: settings.Seeds) -> RowSampling | None:
        if self.boosting_type == "goss":
            first = int(min(1.0 / float(self.learning_rate), self.n_estimators))  # 1 over a tiny rate is infinite
            return Goss(self.top_rate, self.other_rate, first, seeds.bagging)
        if self.subsample_freq > 0 and self.subsample < 1:
            return Bagging(N, self.subsample, self.subsample_freq, seeds.bagging)
        return None

    def _features(self, mappers: list[Mapper], seeds: settings.Seeds) -> Callable[[], np.ndarray] | None:
        if self.colsample_bytree >= 1:
            return None
        useful = np.flatnonzero([mapper.bins > 1 for mapper in mappers])
        count = max(int(len(useful) * self.colsample_bytree + 0.5), min(1, len(useful)))
        drawing = Drawing(seeds.features)
        drawing.sample(len(useful), count)  # LightGBM draws once before there is a tree

        def draw() -> np.ndarray:
            open_F = np.zeros(len(mappers), bool)
            open_F[useful[drawing.sample(len(useful), count)]] = True
            return open_F

        return draw

    def _sums(self, model: Model, values_NF: np.ndarray) -> np.ndarray:
        return sums(model, values_NF, threads_of(self.n_jobs, len(values_NF)))
