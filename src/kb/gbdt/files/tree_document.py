"""A tree as JSON, and back.

A tree is an object with the fields of :class:`kb.gbdt.tree.Tree` without their shapes, each a list by node or leaf. Of
a split by category ``threshold`` is null; ``categories`` holds ``[bins, values]`` of each such split. What is read is
checked before it is used, so that no file leads a prediction out of an array or in a circle.

Shapes: K nodes, L leaves.
"""

from typing import Any

import numpy as np

from kb.gbdt.binning.mapper import Categories, Mapper
from kb.gbdt.tree import Tree

_KINDS = {  # of a tree's fields
    "feature_K": np.int32,
    "bin_K": np.int32,
    "threshold_K": np.float64,
    "missing_left_K": np.bool_,
    "left_K": np.int32,
    "right_K": np.int32,
    "gain_K": np.float64,
    "node_value_K": np.float64,
    "node_weight_K": np.float64,
    "node_count_K": np.int64,
    "leaf_value_L": np.float64,
    "leaf_weight_L": np.float64,
    "leaf_count_L": np.int64,
}
_PYTHON = {"b": (bool,), "i": (int,), "f": (int, float)}


def tree_to_document(tree: Tree) -> dict[str, Any]:
    """The object of a tree."""
    found = {name[:-2]: getattr(tree, name).tolist() for name in _KINDS}
    found["threshold"] = [None if one != one else one for one in found["threshold"]]
    return found | {"categories": [[list(bins), list(values)] for bins, values in tree.categories]}


def take(document: Any, name: str, kind: type, where: str) -> Any:
    """A field of an object."""
    if not isinstance(document, dict) or type(document.get(name)) is not kind:
        raise ValueError(f"{where} must have a field {name!r} of type {kind.__name__}")
    return document[name]


def numbers(values: list[Any], kind: Any, where: str) -> np.ndarray:
    """A list of finite numbers or of booleans as an array."""
    if not all(type(value) in _PYTHON[np.dtype(kind).kind] for value in values):
        raise ValueError(f"{where} must hold only {np.dtype(kind)}")
    try:
        found = np.array(values, kind)
    except OverflowError as error:
        raise ValueError(f"{where} must hold only {np.dtype(kind)}: {error}") from error
    if not np.isfinite(found).all():
        raise ValueError(f"{where} must be finite")
    return found


def tree_of(document: Any, mappers: list[Mapper], where: str) -> Tree:
    """The tree of an object.

    Args:
        document: As :func:`tree_to_document` makes it.
        mappers: Of the features by which it splits.
        where: What it is called in an error.

    Raises:
        ValueError: it is no tree over these features.
    """
    fields: dict[str, Any] = {}
    for name, kind in _KINDS.items():
        values = take(document, name[:-2], list, where)
        if name == "threshold_K":
            by_category_K = np.array([value is None for value in values], bool)
            values = [0.0 if value is None else value for value in values]
        fields[name] = numbers(values, kind, f"{where}, {name[:-2]}")
    L = len(fields["leaf_value_L"])
    for name, column in fields.items():
        if len(column) != L - name.endswith("_K"):
            raise ValueError(f"{where}: {name[:-2]} must have {L - name.endswith('_K')} entries, got {len(column)}")
    categories = []
    for entry in take(document, "categories", list, where):
        if not isinstance(entry, list) or len(entry) != 2 or not all(isinstance(part, list) for part in entry):
            raise ValueError(f"{where}: categories must be pairs of bins and values")
        bins, values = (tuple(numbers(part, np.int64, f"{where}, categories").tolist()) for part in entry)
        categories.append((bins, values))
    fields["threshold_K"][by_category_K] = np.nan
    tree = Tree(**fields, categories=categories)
    check_tree(tree, mappers, where)
    return tree


def check_tree(tree: Tree, mappers: list[Mapper], where: str) -> None:
    """Refuse what is no tree over these features."""
    K, L = len(tree.feature_K), tree.leaves
    children = np.concatenate([tree.left_K, tree.right_K])
    # Each but the root hangs under one node that came before it: then every way down ends.
    if sorted(children.tolist()) != [*range(-L, 0), *range(1, K)] * (K > 0):
        raise ValueError(f"{where}: each node and each leaf must be one node's child")
    parents = np.tile(np.arange(K), 2)
    if ((children >= 0) & (children <= parents)).any():
        raise ValueError(f"{where}: a node's child must come after it")
    if ((tree.feature_K < 0) | (tree.feature_K >= len(mappers))).any():
        raise ValueError(f"{where}: features must be from 0 to {len(mappers) - 1}")
    if min(tree.leaf_count_L.min(), tree.node_count_K.min(initial=1)) < 1:
        raise ValueError(f"{where}: a leaf must have at least one row")
    for feature, bin_, threshold in zip(tree.feature_K, tree.bin_K, tree.threshold_K, strict=True):
        by_category = isinstance(mappers[feature], Categories)
        if by_category != bool(np.isnan(threshold)):
            raise ValueError(f"{where}: threshold must be null for categories, and for them alone")
        if not 0 <= bin_ < (len(tree.categories) if by_category else mappers[feature].bins):
            raise ValueError(f"{where}: bin {bin_} is out of range")
