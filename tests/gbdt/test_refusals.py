"""What fitting and loading refuse, each in words that name the argument; and what only draws a warning.

LightGBM is the oracle of what is out of range, where it says so and does not end the process.
"""

import json
import warnings
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.gbdt import GBDTClassifier, GBDTRanker, GBDTRegressor
from kb.gbdt.files import saving
from kb.gbdt.losses import Huber, Poisson, Quantile

GOOD, TARGET = np.random.default_rng(0).standard_normal((60, 3)), np.arange(60.0)
CODES = np.arange(60) % 5
HALF = (TARGET < 30).astype(np.float64)
TIMES = pd.date_range("2020-01-01", periods=60).to_numpy()

PARAMETERS: list[tuple[str, Any]] = [
    ("learning_rate", "0.1"),
    ("learning_rate", None),
    ("learning_rate", True),
    ("learning_rate", np.inf),
    ("learning_rate", [0.1]),
    ("subsample", None),
    ("subsample", "a"),
    ("colsample_bytree", "1"),
    ("alpha", "0.5"),
    ("alpha", -1),
    ("alpha", 0.0),
    ("poisson_max_delta_step", "x"),
    ("poisson_max_delta_step", 0),
    ("n_jobs", "2"),
    ("n_jobs", 1.5),
    ("subsample_freq", -1),
    ("subsample_freq", 1.5),
    ("top_rate", 5),
    ("top_rate", "x"),
    ("other_rate", -0.1),
    ("importance_type", "x"),
    ("importance_type", ["split"]),
    ("metric", "bogus"),
    ("metric", ["l2", "bogus"]),
    ("objective", ["l2"]),
    ("verbose", "1"),
    ("boosting_type", ["goss"]),
    ("device_type", 1),
    ("num_leaves", "31"),
    ("max_bin", 2.5),
    ("random_state", 1.5),
    ("monotone_constraints", 1),
    ("monotone_constraints", [1, 0, "1"]),
    ("monotone_constraints", [[1], [0], [0]]),
    ("class_weight", "balanced"),
]


@pytest.mark.parametrize(("name", "value"), PARAMETERS)
def test_parameters_are_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name}\b") as caught:
        GBDTRegressor(n_estimators=2).set_params(**{name: value}).fit(GOOD, TARGET)
    shown = value[1] if isinstance(value, list) and name == "metric" else value
    assert repr(shown) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("top_rate", 5), ("alpha", -1), ("subsample_freq", 1.5), ("learning_rate", 0)]
)
def test_lightgbm_refuses_these_too(name: str, value: Any) -> None:
    with pytest.raises(lightgbm.basic.LightGBMError):
        lightgbm.LGBMRegressor(n_estimators=2, verbose=-1, **{name: value}).fit(GOOD, TARGET)


def test_parameters_are_refused_before_the_data_are_looked_at() -> None:
    with pytest.raises(ValueError, match=r"^n_jobs"):
        GBDTRegressor(n_jobs="2").fit(None, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^n_jobs"):
        GBDTRegressor(n_estimators=2).fit(GOOD, TARGET).set_params(n_jobs="2").predict(GOOD)


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(GBDTRanker().get_params())),
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(width=16) | st.text(max_size=3) | st.lists(st.none()),
)
def test_whatever_a_parameter_is_it_fits_or_is_named(name: str, value: Any) -> None:
    model = GBDTRanker(n_estimators=1, num_leaves=2).set_params(**{name: value})
    try:
        model.fit(GOOD, CODES, group=[60])
    except (TypeError, ValueError) as error:
        assert name in str(error)  # noqa: PT017 - most values are refused, and some are not


