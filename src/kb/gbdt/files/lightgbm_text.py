"""Trees in LightGBM's text form, version 4, so that LightGBM predicts what this package does.

A line is ``name=value``; a tree's lines hold one number per node or leaf. A node's ``decision_type`` has bit 0 for a
split by category, bit 1 for missing values going left, and bits 2 and 3 for what is missing: 0 nothing (NaN counts as
0), 2 NaN. Categories that go left are a set of bits in 32-bit words, and ``cat_boundaries`` says which words are whose.
Floats are written with the fewest digits that give them back. The constant that scores start from is in the leaves of
the first trees, as in LightGBM's own files.

A loss that LightGBM does not know has no objective there: LightGBM's predictions are then raw scores.

Source: files that LightGBM 4.7 writes, and its documentation of ``Booster.model_to_string``.
Shapes: K nodes, L leaves, F features.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from kb.gbdt.binning.mapper import Categories, Mapper
from kb.gbdt.losses import Absolute, Huber, Logistic, Loss, Poisson, Quantile, RankScores, Softmax, Squared
from kb.gbdt.tree import Model, Tree

OBJECTIVES: dict[type[Loss], Callable[[Any], str]] = {
    Squared: lambda _: "regression",
    Absolute: lambda _: "regression_l1",
    Huber: lambda _: "huber",
    Quantile: lambda loss: f"quantile alpha:{loss.alpha!r}",
    Poisson: lambda _: "poisson",
    Logistic: lambda _: "binary sigmoid:1",
    Softmax: lambda loss: f"multiclass num_class:{loss.classes}",
    RankScores: lambda _: "lambdarank",
}
PARAMETERS = {  # LightGBM's names of what it needs to go on with a model, and the estimators'
    "boosting": "boosting_type",
    "learning_rate": "learning_rate",
    "num_leaves": "num_leaves",
    "max_depth": "max_depth",
    "min_data_in_leaf": "min_child_samples",
    "min_sum_hessian_in_leaf": "min_child_weight",
    "min_gain_to_split": "min_split_gain",
    "lambda_l1": "reg_alpha",
    "lambda_l2": "reg_lambda",
    "max_bin": "max_bin",
    "alpha": "alpha",
    "poisson_max_delta_step": "poisson_max_delta_step",
}
_BY_CATEGORY, _MISSING_LEFT, _NAN_IS_MISSING = 1, 2, 8
_LARGEST_CATEGORY = 1 << 24  # whose set of bits has 2 MiB


def to_text(estimator: Any) -> str:
    """The text of a fitted estimator.

    Raises:
        ValueError: a category is above 16 777 216, and LightGBM's set of bits would be too long.
        TypeError: a frame's categories are neither numbers nor strings, so that LightGBM would not find them again.
    """
    model: Model = estimator.model_
    names = feature_names(getattr(estimator, "feature_names_in_", None), len(model.mappers))
    flat = [tree for trees in model.trees for tree in trees]
    # A tree that the constant was added to is, as in LightGBM's files, no longer a multiple of one that was grown.
    rates = [1.0 if place < model.classes else estimator.learning_rate for place in range(len(flat))]
    blocks = [
        f"Tree={place}\n{_tree(tree, model.mappers, rate)}"
        for place, (tree, rate) in enumerate(zip(flat, rates, strict=True))
    ]
    objective = OBJECTIVES.get(type(estimator._loss))
    head = [
        "tree",
        "version=v4",
        f"num_class={model.classes}",
        f"num_tree_per_iteration={model.classes}",
        "label_index=0",
        f"max_feature_idx={len(names) - 1}",
        *([] if objective is None else [f"objective={objective(estimator._loss)}"]),
        f"feature_names={' '.join(names)}",
        f"feature_infos={' '.join(_info(mapper) for mapper in model.mappers)}",
        f"tree_sizes={_row(len(block.encode()) for block in blocks)}",
    ]
    return "\n".join([*head, "", ""]) + "".join(blocks) + "\n".join(_tail(estimator, names, flat))


def _tail(estimator: Any, names: list[str], trees: list[Tree]) -> list[str]:
    """The lines after the trees."""
    splits_F = np.bincount(np.concatenate([tree.feature_K for tree in trees]), minlength=len(names))
    order = [place for place in np.argsort(-splits_F, kind="stable") if splits_F[place]]
    # A loss that was given as an object has an alpha of its own.
    used = {theirs: getattr(estimator._loss, ours, getattr(estimator, ours)) for theirs, ours in PARAMETERS.items()}
    parameters = [f"[{name}: {value}]" for name, value in used.items()]
    if type(estimator._loss) in OBJECTIVES:
        parameters += [f"[objective: {estimator._loss.name}]", f"[num_class: {estimator._loss.classes}]"]
    categories = [list(values) for _, values in sorted(estimator._columns.categories.items())] or None
    return [
        *("end of trees", "", "feature_importances:"),
        *(f"{names[place]}={splits_F[place]}" for place in order),
        *("", "parameters:", *parameters, "", "end of parameters", ""),
        f"pandas_categorical:{json.dumps(categories, default=_plain)}",
        "",
    ]


def feature_names(names: Any, count: int) -> list[str]:
    """Names without what has a meaning in the text; LightGBM's ``Column_0`` and so on where there are none."""
    cleaned = [] if names is None else [re.sub(r"[\s\[\]{}\",:=]", "_", str(name)) for name in names]
    if len(set(cleaned)) != count or not all(cleaned):
        return [f"Column_{place}" for place in range(count)]
    return cleaned


