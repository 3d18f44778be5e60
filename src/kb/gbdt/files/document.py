"""A fitted estimator as a document of JSON, and back.

The document has these fields; :mod:`kb.gbdt.files.encoding` says how values are written.

- ``kind``: the estimator's class; ``parameters``: its constructor's; ``attributes``: what fitting left under names that
  end in an underscore, as ``classes_`` and ``n_features_in_``.
- ``loss``: what the trees were fitted to; ``columns``: of a data frame's columns of categories, ``[place, values]``.
- ``mappers``, of each feature how it is put in bins: ``{"bounds": [...], "has_missing": false}`` of numbers, without
  the last bound, which is infinite; ``{"categories": [...], "is_full": true, "has_missing": false}`` of categories.
- ``trees``, by round and class, as :mod:`kb.gbdt.files.tree_document` has them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from kb.arguments import is_integer
from kb.gbdt import settings
from kb.gbdt.binning.mapper import Categories, Mapper, Numbers
from kb.gbdt.files.encoding import decode, encode
from kb.gbdt.files.tree_document import numbers, take, tree_of, tree_to_document
from kb.gbdt.inputs.tables import Columns
from kb.gbdt.losses import Loss
from kb.gbdt.tree import Model


def to_document(estimator: Any) -> dict[str, Any]:
    """The document of a fitted estimator.

    Raises:
        TypeError: a parameter cannot be saved, as a loss of one's own.
    """
    fitted = {key: one for key, one in sorted(vars(estimator).items()) if key.endswith("_") and key[0] != "_"}
    attributes = {key: one for key, one in fitted.items() if key != "model_"}  # that one is all the rest
    parameters = estimator.get_params(deep=False)
    model: Model = estimator.model_
    return {
        "kind": type(estimator).__name__,
        "parameters": {key: encode(one, f"the parameter {key}") for key, one in parameters.items()},
        "attributes": {key: encode(one, f"the attribute {key}") for key, one in attributes.items()},
        "loss": encode(estimator._loss, "the loss"),
        "columns": [
            [place, encode(list(values), f"the categories of column {place}")]
            for place, values in estimator._columns.categories.items()
        ],
        "mappers": [_of_mapper(mapper) for mapper in model.mappers],
        "trees": [[tree_to_document(tree) for tree in trees] for trees in model.trees],
    }


def _of_mapper(mapper: Mapper) -> dict[str, Any]:
    if isinstance(mapper, Categories):
        return {"categories": list(mapper.values), "is_full": mapper.is_full, "has_missing": mapper.has_missing}
    return {"bounds": mapper.bounds_B[:-1].tolist(), "has_missing": mapper.has_missing}


def from_document(document: dict[str, Any], estimator_class: Any) -> Any:
    """The estimator of a document.

    Args:
        document: As :func:`to_document` makes it.
        estimator_class: What it must be of.

    Raises:
        ValueError: it is of another class, or cannot be read; the message says where.
    """
    kind = take(document, "kind", str, "the document")
    if kind != estimator_class.__name__:
        raise ValueError(f"the document holds a {kind}, not a {estimator_class.__name__}")
    parts = {name: take(document, name, dict, "the document") for name in ("parameters", "attributes", "loss")}
    parameters = {key: decode(one, f"the parameter {key}") for key, one in parts["parameters"].items()}
    unknown = sorted(set(parameters) - set(estimator_class._get_param_names()))
    if unknown:
        raise ValueError(f"a {kind} has no parameter {unknown[0]}")
    estimator = estimator_class(**parameters)
    settings.check_values(estimator)
    for name, value in parts["attributes"].items():
        if not name.endswith("_") or name.startswith("_") or name == "model_" or hasattr(estimator_class, name):
            raise ValueError(f"a {kind} cannot have the attribute {name}")
        setattr(estimator, name, decode(value, f"the attribute {name}"))
    estimator._loss = decode(parts["loss"], "the loss")
    if not isinstance(estimator._loss, Loss):
        raise ValueError("the loss cannot be read")
    mappers = [
        _mapper(one, f"mapper {place}") for place, one in enumerate(take(document, "mappers", list, "the document"))
    ]
    if getattr(estimator, "n_features_in_", None) != len(mappers):
        raise ValueError(f"n_features_in_ must be {len(mappers)}, the number of mappers")
    estimator._columns = _columns(take(document, "columns", list, "the document"), mappers)
    estimator.model_ = _model(take(document, "trees", list, "the document"), mappers, estimator._loss.classes)
    _check_classes(estimator)
    _check_attributes(estimator)
    return estimator


def _check_classes(estimator: Any) -> None:
    """Refuse a classifier whose labels are not as many as its loss has."""
    if not hasattr(estimator, "predict_proba"):
        return
    labels, classes = getattr(estimator, "classes_", None), max(2, estimator._loss.classes)
    if not isinstance(labels, np.ndarray) or labels.shape != (classes,):
        raise ValueError(f"classes_ must hold {classes} labels")


def _check_attributes(estimator: Any) -> None:
    """Refuse what fitting would not have left."""
    rounds, features = len(estimator.model_.trees), estimator.n_features_in_
    for name in ("n_iter_", "n_estimators_"):
        _require(estimator, name, lambda value: type(value) is int and value == rounds, f"{rounds}, the rounds")
    _require(estimator, "n_features_in_", is_integer, "an integer")
    _require(estimator, "best_iteration_", lambda value: is_integer(value) and value >= 0, "an integer of at least 0")
    for name in ("evals_result_", "best_score_"):
        _require(estimator, name, _is_nested, "a dictionary of dictionaries")
    if hasattr(estimator, "feature_names_in_"):
        _require(estimator, "feature_names_in_", lambda value: _are_names(value, features), f"{features} names")


def _require(estimator: Any, name: str, holds: Callable[[Any], bool], wanted: str) -> None:
    value = getattr(estimator, name, None)
    if not holds(value):
        raise ValueError(f"{name} must be {wanted}, got {value!r}")


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, dict) for one in value.values())


def _are_names(value: Any, features: int) -> bool:
    return isinstance(value, np.ndarray) and value.shape == (features,) and all(isinstance(name, str) for name in value)


def _columns(entries: list[Any], mappers: list[Mapper]) -> Columns:
    found: dict[int, tuple[Any, ...]] = {}
    for entry in entries:
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[1], list):
            raise ValueError("columns must be pairs of a place and values")
        place, values = entry
        if type(place) is not int or not 0 <= place < len(mappers):
            raise ValueError(f"columns must be at places from 0 to {len(mappers) - 1}, got {place!r}")
        found[place] = tuple(decode(values, f"the categories of column {place}"))
    return Columns(found)


def _mapper(document: Any, where: str) -> Mapper:
    has_missing = take(document, "has_missing", bool, where)
    if "categories" in document:
        values = numbers(take(document, "categories", list, where), np.int64, f"{where}, categories")
        return Categories(tuple(values.tolist()), take(document, "is_full", bool, where), has_missing)
    bounds = numbers(take(document, "bounds", list, where), np.float64, f"{where}, bounds")
    if (np.diff(bounds) <= 0).any():
        raise ValueError(f"{where}: bounds must ascend")
    return Numbers(np.append(bounds, np.inf), has_missing)


def _model(rounds: list[Any], mappers: list[Mapper], classes: int) -> Model:
    if type(classes) is not int or classes < 1:
        raise ValueError(f"the loss must have at least one class, got {classes!r}")
    model = Model(mappers, classes=classes)
    for number, trees in enumerate(rounds):
        if not isinstance(trees, list) or len(trees) != classes:
            raise ValueError(f"round {number} must be a list of {classes} trees")
        model.trees.append([tree_of(tree, mappers, f"round {number}, tree {c}") for c, tree in enumerate(trees)])
    return model