DATA: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "weights that vanish": ({}, {"sample_weight": np.full(60, 1e-60)}, "sample_weight must not be 0 in 32 bits"),
    "weights too large": ({}, {"sample_weight": np.full(60, 1e300)}, r"sample_weight must be finite .* got 1e\+300"),
    "words as weights": ({}, {"sample_weight": ["a"] * 60}, "sample_weight"),
    "targets too large": ({}, {"y": TARGET + 1e39}, r"y must be finite in 32 bits, got 1e\+39"),
    "mixed targets": ({}, {"y": np.array([1.0, "a"] * 30, object)}, "y must hold numbers: "),
    "words among targets": ({}, {"y": [1.0, "a"] * 30}, "y must hold numbers: "),
    "targets that are lists": ({}, {"y": [[1], [1, 2]] * 30}, "y must hold numbers: "),
    "dates as targets": ({}, {"y": TIMES}, "y must hold numbers, got datetime64"),
    "a start of NaN": ({}, {"init_score": np.full(60, np.nan)}, "init_score must be finite, got nan"),
    "an infinite start": ({}, {"init_score": np.full(60, -np.inf)}, "init_score must be finite, got -inf"),
    "words as start": ({}, {"init_score": ["a"] * 60}, "init_score must hold numbers"),
    "counts without weight": ({"objective": "poisson"}, {"y": HALF, "sample_weight": 1 - HALF}, "'poisson' needs y"),
    "counts that vanish": ({"objective": "poisson"}, {"y": HALF * 1e-60}, "'poisson' needs y"),
    "a table of dates": ({}, {"X": TIMES[:, None]}, "X must hold numbers, got datetime64"),
    "spans of time": ({}, {"X": (TIMES - TIMES[0])[:, None]}, "X must hold numbers, got timedelta64"),
    "a column of dates": ({}, {"X": pd.DataFrame({"a": TARGET, "b": TIMES})}, "column 'b' of datetime64"),
    "dates with a zone": (
        {},
        {"X": pd.DataFrame({"b": pd.Series(TIMES).dt.tz_localize("UTC")})},
        "X must .* column 'b' of datetime64",
    ),
    "one name twice": (
        {},
        {"X": pd.concat([pd.DataFrame({"a": CODES}).astype("category")] * 2, axis=1)},
        "X must have columns with different names, got two named 'a'",
    ),
    "features of a number": ({}, {"categorical_feature": 1}, "categorical_feature must be"),
    "a feature too far": ({}, {"categorical_feature": [3]}, "categorical_feature: .* got 3"),
    "a direction of categories": (
        {"monotone_constraints": [0, 1, 0]},
        {"X": np.c_[TARGET, CODES, TARGET], "categorical_feature": [1]},
        "monotone_constraints must be 0 for feature 1",
    ),
    "a direction of named categories": (
        {"monotone_constraints": [0, -1]},
        {"X": pd.DataFrame({"a": TARGET, "b": pd.Categorical(CODES)})},
        "monotone_constraints must be 0 for feature 'b'.* got -1",
    ),
    "an unknown metric": ({}, {"eval_metric": "bogus"}, "eval_metric must be one of .* got 'bogus'"),
    "evaluated weights": (
        {},
        {"eval_set": [(GOOD + 0, TARGET)], "eval_sample_weight": [np.full(60, 1e-60)]},
        r"eval_set\[0\]: eval_sample_weight must not be 0",
    ),
    "evaluated targets": ({}, {"eval_set": [(GOOD, TARGET * 1e39)]}, r"eval_set\[0\]: y must be finite"),
}


@pytest.mark.parametrize("case", DATA)
def test_data_are_named(case: str) -> None:
    options, fit, message = DATA[case]
    with pytest.raises(ValueError, match=message):
        GBDTRegressor(n_estimators=2, **options).fit(**({"X": GOOD, "y": TARGET} | fit))


def test_a_classifier_names_its_labels_and_weights() -> None:
    for mixed in ([1, "a"], ["a", 1]):
        with pytest.raises(ValueError, match="y must hold labels of one kind, got int and str"):
            GBDTClassifier(n_estimators=2).fit(GOOD, np.array(mixed * 30, object))
    for weights in ({0: 0, 1: 0}, {0: -1, 1: 1}, {0: 1e300, 1: 1}):
        with pytest.raises(ValueError, match="sample_weight times class_weight must"):
            GBDTClassifier(n_estimators=2, class_weight=weights).fit(GOOD, HALF)


def test_a_ranker_has_no_classes_to_weigh() -> None:
    with pytest.raises(ValueError, match="class_weight is for classifiers"):
        GBDTRanker(class_weight="balanced").fit(GOOD, CODES, group=[60])
    with pytest.raises(ValueError, match="label_gain must be"):
        GBDTRanker(label_gain="x").fit(GOOD, CODES, group=[60])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sigmoid must be"):
        GBDTRanker(sigmoid="1").fit(GOOD, CODES, group=[60])  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", [Quantile, Huber, Poisson])
