"""The ranker: LightGBM's trees and numbers, the loop over pairs, the same bytes on all paths, and bad input."""

import importlib.util
import pickle
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

from kb.gbdt import GBDTRanker, early_stopping
from kb.gbdt.losses import LambdaRank
from kb.gbdt.losses.lambdarank import add_pairs, add_pairs_slowly
from tests.gbdt.test_against_lightgbm import structure, their_structure

QUIET = {"verbose": -1, "n_jobs": 1}
pytestmark = pytest.mark.filterwarnings("ignore::lightgbm.basic.LGBMDeprecationWarning")


def queries(seed: int, count: int = 50) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Documents of queries of 1 to 100, with a category and gaps."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 100, count)
    values = np.round(2 * generator.standard_normal((sizes.sum(), 6)))
    values[:, 5] = generator.integers(0, 6, len(values))
    merit = values[:, 0] + np.sin(values[:, 1]) + values[:, 2] * values[:, 3] / 8 + (values[:, 5] == 2)
    labels = np.digitize(merit / 2 + generator.standard_normal(len(values)), [0.5, 1.5, 2.5])
    values[generator.random(values.shape) < 0.05] = np.nan
    return values, labels, sizes


def switches(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Documents whose features are 0 or 1: between two thresholds there is always a row, so that none gain the same."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 100, count)
    values = (generator.random((sizes.sum(), 12)) < 0.4).astype(float)
    merit = values @ np.linspace(0.1, 1, 12) + values[:, 0] * values[:, 11]
    return values, np.digitize(merit + generator.standard_normal(len(values)), [2.0, 3.0, 4.0]), sizes


CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "not evened out": {"lambdarank_norm": False},
    "few, steep, own gains": {"lambdarank_truncation_level": 5, "sigmoid": 2.0, "label_gain": [0, 1, 2, 9]},
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_trees_predictions_and_ndcg_are_lightgbms(seed: int, name: str, weighted: bool) -> None:
    values, labels, sizes = queries(seed)
    weights = np.random.default_rng(seed).uniform(0.5, 2, len(values)) if weighted else None
    options = {"n_estimators": 20, **CASES[name]}
    ours, theirs = GBDTRanker(**options), lightgbm.LGBMRanker(**options, **QUIET)
    for model in (ours, theirs):
        model.fit(
            values,
            labels,
            sample_weight=weights,
            group=sizes,
            eval_set=[(values, labels)],
            eval_group=[sizes],
            eval_at=(1, 5, 10),
            categorical_feature=[5],
        )
    dumped = [tree["tree_structure"] for tree in theirs.booster_.dump_model()["tree_info"]]
    assert structure(ours.model_.trees[0][0]) == their_structure(dumped[0])
    np.testing.assert_allclose(ours.predict(values), theirs.predict(values), rtol=1e-9, atol=1e-9)
    found = theirs.evals_result_["training"]
    assert list(ours.evals_result_["training"]) == list(found) == ["ndcg@1", "ndcg@5", "ndcg@10"]
    for metric, numbers in found.items():
        np.testing.assert_allclose(ours.evals_result_["training"][metric], numbers, atol=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_stops_where_lightgbm_stops(seed: int) -> None:
    values, labels, sizes = switches(seed, 40)
    others, their_labels, their_sizes = switches(seed + 100, 20)
    weights = np.random.default_rng(seed).uniform(0.5, 2, len(others))
    options = {"learning_rate": 0.3, "num_leaves": 7}
    ours, theirs = GBDTRanker(**options), lightgbm.LGBMRanker(**options, **QUIET)
    for model, stop in ((ours, early_stopping), (theirs, lightgbm.early_stopping)):
        stopping: Callable[..., Any] = stop
        model.fit(
            values,
            labels,
            group=sizes,
            eval_set=[(others, their_labels)],
            eval_group=[their_sizes],
            eval_sample_weight=[weights],
            callbacks=[stopping(5, verbose=False)],
        )
    assert ours.best_iteration_ == theirs.best_iteration_ < 100
    assert list(ours.evals_result_) == list(theirs.evals_result_) == ["valid_0"]
    for metric, numbers in theirs.evals_result_["valid_0"].items():
        np.testing.assert_allclose(ours.evals_result_["valid_0"][metric], numbers, atol=1e-9)
    np.testing.assert_allclose(ours.predict(others), theirs.predict(others), rtol=1e-9, atol=1e-9)


DOCUMENTS = st.lists(st.tuples(st.integers(0, 4), st.sampled_from([-30.0, -0.5, 0.0, 0.0, 0.7, 2.0])), min_size=1)


@given(DOCUMENTS, st.integers(1, 8), st.booleans(), st.sampled_from([0.5, 1.0, 3.0]))
def test_rows_of_pairs_are_the_loop_over_pairs(
    documents: list[tuple[int, float]], truncation: int, norm: bool, sigmoid: float
) -> None:
    labels = np.array([label for label, _ in documents], float)
    scores = -np.sort([-score for _, score in documents])
    loss = LambdaRank(labels, [len(labels)], truncation, norm, sigmoid=sigmoid)
    found = []
    for way in (add_pairs, add_pairs_slowly):
        sums = np.zeros((len(labels), 2), np.float32)
        total = way(scores, labels, loss.gains_N, loss.discounts_R, float(loss.scale_Q[0]), loss.rules, sums)
        found.append((total, sums.tobytes()))
    assert found[0] == found[1]
    # What a document is pulled by, another is pushed by, up to the rounding of 32 bits.
    assert abs(float(sums[:, 0].sum())) <= 1e-5 * (1 + np.abs(sums[:, 0]).sum())
    assert (sums[:, 1] >= 0).all()


def test_all_paths_and_orders_of_queries_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    values, labels, sizes = queries(3)
    others, their_labels, their_sizes = queries(103, 10)

    def fitted(order: np.ndarray) -> tuple[bytes, dict[str, Any]]:
        rows = np.concatenate([parts[query] for query in order])
        model = GBDTRanker(n_estimators=5)
        sets = {"eval_set": [(others, their_labels)], "eval_group": [their_sizes]}
        model.fit(values[rows], labels[rows], group=sizes[order], **sets)
        return model.predict(values).tobytes(), model.evals_result_

    parts = np.split(np.arange(len(values)), sizes.cumsum()[:-1])
    given_order, another = np.arange(len(sizes)), np.random.default_rng(0).permutation(len(sizes))
    fast = fitted(given_order)
    assert fitted(another) == fast
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba" else find(name))
    assert fitted(given_order) == fast


def test_threads_give_the_same_bytes() -> None:
    values, labels, sizes = queries(6, 200)
    assert len(values) > 8192  # with fewer rows, one thread is used whatever is asked for
    found = {
        GBDTRanker(n_estimators=5, n_jobs=n).fit(values, labels, group=sizes).predict(values).tobytes() for n in (1, 2)
    }
    assert len(found) == 1


def test_a_function_gets_labels_scores_weights_and_queries() -> None:
    values, labels, sizes = queries(4, 20)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(values))
    seen = []

    def centred(y_true: np.ndarray, y_pred: np.ndarray, weight: np.ndarray, group: np.ndarray) -> Any:
        seen.append((weight.dtype, group.tolist()))
        centre = np.repeat(np.add.reduceat(y_pred, group.cumsum() - group) / group, group)
        return (y_pred - centre - y_true) * weight, weight

    ours, theirs = (
        made(objective=centred, n_estimators=8, num_leaves=7, **more)
        for made, more in ((GBDTRanker, {}), (lightgbm.LGBMRanker, QUIET))
    )
    for model in (ours, theirs):
        model.fit(values, labels, sample_weight=weights, group=sizes, eval_set=[(values, labels)], eval_group=[sizes])
    np.testing.assert_allclose(ours.predict(values), theirs.predict(values), rtol=1e-9, atol=1e-9)
    assert ours.evals_result_["training"].keys() == theirs.evals_result_["training"].keys()
    assert len(seen) == 16
    assert all(one == (np.float32, sizes.tolist()) for one in seen)


def test_copies_and_files_hold_the_trees_and_not_the_data() -> None:
    values, labels, sizes = queries(5, 20)
    model = clone(GBDTRanker(n_estimators=2, lambdarank_norm=False)).fit(values, labels, group=sizes)
    assert not model.get_params()["lambdarank_norm"]
    held = pickle.dumps(model)
    assert len(held) < 100_000  # the table of the sigmoid alone has 8 MB
    np.testing.assert_array_equal(pickle.loads(held).predict(values), model.predict(values))


GOOD, LABELS = np.random.default_rng(0).standard_normal((60, 3)), np.arange(60) % 3


@pytest.mark.parametrize(
    ("options", "fit", "message"),
    [
        ({}, {"group": None}, "group must say"),
        ({}, {"group": [30, 20]}, "sum to the 60 rows .* sum of 50"),
        ({}, {"group": [70, -10]}, "from -10 to 70"),
        ({}, {"group": [59.5, 0.5]}, "integers"),
        ({}, {"group": [60, 0]}, "from 0 to 60"),
        ({}, {"group": [[60]]}, "list of integers"),
        ({}, {"group": ["60"]}, "list of integers"),
        ({}, {"y": LABELS + 0.5}, "integers from 0 to 30.*got 0.5"),
        ({}, {"y": LABELS - 1}, "integers from 0 to 30.*got -1"),
        ({}, {"y": LABELS + 30}, "integers from 0 to 30.*got 31"),
        ({"label_gain": [0, 1]}, {}, "integers from 0 to 1.*got 2"),
        ({"label_gain": [0, np.nan, 1]}, {}, "label_gain"),
        ({"lambdarank_truncation_level": 0}, {}, "lambdarank_truncation_level"),
        ({"lambdarank_norm": 1}, {}, "lambdarank_norm"),
        ({"sigmoid": 0.0}, {}, "sigmoid"),
        ({"objective": "rank_xendcg"}, {}, "objective"),
        ({}, {"eval_set": [(GOOD + 0, LABELS)]}, "eval_group"),
        ({}, {"eval_X": GOOD + 0, "eval_y": LABELS}, "eval_group"),
        ({}, {"eval_set": [(GOOD + 0, LABELS)], "eval_group": []}, "eval_group"),
        ({}, {"eval_set": [(GOOD + 0, LABELS)], "eval_group": [[20]]}, r"eval_set\[0\].*eval_group must sum"),
        ({}, {"eval_set": [(GOOD, LABELS + 29)], "eval_group": [[60]]}, r"eval_set\[0\].*0 to 30"),
        ({}, {"eval_set": [(GOOD + 0, LABELS)], "eval_group": [[60]], "eval_at": [0]}, "eval_at"),
    ],
)
def test_bad_input_is_named(options: dict[str, Any], fit: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GBDTRanker(n_estimators=2, **options).fit(**({"X": GOOD, "y": LABELS, "group": [20, 40]} | fit))


def test_a_query_of_more_documents_than_lightgbm_takes_is_refused() -> None:
    with pytest.raises(ValueError, match="10000"):
        LambdaRank(np.zeros(10_001), [10_001])


def test_a_fitted_ranker_goes_into_files_and_comes_back() -> None:
    values, labels, sizes = queries(5)
    model = GBDTRanker(n_estimators=10).fit(
        values, labels, group=sizes, eval_set=[(values, labels)], eval_group=[sizes]
    )
    back = GBDTRanker.from_json(model.to_json())
    assert back.predict(values).tobytes() == model.predict(values).tobytes()
    assert back.evals_result_ == model.evals_result_
    booster = lightgbm.Booster(model_str=model.to_lightgbm_text())
    np.testing.assert_allclose(booster.predict(values), model.predict(values), rtol=1e-15)
    contributions = model.predict(values, pred_contrib=True)
    np.testing.assert_allclose(contributions.sum(axis=1), model.predict(values), atol=1e-12)
    *_, last = model.staged_predict(values)
    np.testing.assert_allclose(last, model.predict(values), atol=1e-12)
    with pytest.raises(TypeError, match="no queries"):
        model._loss.derivatives(np.zeros((3, 1)), np.zeros(3), None)


def test_a_model_of_a_function_is_not_saved_in_silence() -> None:
    values, labels, sizes = queries(6)
    own = GBDTRanker(n_estimators=2, objective=lambda y, s: (s - y, np.ones_like(s))).fit(values, labels, group=sizes)
    with pytest.raises(TypeError, match="the parameter objective cannot be saved: it is of type function"):
        own.to_json()
