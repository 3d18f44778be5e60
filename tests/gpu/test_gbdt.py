"""Boosted trees that were fitted on a GPU are those that were fitted on the CPU, to the last byte of what is saved."""

from typing import Any

import numpy as np
import pytest
import torch

from kb.gbdt import GBDTClassifier, GBDTRanker, GBDTRegressor
from kb.gbdt.binning.bins import to_bins
from kb.gbdt.binning.mapper import find_mappers
from kb.gbdt.growing.engine import NumpyEngine
from kb.gbdt.growing.engine_torch import TorchEngine
from kb.gbdt.growing.fixed_point import to_fixed_point
from kb.gbdt.growing.parameters import TreeParameters

pytestmark = pytest.mark.gpu

ROWS = 20_000
FITS: dict[str, tuple[Any, dict[str, Any]]] = {
    **{
        name: (GBDTRegressor, {"objective": name})
        for name in ("regression", "regression_l1", "huber", "quantile", "poisson")
    },
    "binary": (GBDTClassifier, {}),
    "multiclass": (GBDTClassifier, {}),
    "lambdarank": (GBDTRanker, {}),
    "bagging": (GBDTRegressor, {"subsample": 0.6, "subsample_freq": 1}),
    "goss": (GBDTRegressor, {"boosting_type": "goss", "learning_rate": 0.4}),
    "many bins": (GBDTRegressor, {"max_bin": 1000}),
}


def table(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers with gaps, a feature of few values and one of categories; and a target."""
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((ROWS, 9))
    values[:, 7] = generator.integers(0, 3, ROWS)
    values[:, 8] = generator.integers(0, 40, ROWS)
    target = 2 * values[:, 0] + np.sin(3 * values[:, 1]) + values[:, 2] * values[:, 3] + np.cos(5 * values[:, 8])
    values[generator.random(values.shape) < 0.05] = np.nan
    return values, target + generator.standard_normal(ROWS)


def text(kind: Any, options: dict[str, Any], rows: dict[str, Any]) -> str:
    """The saved model, without where it was fitted."""
    model = kind(n_estimators=8, **options).fit(**rows, categorical_feature=[8])
    return str(model.set_params(device_type="cpu").to_json())


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", FITS)
def test_models_are_those_of_the_cpu(
    device: torch.device, monkeypatch: pytest.MonkeyPatch, name: str, seed: int
) -> None:
    kind, options = FITS[name]
    values, target = table(seed)
    if name == "poisson":
        target = np.floor(np.abs(target))
    elif kind is not GBDTRegressor:
        classes = 2 if name == "binary" else 5
        target = np.searchsorted(np.quantile(target, np.arange(1, classes) / classes), target)
    rows: dict[str, Any] = {"X": values, "y": target}
    if seed:
        rows["sample_weight"] = np.random.default_rng(seed).uniform(0.1, 3, ROWS)
    if kind is GBDTRanker:
        rows["group"] = [100] * (ROWS // 100)
    wanted = text(kind, options, rows)
    if device.type == "cuda":
        options = {**options, "device_type": "cuda"}
    else:
        monkeypatch.setattr("kb.gbdt.estimator.engine_for", lambda _, *given: TorchEngine(*given[:3], device))
    assert text(kind, options, rows) == wanted


@pytest.mark.parametrize("kernel", [False, True])
@pytest.mark.parametrize(("features", "max_bin"), [(3, 255), (28, 255), (70, 63), (5, 900)])
def test_histograms_are_numpys(device: torch.device, kernel: bool, features: int, max_bin: int) -> None:
    if kernel and device.type != "cuda":
        pytest.skip("the kernel needs a GPU, or Triton's interpreter")
    generator = np.random.default_rng(0)
    values = np.round(generator.standard_normal((50_000, features)), 3)
    values[:, 0] = 1.0 * (values[:, 0] > 0)  # two bins, for which all rows meet
    bins = to_bins(values, find_mappers(values, max_bin=max_bin))
    fixed = to_fixed_point(*generator.standard_normal((2, 50_000)).astype(np.float32))
    rows, none = generator.permutation(50_000), np.zeros(features, np.int8)
    found = []
    for engine in (
        NumpyEngine(bins, TreeParameters(), none),
        TorchEngine(bins, TreeParameters(), none, device, kernel),
    ):
        engine.begin(fixed, rows)
        found.append([engine.histogram(*part) for part in ((0, 50_000), (11, 40_012), (5, 6), (9, 9))])
    for wanted, ours in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, wanted)