def test_losses_name_what_is_no_number(loss: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match=r"must be a .*number.*'0.5'"):
        loss("0.5")


def test_tiny_rates_and_weights_are_no_errors() -> None:
    tiny = GBDTRegressor(n_estimators=3, boosting_type="goss", learning_rate=1e-320).fit(GOOD, TARGET)
    np.testing.assert_allclose(tiny.predict(GOOD), TARGET.mean())
    few = GBDTRegressor(n_estimators=3, boosting_type="goss", learning_rate=0.5, top_rate=1e-320, other_rate=1e-320)
    assert np.isfinite(few.fit(GOOD, TARGET).predict(GOOD)).all()
    weights = np.full(60, 1e-40)
    theirs = lightgbm.LGBMRegressor(n_estimators=3, verbose=-1).fit(GOOD, TARGET, sample_weight=weights)
    ours = GBDTRegressor(n_estimators=3).fit(GOOD, TARGET, sample_weight=weights)
    np.testing.assert_allclose(ours.predict(GOOD), theirs.predict(GOOD), rtol=1e-6)


def test_numpys_numbers_are_numbers() -> None:
    options: dict[str, Any] = {"learning_rate": np.float32(0.5), "alpha": np.float32(0.5), "n_jobs": np.int32(1)}
    options["subsample_freq"] = np.int64(0)
    model = GBDTRegressor(n_estimators=2, objective="quantile", **options).fit(GOOD, TARGET)
    plain = GBDTRegressor(n_estimators=2, objective="quantile", learning_rate=0.5, alpha=0.5).fit(GOOD, TARGET)
    assert model.predict(GOOD).tobytes() == plain.predict(GOOD).tobytes()


def test_large_categories_draw_one_warning_at_fit() -> None:
    table = np.c_[CODES, CODES + 2.0**31, TARGET, CODES + 2.0**40]
    with pytest.warns(UserWarning, match=r"categories of 2\^31 or more.* column 1, 3$") as caught:
        model = GBDTRegressor(n_estimators=2).fit(table, TARGET, categorical_feature=[0, 1, 3])
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(table)
        table[:, [1, 3]] = 2.0**31 - 1
        GBDTRegressor(n_estimators=2).fit(table, TARGET, categorical_feature=[0, 1, 3])
    frame = pd.DataFrame({"a": CODES + 2**31, "b": TARGET})
    with pytest.warns(UserWarning, match="in column 'a'$"):
        GBDTRegressor(n_estimators=2).fit(frame, TARGET, categorical_feature=["a"])


TEXT = GBDTRegressor(n_estimators=2).fit(pd.DataFrame(GOOD, columns=["a", "b", "c"]), TARGET).to_json()


def forged(part: str, name: str, value: Any) -> str:
    """The text with another value, and the digest that fits."""
    content = json.loads(TEXT)
    content["model"][part][name] = value
    content["sha256"] = saving._digest(content["model"])
    return json.dumps(content)


@pytest.mark.parametrize(
    ("name", "value"), [one for one in PARAMETERS if one[0] not in ("metric", "monotone_constraints")]
)
def test_files_with_such_parameters_are_refused(name: str, value: Any) -> None:
    stored = {"float": "inf"} if isinstance(value, float) and np.isinf(value) else value
    with pytest.raises(ValueError, match=rf"^{name}\b"):
        GBDTRegressor.from_json(forged("parameters", name, stored))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("best_iteration_", "x"),
        ("best_iteration_", -1),
        ("best_iteration_", True),
        ("n_iter_", 2.0),
        ("n_iter_", 3),
        ("n_estimators_", None),
        ("n_features_in_", 3.0),
        ("evals_result_", "x"),
        ("evals_result_", {"pairs": [["a", 1]]}),
        ("best_score_", [1]),
        ("feature_names_in_", ["a", "b", "c"]),
        ("feature_names_in_", {"array": ["a", "b"], "dtype": "object"}),
        ("feature_names_in_", {"array": ["a", "b", 3], "dtype": "object"}),
    ],
)
def test_files_with_other_attributes_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be"):
        GBDTRegressor.from_json(forged("attributes", name, value))


def test_what_is_no_text_is_named() -> None:
    assert GBDTRegressor.from_json(TEXT).to_json() == TEXT
    with pytest.raises(TypeError, match="text must be a string, got NoneType"):
        GBDTRegressor.from_json(None)  # type: ignore[arg-type]
