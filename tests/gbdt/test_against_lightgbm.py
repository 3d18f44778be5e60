"""The trees are LightGBM's: one tree exactly, many up to ties, and predictions to the last digits."""

import warnings
from typing import Any

import lightgbm
import numpy as np
import pytest

from kb.gbdt import GBDTClassifier, GBDTRegressor
from kb.gbdt.tree import Tree

QUIET = {"verbose": -1, "n_jobs": 1}  # on tables as small as these two threads wait for each other


def table(seed: int, rows: int = 4000, missing: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Numbers with gaps, one feature of a few values and one of categories; and a target."""
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((rows, 7))
    values[:, 5] = np.round(values[:, 5] * 2)
    values[:, 6] = generator.integers(0, 30, rows)
    target = 2 * values[:, 0] + np.sin(3 * values[:, 1]) + values[:, 2] * values[:, 3] + np.cos(5 * values[:, 6])
    values[generator.random(values.shape) < missing] = np.nan
    return values, target + generator.standard_normal(rows)


def structure(tree: Tree) -> list[tuple[int, int, int]]:
    """Of each split in order, the feature and the rows on both sides.

    Not the threshold: where no row of a leaf lies between two of them they gain the same, and in LightGBM, whose sums
    are rounded, chance decides.
    """

    def rows(child: int) -> int:
        return int(tree.leaf_count_L[-1 - child] if child < 0 else tree.node_count_K[child])

    sides = zip(tree.feature_K, tree.left_K, tree.right_K, strict=True)
    return [(int(feature), rows(left), rows(right)) for feature, left, right in sides]


def their_structure(node: dict[str, Any]) -> list[tuple[int, int, int]]:
    """The same of a tree that LightGBM dumped."""
    splits: dict[int, tuple[int, int, int]] = {}
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if "split_feature" in node:
            children = node["left_child"], node["right_child"]
            rows = [child.get("leaf_count", child.get("internal_count")) for child in children]
            splits[node["split_index"]] = (node["split_feature"], rows[0], rows[1])
            waiting += children
    return [splits[place] for place in range(len(splits))]


def close(ours: np.ndarray, theirs: np.ndarray, *, share: float = 1.0) -> None:
    """Assert that at least a share of the numbers agree to nine digits."""
    assert np.isclose(ours, theirs, rtol=1e-9, atol=1e-9).mean() >= share


# With two classes a first round has two gradients, so that in small leaves many splits gain the same.
@pytest.mark.parametrize(
    ("kind", "leaves"),
    [("regression", 2), ("regression", 31), ("regression", 127), ("binary", 2), ("binary", 31)],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_tree_has_lightgbms_structure_and_twenty_have_its_predictions(kind: str, seed: int, leaves: int) -> None:
    values, target = table(seed)
    options = {"num_leaves": leaves, "learning_rate": 1.0, "n_estimators": 1, "min_child_samples": 10}
    pairs = {"regression": (GBDTRegressor, lightgbm.LGBMRegressor), "binary": (GBDTClassifier, lightgbm.LGBMClassifier)}
    ours, theirs = (made(**options) for made in pairs[kind])
    theirs.set_params(**QUIET)
    target = target if kind == "regression" else target > 0
    for model in (ours, theirs):
        model.fit(values, target, categorical_feature=[6])
    dumped = theirs.booster_.dump_model()["tree_info"][0]["tree_structure"]
    assert structure(ours.model_.trees[0][0]) == their_structure(dumped)
    for model in (ours, theirs):
        model.set_params(learning_rate=0.1, n_estimators=20).fit(values, target, categorical_feature=[6])
    close(raw(ours, values), raw(theirs, values))
    new, _ = table(seed + 100, 500)
    new[0] = np.nan
    new[1, 6] = 1000.0  # a category that was not there
    new[2, 6] = -1.0
    close(raw(ours, new), raw(theirs, new), share=0.97)
    close(raw(ours, new[:3]), raw(theirs, new[:3]))


def raw(model: Any, values: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LightGBM's sklearn wrapper speaks of feature names
        if hasattr(model, "classes_"):
            return np.asarray(model.predict_proba(values, raw_score=True))
        return np.asarray(model.predict(values, raw_score=True))


CASES: dict[str, dict[str, Any]] = {
    "absolute": {"objective": "regression_l1"},
    "huber": {"objective": "huber", "alpha": 1.3},
    "quantile": {"objective": "quantile", "alpha": 0.3},
    "poisson": {"objective": "poisson"},
    "penalties": {"reg_alpha": 5.0, "reg_lambda": 3.0, "min_split_gain": 1.0},
    "depth": {"max_depth": 4, "min_child_weight": 30.0},
    "few bins": {"max_bin": 20},
    "many bins": {"max_bin": 600, "min_data_in_bin": 1},
    "bagging": {"subsample": 0.6, "subsample_freq": 2},
    "bagging with a seed": {"subsample": 0.7, "subsample_freq": 1, "random_state": 5},
    "features": {"colsample_bytree": 0.5},
    "features with a seed": {"colsample_bytree": 0.8, "random_state": 11},
    "a sample for the bins": {"subsample_for_bin": 1000},
    "subsample alone does nothing": {"subsample": 0.1},
    "monotone": {"monotone_constraints": [1, -1, 0, 0, 0, 1, 0]},
    "categories": {"max_cat_threshold": 5, "cat_l2": 1.0, "cat_smooth": 1.0, "min_data_per_group": 20},
    "one category off": {"max_cat_to_onehot": 40},
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_predictions_are_lightgbms(name: str, weighted: bool) -> None:
    values, target = table(3)
    options = CASES[name]
    if name == "poisson":
        target = np.floor(np.exp(np.clip(target / 3, -2, 2)))
    weights = np.random.default_rng(0).uniform(0.1, 3, len(values)) if weighted else None
    ours = GBDTRegressor(n_estimators=15, **options)
    theirs = lightgbm.LGBMRegressor(n_estimators=15, **options, **QUIET)
    categorical = [] if name == "monotone" else [6]  # LightGBM refuses the two together
    for model in (ours, theirs):
        model.fit(values, target, sample_weight=weights, categorical_feature=categorical or "auto")
    np.testing.assert_allclose(raw(ours, values), raw(theirs, values), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("classes", [2, 4])
def test_classes_are_lightgbms(classes: int) -> None:
    values, target = table(4)
    labels = np.array(["low", "mid", "high", "top"])[np.digitize(target, [0.0, 1.5, 3.0][: classes - 1])]
    ours = GBDTClassifier(n_estimators=10, class_weight="balanced")
    theirs = lightgbm.LGBMClassifier(n_estimators=10, class_weight="balanced", **QUIET)
    for model in (ours, theirs):
        model.fit(values, labels)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    dumped = theirs.booster_.dump_model()["tree_info"]
    for place, tree in enumerate(ours.model_.trees[0]):
        assert structure(tree) == their_structure(dumped[place]["tree_structure"])
    share = 1.0 if classes == 2 else 0.9  # trees of small weights have many ties
    close(raw(ours, values), raw(theirs, values), share=share)
    close(ours.predict_proba(values), theirs.predict_proba(values), share=0.6 if classes > 2 else 1.0)
    assert (ours.predict(values) == theirs.predict(values)).mean() > 0.98


def test_start_scores_rounds_and_importances_are_lightgbms() -> None:
    values, target = table(5)
    start = np.full(len(values), 3.0)
    ours, theirs = GBDTRegressor(n_estimators=12), lightgbm.LGBMRegressor(n_estimators=12, **QUIET)
    for model in (ours, theirs):
        model.fit(values, target, init_score=start)
    np.testing.assert_allclose(raw(ours, values), raw(theirs, values), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        ours.predict(values, num_iteration=5), theirs.predict(values, num_iteration=5), rtol=1e-9, atol=1e-9
    )
    for kind in ("split", "gain"):
        for model in (ours, theirs):
            model.set_params(importance_type=kind)
        np.testing.assert_allclose(ours.feature_importances_, theirs.feature_importances_, rtol=1e-6)
