"""Trees as pictures: the same list of nodes from our tree and from LightGBM's, and where they are drawn."""

from typing import Any

import lightgbm
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.gbdt import GBDTRegressor
from kb.gbdt.pictures.trees import Node, draw_tree, nodes_of

OPTIONS: dict[str, Any] = {"n_estimators": 3, "min_child_samples": 5}


def table(seed: int, rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((rows, 4))
    return X, X[:, 0] + np.sin(3 * X[:, 1]) + 0.1 * generator.standard_normal(rows)


@pytest.mark.parametrize("leaves", [2, 3, 8, 31])
def test_our_tree_and_lightgbm_s_are_one_list(leaves: int) -> None:
    X, y = table(leaves)
    ours = GBDTRegressor(**OPTIONS, num_leaves=leaves).fit(X, y)
    theirs = lightgbm.LGBMRegressor(**OPTIONS, num_leaves=leaves, verbose=-1).fit(X, y)
    dumps = theirs.booster_.dump_model()["tree_info"]
    for number, dump in enumerate(dumps):
        found, wanted = nodes_of(ours.model_.trees[number][0]), nodes_of(dump["tree_structure"])
        assert len(found) == len(wanted) == 2 * leaves - 1
        for one, other in zip(found, wanted, strict=True):
            assert one._replace(value=0.0, threshold=0.0) == other._replace(value=0.0, threshold=0.0)
            np.testing.assert_allclose([one.value, one.threshold], [other.value, other.threshold], 1e-6)


def test_a_tree_of_one_leaf_is_one_node() -> None:
    X, y = np.zeros((40, 1)), np.ones(40)
    theirs = lightgbm.LGBMRegressor(n_estimators=1, verbose=-1).fit(X, y).booster_.dump_model()["tree_info"]
    for tree in (GBDTRegressor(n_estimators=1).fit(X, y).model_.trees[0][0], theirs[0]["tree_structure"]):
        nodes = nodes_of(tree)
        assert [node.feature for node in nodes] == [-1]
        assert nodes[0].value == 1


def test_categories_are_refused() -> None:
    X = np.repeat(np.arange(4.0), 50)[:, None]
    y = np.repeat([3.0, 0.0, 4.0, 1.0], 50)
    options: dict[str, Any] = {"n_estimators": 1, "max_cat_to_onehot": 8}
    ours = GBDTRegressor(**options).fit(X, y, categorical_feature=[0])
    data = lightgbm.Dataset(X, y, categorical_feature=[0], params={"verbose": -1})
    theirs = lightgbm.train({"objective": "regression", "verbose": -1, "max_cat_to_onehot": 8}, data, 1)
    for tree in (ours.model_.trees[0][0], theirs.dump_model()["tree_info"][0]["tree_structure"]):
        with pytest.raises(ValueError, match="splits by category"):
            nodes_of(tree)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**16), leaves=st.integers(2, 20))
def test_a_drawing_has_each_node_once_and_no_two_at_one_place(seed: int, leaves: int) -> None:
    X, y = table(seed, 200)
    nodes = nodes_of(GBDTRegressor(n_estimators=1, min_child_samples=5, num_leaves=leaves).fit(X, y).model_.trees[0][0])
    figure, axes = plt.subplots()
    try:
        draw_tree(axes, nodes, ["a", "b", "c", "d"])
        texts = [(text.get_text(), text.get_position()) for text in axes.texts]
        assert len({place for _, place in texts}) == len(texts) == len(nodes)
        assert len(axes.lines) == len(nodes) - 1
        where = [place for _, place in texts]
        for node, (x, y_place) in zip(nodes, where, strict=True):
            if node.feature >= 0:
                assert where[node.left][0] < x < where[node.right][0]
                assert where[node.left][1] == where[node.right][1] == y_place - 1
    finally:
        plt.close(figure)


def test_texts_say_question_and_answer() -> None:
    figure, axes = plt.subplots()
    draw_tree(axes, [Node(0, 2.5, 1, 2, 0.0, 9), Node(-1, 0, -1, -1, -1.0, 4), Node(-1, 0, -1, -1, 0.25, 5)], ["age"])
    assert [text.get_text() for text in axes.texts] == ["age\n≤ 2.5", "-1\n4", "+0.25\n5"]
    plt.close(figure)
