"""The engine of torch, on its CPU: the integers, the bytes and the trees of the other engines; and its Triton kernel.

Triton is told of its interpreter before it is imported, so the kernel runs in a process of its own: this file, started
as a script, which prints for each case whether the histograms are equal.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.gbdt import GBDTClassifier, GBDTRanker, GBDTRegressor
from kb.gbdt.binning.bins import Bins, to_bins
from kb.gbdt.binning.mapper import find_mappers
from kb.gbdt.growing.engine import NumpyEngine
from kb.gbdt.growing.engine_torch import TorchEngine
from kb.gbdt.growing.engines import engine_for
from kb.gbdt.growing.fixed_point import FixedPoint, to_fixed_point
from kb.gbdt.growing.parameters import TreeParameters
from kb.gbdt.growing.splitting import Split
from tests.processes import compiled, interpreted, run

CPU = torch.device("cpu")


def table(seed: int, rows: int, features: int = 6) -> np.ndarray:
    """Numbers with gaps, one feature of two values and the last one of categories."""
    generator = np.random.default_rng(seed)
    values = np.round(generator.standard_normal((rows, features)), 2)
    values[generator.random(values.shape) < 0.1] = np.nan
    values[:, 0] = generator.integers(0, 2, rows)
    values[:, -1] = generator.integers(0, 12, rows)
    return values


def data(seed: int, rows: int, *, max_bin: int = 30, features: int = 6) -> tuple[Bins, np.ndarray, np.ndarray]:
    """Bins and derivatives."""
    values, generator = table(seed, rows, features), np.random.default_rng(seed)
    bins = to_bins(values, find_mappers(values, max_bin=max_bin, categorical=[features - 1]))
    gradients = (generator.standard_normal(rows) * 10.0 ** generator.integers(-6, 6)).astype(np.float32)
    return bins, gradients, generator.uniform(0.1, 1, rows).astype(np.float32)


def pair(bins: Bins, *, kernel: bool | None = None) -> tuple[NumpyEngine, TorchEngine]:
    directions, parameters = np.zeros(len(bins.bins_F), np.int8), TreeParameters()
    return NumpyEngine(bins, parameters, directions), TorchEngine(bins, parameters, directions, CPU, kernel)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 300), st.sampled_from([3, 30, 255, 300]), st.data())
def test_integers_and_orders_are_numpys(seed: int, rows: int, max_bin: int, draw: st.DataObject) -> None:
    bins, *derivatives = data(seed, rows, max_bin=max_bin)
    plain, ours = pair(bins)
    wanted, found = plain.to_fixed_point(*derivatives), ours.to_fixed_point(*derivatives)
    assert found[1:] == wanted[1:]
    np.testing.assert_array_equal(found.pairs_N2, wanted.pairs_N2)
    chosen = np.random.default_rng(seed).permutation(rows)[: draw.draw(st.integers(1, rows))]
    plain.begin(wanted, chosen)
    ours.begin(found, chosen)
    for _ in range(3):
        start = draw.draw(st.integers(0, len(chosen) - 1))
        stop = draw.draw(st.integers(start + 1, len(chosen)))
        feature = draw.draw(st.integers(0, 5))
        place = draw.draw(st.integers(0, int(bins.bins_F[feature]) - 1))
        categories = (place,) if bins.categorical_F[feature] else ()
        split = Split(1.0, feature, place, draw.draw(st.booleans()), 0, 0, categories)
        assert ours.divide(split, start, stop) == plain.divide(split, start, stop)
        np.testing.assert_array_equal(ours.order_R, plain.order_R)
        np.testing.assert_array_equal(ours.histogram(start, stop), plain.histogram(start, stop))
    assert not ours.histogram(1, 1).any()


def test_scores_get_the_value_of_their_leaf_to_the_byte() -> None:
    bins, *derivatives = data(0, 100)
    scores = np.random.default_rng(1).standard_normal((2, 100, 2))
    scores[1] = scores[0]
    for engine, scores_NC in zip(pair(bins), scores, strict=True):
        engine.begin(engine.to_fixed_point(*derivatives), np.random.default_rng(0).permutation(100))
        engine.add(scores_NC[:, 1], np.array([0.1, 0.2, 0.3]), np.array([40, 0, 41]), np.array([41, 40, 100]))
    assert scores[0].tobytes() == scores[1].tobytes()


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_derivatives_must_be_finite(column: int, value: float) -> None:
    bins, *derivatives = data(0, 50)
    derivatives[column][7] = value
    with pytest.raises(ValueError, match=("gradients", "hessians")[column]):
        pair(bins)[1].to_fixed_point(*derivatives)


FITS: dict[str, tuple[type, dict[str, Any]]] = {
    **{
        name: (GBDTRegressor, {"objective": name})
        for name in ("regression", "regression_l1", "huber", "quantile", "poisson")
    },
    "binary": (GBDTClassifier, {}),
    "multiclass": (GBDTClassifier, {"classes": 4}),
    "lambdarank": (GBDTRanker, {"classes": 4}),
    "bagging": (GBDTRegressor, {"subsample": 0.6, "subsample_freq": 1, "colsample_bytree": 0.7}),
    "goss": (GBDTClassifier, {"boosting_type": "goss", "learning_rate": 0.5}),
    "monotone": (GBDTRegressor, {"monotone_constraints": [0, 1, -1, 0, 1, 0]}),
    "penalties": (GBDTRegressor, {"reg_alpha": 1.0, "reg_lambda": 2.0, "min_split_gain": 0.1, "max_depth": 4}),
    "many bins": (GBDTRegressor, {"max_bin": 1000, "min_data_in_bin": 1}),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", FITS)
def test_whole_fits_are_those_of_the_other_engines_to_the_byte(
    monkeypatch: pytest.MonkeyPatch, name: str, weighted: bool
) -> None:
    kind, options = FITS[name]
    values, generator = table(3, 1500), np.random.default_rng(4)
    target = values[:, 0] + np.nan_to_num(values[:, 1] * values[:, 2]) + np.cos(values[:, -1])
    target += generator.standard_normal(1500)
    classes = options.get("classes", 2)
    if kind is not GBDTRegressor:
        target = np.searchsorted(np.quantile(target, np.arange(1, classes) / classes), target)
    elif name == "poisson":
        target = np.floor(np.abs(target))
    fit: dict[str, Any] = {"categorical_feature": [5]}
    fit |= {"sample_weight": generator.uniform(0.1, 2, 1500)} if weighted else {}
    fit |= {"group": [100] * 15} if kind is GBDTRanker else {}

    def text() -> str:
        model = kind(n_estimators=6, n_jobs=1, **{key: one for key, one in options.items() if key != "classes"})
        return str(model.fit(values, target, **fit).to_json())

    found = [text()]
    for engine in (NumpyEngine, lambda *arguments: TorchEngine(*arguments, CPU)):
        monkeypatch.setattr("kb.gbdt.estimator.engine_for", lambda device, *rest, engine=engine: engine(*rest[:3]))
        found.append(text())
    assert len(json.loads(found[0])["model"]["trees"]) == 6
    assert found[0] == found[1]
    assert found[0] == found[2]


@pytest.mark.parametrize("wrong", ["gpu", "CUDA", None, 1])
def test_an_unknown_device_is_named(wrong: Any) -> None:
    with pytest.raises(ValueError, match="device_type must be 'cpu' or 'cuda'"):
        GBDTRegressor(device_type=wrong).fit(np.ones((50, 2)), np.arange(50.0))


def test_cuda_without_a_gpu_is_refused_before_work_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("kb.gbdt.estimator.find_mappers", None)  # which a fit that began would call
    with pytest.raises(ValueError, match="device_type 'cuda' needs a CUDA device"):
        GBDTRegressor(device_type="cuda").fit(np.ones((50, 2)), np.arange(50.0))


def test_cuda_gets_the_engine_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "device", lambda name: {"cuda": CPU}[name])
    bins, *_ = data(0, 50)
    assert isinstance(engine_for("cuda", bins, TreeParameters(), np.zeros(6, np.int8), 1), TorchEngine)


def test_fits_on_the_cpu_import_no_torch() -> None:
    code = (
        "import sys, numpy as np; from kb.gbdt import GBDTRegressor\n"
        "GBDTRegressor(n_estimators=1).fit(np.random.rand(50, 2), np.arange(50.0))\n"
        "print('torch' in sys.modules)"
    )
    assert run("-c", code).strip() == "False"


CASES: dict[str, dict[str, Any]] = {
    "some rows": {"rows": 900, "part": (100, 831)},
    "one row": {"rows": 50, "part": (7, 8)},
    "no row": {"rows": 50, "part": (7, 7)},
    "more features than a tile": {"rows": 300, "part": (0, 300), "features": 37},
    "three features": {"rows": 3000, "part": (0, 3000), "features": 3},
    "more bins than 8 bits hold": {"rows": 900, "part": (0, 900), "max_bin": 700},
}


def histograms_are_equal(rows: int, part: tuple[int, int], **options: Any) -> bool:
    """Of the kernel and NumPy, on some rows in a random order."""
    bins, *derivatives = data(5, rows, **options)
    fixed: FixedPoint = to_fixed_point(*derivatives)
    found = []
    for engine in pair(bins, kernel=True):
        engine.begin(fixed, np.random.default_rng(6).permutation(rows))
        found.append(engine.histogram(*part))
    return found[0].dtype == found[1].dtype and np.array_equal(*found)


@pytest.fixture(scope="module")
def equal() -> dict[str, bool]:
    """For each case, whether Triton's interpreter gives NumPy's histogram."""
    equal: dict[str, bool] = interpreted(__file__)
    return equal


@pytest.mark.parametrize("name", CASES)
def test_in_the_interpreter_histograms_are_numpys(name: str, equal: dict[str, bool]) -> None:
    assert equal[name]


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from kb.gbdt.growing.histogram_triton import _add_kernel as kernel

places = {name: (place,) for place, name in enumerate(kernel.arg_names)}
kinds = {"rows": "*u8", "pairs": "*i64", "order": "*i32", "sums": "*i64", "R": "i32"}
numbers = {"F": 28, "B": 256, "P": 28, "COPIES": 8, "HIGH": 128, "WIDE": 32}
source = ASTSource(
    fn=kernel,
    signature={name: kinds.get(name, "constexpr") for name in kernel.arg_names},
    constexprs={places[name]: value for name, value in numbers.items()},
)
ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
assert "atom.global.gpu.relaxed.add.u64" in ptx or "red.global.gpu.relaxed.add.u64" in ptx
"""


def test_the_kernel_compiles_for_a_gpu_to_additions_of_integers(tmp_path: Path) -> None:
    compiled(COMPILE, tmp_path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({name: histograms_are_equal(**case) for name, case in CASES.items()}))
