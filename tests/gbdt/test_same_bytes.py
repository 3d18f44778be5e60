"""A fit's bytes depend on the data and the seed: not on the order of the rows, nor on threads, nor on the engine."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.gbdt import GBDTClassifier, GBDTRegressor
from kb.gbdt.growing.engine_torch import TorchEngine
from kb.gbdt.losses.loss import average

REGRESSIONS = ("regression", "regression_l1", "huber", "quantile", "poisson")


def text(objective: str, rows: list[np.ndarray], threads: int, engine: Any = None) -> str:
    """The saved fit of some rows: features, targets and perhaps weights."""
    # The second round is the first whose derivatives depend on trees; later ones do nothing new.
    options: dict[str, Any] = {"n_estimators": 2, "n_jobs": threads, "min_child_samples": 5}
    kind: Any = GBDTRegressor if objective in REGRESSIONS else GBDTClassifier
    if objective in REGRESSIONS:
        options["objective"] = objective
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kb.gbdt.estimator.threads_of", lambda threads, rows: threads)  # not fewer for few rows
        patch.setattr("kb.gbdt.growing.engine_numba.WORTH_SHARING", 0)
        if engine is not None:
            patch.setattr("kb.gbdt.estimator.engine_for", engine)
        model = kind(**options).fit(*rows, categorical_feature=[4])
    return str(model.set_params(n_jobs=None).to_json())


def on_torch(device_type: str, *arguments: Any) -> TorchEngine:
    return TorchEngine(*arguments[:3], torch.device("cpu"))


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.integers(30, 400), st.booleans())
@pytest.mark.parametrize("objective", [*REGRESSIONS, "binary", "multiclass"])
def test_the_order_of_the_rows_threads_and_engines_change_no_byte(
    objective: str, seed: int, count: int, weighted: bool
) -> None:
    generator = np.random.default_rng(seed)
    values = np.round(generator.standard_normal((count, 5)), 1)
    values[generator.random(values.shape) < 0.1] = np.nan
    values[:, 4] = generator.integers(0, 6, count)
    # Targets differ: where they do not, a weighted quantile lies with the row that comes first, as LightGBM's does.
    target = np.nan_to_num(values[:, 0]) + np.cos(values[:, 4]) + generator.standard_normal(count)
    if objective == "poisson":
        target = np.floor(np.abs(target)) + (np.arange(count) == 0)
    elif objective not in REGRESSIONS:
        target = np.arange(count) % 2 if objective == "binary" else generator.permutation(np.arange(count) % 9)
    rows = [values, target, *([generator.uniform(0.1, 3, count)] if weighted else [])]
    mixed = generator.permutation(count)
    shuffled = [one[mixed] for one in rows]
    wanted = text(objective, rows, 1)
    assert text(objective, shuffled, 1) == wanted
    assert text(objective, shuffled, 2) == wanted
    assert text(objective, rows, 1, on_torch) == wanted


@given(st.lists(st.floats(-(2.0**90), 2.0**90, width=32), min_size=1, max_size=50), st.randoms(), st.booleans())
def test_the_mean_is_the_same_in_any_order(values: list[float], random: Any, weighted: bool) -> None:
    given_N = np.array(values)
    weights_N = np.linspace(0.1, 7, len(values)).astype(np.float32).astype(np.float64) if weighted else None
    order = list(range(len(values)))
    random.shuffle(order)
    wanted = average(given_N, weights_N)
    assert average(given_N[order], None if weights_N is None else weights_N[order]) == wanted
    scale = np.abs(given_N).max()
    np.testing.assert_allclose(wanted, np.average(given_N, weights=weights_N), rtol=1e-9, atol=1e-13 * scale)
