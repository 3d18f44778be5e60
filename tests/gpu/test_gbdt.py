"""On a GPU trees are the CPU's to the byte: each loss, gaps and categories, rows left out, constraints, many bins."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from kb.gbdt import GBDTClassifier, GBDTRanker, GBDTRegressor
from kb.gbdt.binning.bins import to_bins
from kb.gbdt.binning.mapper import find_mappers
from kb.gbdt.estimator import GBDTEstimator
from kb.gbdt.growing.engine import NumpyEngine
from kb.gbdt.growing.engine_torch import TorchEngine
from kb.gbdt.growing.fixed_point import to_fixed_point
from kb.gbdt.growing.parameters import TreeParameters

pytestmark = pytest.mark.gpu

CASES: dict[str, tuple[type[GBDTEstimator], dict[str, Any]]] = {
    "l2": (GBDTRegressor, {}),
    "l1": (GBDTRegressor, {"objective": "regression_l1"}),
    "huber": (GBDTRegressor, {"objective": "huber"}),
    "quantile": (GBDTRegressor, {"objective": "quantile", "alpha": 0.8}),
    "poisson": (GBDTRegressor, {"objective": "poisson"}),
    "two classes": (GBDTClassifier, {}),
    "three classes": (GBDTClassifier, {"class_weight": "balanced"}),
    "ranks": (GBDTRanker, {}),
    "goss": (GBDTRegressor, {"boosting_type": "goss"}),
    "bagging": (GBDTRegressor, {"subsample": 0.5, "subsample_freq": 1, "colsample_bytree": 0.6, "random_state": 3}),
    "monotone": (GBDTRegressor, {"monotone_constraints": [1, -1, 0, 0, 0, 0]}),
    "many bins": (GBDTRegressor, {"max_bin": 1000}),
    "penalties": (GBDTRegressor, {"reg_alpha": 0.5, "reg_lambda": 2.0, "min_split_gain": 0.1, "max_depth": 4}),
}


def table(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((rows, 6))
    values[:, 4] = generator.integers(0, 3, rows)
    values[:, 5] = generator.integers(0, 40, rows)
    target = values[:, 0] + np.sin(3 * values[:, 1]) + np.cos(5 * values[:, 5]) + generator.standard_normal(rows)
    values[generator.random(values.shape) < 0.05] = np.nan
    return values, target


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_the_model_is_the_cpu_s_to_the_byte(device: torch.device, case: str, seed: int) -> None:
    kind, options = CASES[case]
    values, target = table(seed, 4000)
    extra: dict[str, Any] = {"categorical_feature": [] if case == "monotone" else [5]}
    weights = np.random.default_rng(seed).uniform(0.5, 2.0, 4000) if seed else None
    if case in ("two classes", "three classes", "ranks"):
        target = np.digitize(target, [0.0] if case == "two classes" else [-0.5, 1.0])
    elif case == "poisson":
        target = np.floor(np.exp(0.4 * target))
    if case == "ranks":
        extra["group"] = [40] * 100
    found = []
    for place in ("cpu", device.type):
        model = kind(n_estimators=15, device_type=place, **options).fit(values, target, sample_weight=weights, **extra)
        found.append((json.loads(model.to_json())["model"]["trees"], model.predict(values).tobytes()))
    assert found[0] == found[1]


@pytest.mark.parametrize("max_bin", [15, 255, 2000])
@pytest.mark.parametrize("features", [1, 6, 40])
def test_histograms_and_divisions_are_numpy_s(device: torch.device, features: int, max_bin: int) -> None:
    generator = np.random.default_rng(features)
    values = generator.standard_normal((20_011, features))
    bins = to_bins(values, find_mappers(values, max_bin=max_bin))
    fixed = to_fixed_point(
        generator.standard_normal(20_011).astype(np.float32), generator.uniform(0.1, 1, 20_011).astype(np.float32)
    )
    rows, directions = generator.permutation(20_011)[:15_000], np.zeros(features, np.int8)
    found = []
    for engine in (
        NumpyEngine(bins, TreeParameters(), directions),
        TorchEngine(bins, TreeParameters(), directions, device),
        TorchEngine(bins, TreeParameters(), directions, device, kernel=False),
    ):
        engine.begin(fixed, rows)
        whole = engine.histogram(0, 15_000)
        small, large = engine.siblings(whole.copy(), 17, 4_321)
        found.append([whole.tobytes(), small.tobytes(), large.tobytes()])
    assert found[0] == found[1] == found[2]