def bits(values: Iterable[int]) -> np.ndarray:
    """A set of numbers as 32-bit words, the lowest bit first.

    Raises:
        ValueError: a number is negative or above 16 777 216.
    """
    places = np.array(list(values), np.int64)
    if len(places) and not (places.min() >= 0 and places.max() <= _LARGEST_CATEGORY):
        raise ValueError(f"categories must be from 0 to {_LARGEST_CATEGORY} for LightGBM's text, got {places.max()}")
    words = np.zeros(places.max(initial=0) // 32 + 1, np.uint32)
    np.bitwise_or.at(words, places // 32, np.left_shift(1, places % 32).astype(np.uint32))
    return words


def _info(mapper: Mapper) -> str:
    """What LightGBM keeps of a feature's values and does not read to predict."""
    if isinstance(mapper, Categories):
        return ":".join(map(str, mapper.values)) or "none"
    return "[-inf:inf]" if len(mapper.bounds_B) > 1 else "none"


def _tree(tree: Tree, mappers: list[Mapper], learning_rate: float) -> str:
    """The lines of a tree, and the empty ones after them."""
    by_category_K = np.isnan(tree.threshold_K)
    missing_F = np.array([mapper.has_missing for mapper in mappers], bool)
    kinds_K = np.where(by_category_K, _BY_CATEGORY, _MISSING_LEFT * tree.missing_left_K)
    kinds_K += _NAN_IS_MISSING * (by_category_K | missing_F[tree.feature_K])
    columns = {
        "num_leaves": [tree.leaves],
        "num_cat": [len(tree.categories)],
        "split_feature": tree.feature_K,
        "split_gain": tree.gain_K,
        "threshold": np.where(by_category_K, tree.bin_K, tree.threshold_K),
        "decision_type": kinds_K,
        "left_child": tree.left_K,
        "right_child": tree.right_K,
        "leaf_value": tree.leaf_value_L,
        "leaf_weight": tree.leaf_weight_L,
        "leaf_count": tree.leaf_count_L,
        "internal_value": tree.node_value_K,
        "internal_weight": tree.node_weight_K,
        "internal_count": tree.node_count_K,
    }
    if tree.categories:
        words = [bits(values) for _, values in tree.categories]
        columns |= {"cat_boundaries": np.cumsum([0, *map(len, words)]), "cat_threshold": np.concatenate(words)}
    columns |= {"is_linear": [0], "shrinkage": [learning_rate]}
    return "\n".join(f"{name}={_row(values)}" for name, values in columns.items()) + "\n\n\n"


def _row(values: Any) -> str:
    numbers = values.tolist() if isinstance(values, np.ndarray) else values
    return " ".join(map(str, numbers))


def _plain(value: Any) -> Any:
    """A category of NumPy's as Python's."""
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        return value.item()
    raise TypeError(f"categories must be numbers or strings for LightGBM's text, got {value!r}")
