"""Files of estimators: the same bytes come back, and what is not whole, altered or no tree is refused."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb import whole_file
from kb.gbdt import GBDTClassifier, GBDTRegressor
from kb.gbdt.files import saving
from kb.gbdt.files.encoding import decode, encode
from kb.gbdt.losses import Huber, Quantile, Squared


def table(seed: int, rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((rows, 5))
    values[:, 4] = generator.integers(0, 12, rows)
    target = 2 * values[:, 0] + values[:, 1] * values[:, 2] + values[:, 4] % 3 + generator.standard_normal(rows)
    values[generator.random(values.shape) < 0.1] = np.nan
    return values, target


OPTIONS: dict[str, Any] = {"n_estimators": 4, "min_data_per_group": 5, "cat_smooth": 1.0}
CASES: dict[str, tuple[type, dict[str, Any]]] = {
    "regression": (GBDTRegressor, {}),
    "a loss as objective": (GBDTRegressor, {"objective": Quantile(0.3)}),
    "huber": (GBDTRegressor, {"objective": "huber", "alpha": np.float32(1.1)}),
    "poisson": (GBDTRegressor, {"objective": "poisson", "random_state": np.int64(3), "n_jobs": 1}),
    "monotone": (GBDTRegressor, {"monotone_constraints": (1, -1, 0, 0, 0)}),
    "one leaf": (GBDTRegressor, {"min_split_gain": 1e12}),
    "two classes": (GBDTClassifier, {"class_weight": {"low": 1.0, "top": 2.5}}),
    "three classes": (GBDTClassifier, {"class_weight": "balanced", "boosting_type": "goss"}),
    "numbers as classes": (GBDTClassifier, {"class_weight": {3: 1.0, 7: 2.0, 9: 1.0}}),
}


def fitted(name: str) -> tuple[Any, np.ndarray]:
    values, target = table(0)
    kind, options = CASES[name]
    if name == "poisson":
        target = np.floor(np.abs(target))
    if kind is GBDTClassifier:
        names = {"two classes": ["low", "top"], "three classes": ["low", "mid", "top"]}.get(name, [3, 7, 9])
        target = np.array(names)[np.digitize(target, [0.0, 1.5][: len(names) - 1])]
    categorical = [] if name == "monotone" else [4]
    return kind(**OPTIONS, **options).fit(values, target, categorical_feature=categorical), table(1)[0]


@pytest.mark.parametrize("name", CASES)
def test_what_comes_back_says_the_same_bytes(name: str, tmp_path: Path) -> None:
    model, new = fitted(name)
    model.save_model(tmp_path / "model.json")
    back = type(model).load_model(tmp_path / "model.json")
    kinds: list[dict[str, Any]] = [{}, {"raw_score": True}, {"pred_leaf": True}, {"pred_contrib": True}]
    for kind in kinds:
        ours, theirs = back.predict(new, **kind), model.predict(new, **kind)
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes()
    if hasattr(model, "predict_proba"):
        assert back.predict_proba(new).tobytes() == model.predict_proba(new).tobytes()
    assert back.feature_importances_.tobytes() == model.feature_importances_.tobytes()
    assert back.to_lightgbm_text() == model.to_lightgbm_text()
    assert back.to_json() == model.to_json()


def test_frames_keep_their_names_and_categories() -> None:
    generator = np.random.default_rng(0)
    columns = {"x": generator.standard_normal(300), "c": pandas.Categorical(generator.choice(list("äbcd"), 300))}
    frame = pandas.DataFrame(columns)
    model = GBDTRegressor(**OPTIONS).fit(frame, frame["x"] + frame["c"].cat.codes)
    back = GBDTRegressor.from_json(model.to_json())
    assert back.feature_names_in_.tolist() == ["x", "c"]
    other = frame.assign(c=pandas.Categorical(np.resize(["d", "new", "ä"], 300)))
    assert back.predict(other).tobytes() == model.predict(other).tobytes()
    back.fit(frame, -frame["x"])  # and it is an estimator like any other


def test_a_file_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.json"
    fitted("regression")[0].save_model(path)
    before = path.read_bytes()
    model, new = fitted("poisson")

    def fail(*_: Any) -> None:
        raise OSError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(whole_file.os, "fsync", fail)
        with pytest.raises(OSError, match="no room"):
            model.save_model(path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["model.json"]
    model.save_model(path)
    np.testing.assert_array_equal(GBDTRegressor.load_model(path).predict(new), model.predict(new))


TEXT = fitted("two classes")[0].to_json()


@settings(max_examples=60)
@given(st.integers(0, len(TEXT) - 1))
def test_a_text_that_was_cut_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="not whole"):
        GBDTClassifier.from_json(TEXT[:length])


@settings(max_examples=100)
@given(st.integers(0, len(TEXT) - 1), st.sampled_from("0123456789.-eE,:[]{}\"' truefalsn\\x"))
def test_a_text_with_another_character_is_refused_or_means_the_same(place: int, character: str) -> None:
    found = outcome(TEXT[:place] + character + TEXT[place + 1 :])
    assert found == TEXT or found.startswith("text ")


def outcome(text: str) -> str:
    """What the estimator of a text would be saved as, or the error."""
    try:
        return GBDTClassifier.from_json(text).to_json()
    except ValueError as error:
        return str(error)


def test_the_layout_does_not_matter_and_files_are_named(tmp_path: Path) -> None:
    assert GBDTClassifier.from_json(json.dumps(json.loads(TEXT), indent=2, sort_keys=True)).to_json() == TEXT
    path = tmp_path / "cut.json"
    path.write_text(TEXT[:1000])
    with pytest.raises(ValueError, match=r"cut\.json: text .* not whole"):
        GBDTClassifier.load_model(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"cut\.json: "):
        GBDTClassifier.load_model(path)
    with pytest.raises(FileNotFoundError):
        GBDTClassifier.load_model(tmp_path / "nothing.json")
    with pytest.raises(ValueError, match="holds a GBDTClassifier, not a GBDTRegressor"):
        GBDTRegressor.from_json(TEXT)


def signed(change: Callable[[Any], Any]) -> str:
    """The text of a changed model, with the digest that fits."""
    content = json.loads(TEXT)
    change(content["model"])
    content["sha256"] = saving._digest(content["model"])
    return json.dumps(content)


def tree(name: str, place: int, value: Any) -> Callable[[Any], Any]:
    return lambda model: model["trees"][0][0][name].__setitem__(place, value)


def circle(model: Any) -> None:
    """Hang a node under itself, and its leaf where it was: still each is the child of one."""
    tree = model["trees"][0][0]
    sides = [(name, node) for name in ("left", "right") for node in range(len(tree["left"]))]
    side, node = next((side, node) for side, node in sides if node > 0 and tree[side][node] < 0)
    above, parent = next((other, parent) for other, parent in sides if tree[other][parent] == node)
    tree[above][parent], tree[side][node] = tree[side][node], node


BAD: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a circle": (circle, "a node's child must come after it"),
    "the root as a child": (tree("left", 1, 0), "one node's child"),
    "a child twice": (
        lambda model: model["trees"][0][0].update(left=model["trees"][0][0]["right"]),
        "one node's child",
    ),
    "a leaf too far": (tree("right", 3, -99), "one node's child"),
    "a feature too far": (tree("feature", 0, 5), "features must be from 0 to 4"),
    "a number too large": (tree("feature", 0, 2**40), "int32"),
    "a word": (tree("leaf_value", 0, "1.0"), "leaf_value must hold only float64"),
    "no number of rows": (tree("leaf_count", 0, 0), "at least one row"),
    "a bin too far": (tree("bin", 0, 10_000), "bin 10000 is out of range"),
    "truth as a number": (tree("missing_left", 0, 1), "missing_left must hold only bool"),
    "a node too few": (lambda model: model["trees"][0][0]["left"].pop(), "left must have"),
    "a field too few": (lambda model: model["trees"][0][0].pop("gain"), "must have a field 'gain'"),
    "no tree": (lambda model: model["trees"][0].clear(), "round 0 must be a list of 1 trees"),
    "bounds that fall": (lambda model: model["mappers"][0]["bounds"].reverse(), "bounds must ascend"),
    "a mapper too few": (lambda model: model["mappers"].pop(), "n_features_in_ must be 4"),
    "an unknown parameter": (lambda model: model["parameters"].update(rounds=3), "no parameter rounds"),
    "an unknown loss": (lambda model: model["loss"].update(loss="own"), "the loss cannot be read"),
    "a method": (lambda model: model["attributes"].update(predict_=1, fit=2), "attribute fit"),
    "a property": (lambda model: model["attributes"].update(feature_importances_=1), "attribute feature_importances_"),
    "too few labels": (lambda model: model["attributes"]["classes_"]["array"].pop(), "classes_ must hold 2 labels"),
    "an unknown object": (lambda model: model["attributes"].update(x_={"call": "f"}), "an object with keys call"),
    "a column too far": (lambda model: model["columns"].append([9, ["a"]]), "places from 0 to 4"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_model_is_refused_even_if_signed(name: str) -> None:
    change, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        GBDTClassifier.from_json(signed(change))


INTEGERS = ["feature", "bin", "left", "right", "leaf_count", "node_count"]


@settings(max_examples=60)
@given(st.sampled_from(INTEGERS), st.integers(0, 29), st.integers(-40, 40))
def test_no_signed_tree_leads_astray(name: str, place: int, value: int) -> None:
    """Whatever is accepted, all rows come to a leaf that is there."""
    column = json.loads(TEXT)["model"]["trees"][0][0][name]
    try:
        back = GBDTClassifier.from_json(signed(tree(name, place % len(column), value)))
    except ValueError:
        return
    leaves = back.predict(table(1, 50)[0], pred_leaf=True)
    assert ((leaves >= 0) & (leaves < [tree.leaves for trees in back.model_.trees for tree in trees])).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not whole"),
        ("[]", "format is 'kb.gbdt'"),
        ("{}", "format is 'kb.gbdt'"),
        ('{"format": "kb.gbdt", "version": 2}', "version 1, got 2"),
        ('{"format": "kb.gbdt", "version": 1, "model": {}, "sha256": "0"}', "altered"),
        ('{"format": "kb.gbdt", "version": NaN}', "NaN is no JSON"),
        ("[" * 200_000 + "]" * 200_000, "text must be the JSON of a model"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GBDTRegressor.from_json(text)


def test_what_cannot_be_saved_is_named() -> None:
    class Own(Squared):
        name = "own"

    values, target = table(0)
    with pytest.raises(TypeError, match="the parameter random_state cannot be saved: it is of type RandomState"):
        GBDTRegressor(n_estimators=1, random_state=np.random.RandomState(0)).fit(values, target).to_json()
    with pytest.raises(TypeError, match="the parameter objective cannot be saved: it is of type Own"):
        GBDTRegressor(n_estimators=1, objective=Own()).fit(values, target).to_json()
    with pytest.raises(ValueError, match="not fitted"):
        GBDTRegressor().to_json()


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.integers() | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=50)
@given(VALUES)
def test_values_come_back_with_their_types_and_bits(value: Any) -> None:
    back = decode(json.loads(json.dumps(encode(value, "it"), allow_nan=False)), "it")
    assert repr(back) == repr(value)


def test_arrays_losses_and_numpys_numbers_come_back() -> None:
    arrays = [np.array(["a", "bcd"]), np.array([1, -2], np.int8), np.array([[0.1, math.inf]]), np.array([True])]
    for array in [*arrays, np.array(["x", 2], object)]:
        back = decode(json.loads(json.dumps(encode(array, "it"))), "it")
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)
    loss = decode(encode(Huber(0.3), "it"), "it")
    assert (type(loss), loss.alpha) == (Huber, 0.3)
    assert encode(np.float32(0.5), "it") == 0.5
    with pytest.raises(TypeError, match="it cannot be saved: it is of type datetime64"):
        encode(np.datetime64("2020-01-01"), "it")
