"""LightGBM's parameters of training that are not about one tree, checked; and its seeds.

Source: LightGBM's documentation of its parameters, for what is in range.
Shapes: F features.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from kb.arguments import is_number, require_count
from kb.gbdt.growing.engines import require_device_type
from kb.gbdt.growing.parameters import TreeParameters
from kb.gbdt.losses import Loss
from kb.gbdt.prediction.predicting import require_importance_type, require_jobs
from kb.gbdt.sampling.drawing import Drawing

_COUNTS = {  # and the least that each may be
    "n_estimators": 1,
    "max_bin": 2,
    "min_data_in_bin": 1,
    "subsample_for_bin": 1,
    "subsample_freq": 0,
}
_MOST_BINS = 65_535
_POSITIVE = {  # numbers above 0, and the most that each may be
    "learning_rate": math.inf,
    "subsample": 1.0,
    "colsample_bytree": 1.0,
    "alpha": math.inf,
    "poisson_max_delta_step": math.inf,
}


@dataclass(frozen=True)
class Seeds:
    """LightGBM's, which it draws from ``random_state`` where that is given.

    Attributes:
        data: Of the rows by which bins are found.
        bagging: Of the rows of a tree.
        features: Of its features.
    """

    data: int = 1
    bagging: int = 3
    features: int = 2


def seeds(random_state: Any) -> Seeds:
    """The seeds that LightGBM makes of a seed; its defaults of None.

    Raises:
        ValueError: it is neither None, an integer nor a generator of NumPy.
    """
    _require_random_state(random_state)
    if random_state is None:
        return Seeds()
    if isinstance(random_state, np.random.RandomState):
        random_state = int(random_state.randint(np.iinfo(np.int32).max))
    elif isinstance(random_state, np.random.Generator):
        random_state = int(random_state.integers(np.iinfo(np.int32).max))
    drawing = Drawing(int(random_state))
    data, bagging, _, features = (drawing.short(0, 0x7FFF) for _ in range(4))
    return Seeds(data, bagging, features)


def tree_parameters(estimator: Any) -> TreeParameters:
    """The rules of a tree from an estimator's parameters, NumPy's numbers included.

    Raises:
        ValueError: one is out of range; the message names it.
    """
    found = {}
    for name in TreeParameters.__dataclass_fields__:
        found[name] = _plain(getattr(estimator, name))
    return TreeParameters(**found)


def directions(
    constraints: Any, F: int, categorical: Iterable[int] = (), names: Sequence[str] | None = None
) -> np.ndarray:
    """Which way predictions may go with each feature, int8 [F]; zeros of None.

    Args:
        constraints: ``monotone_constraints``: 1, -1 or 0 for each feature.
        F: How many features there are.
        categorical: Those without an order, which can have no direction.
        names: Of the features, for errors.

    Raises:
        ValueError: there is not one of these numbers for each feature, or a feature without an order has 1 or -1.
    """
    if constraints is None:
        return np.zeros(F, np.int8)
    given = np.array(constraints, object)  # of objects, so that nothing is converted on the way
    if given.shape != (F,) or any(not is_number(_plain(one)) or one not in (-1, 0, 1) for one in given):
        raise ValueError(f"monotone_constraints must be -1, 0 or 1 for each of {F} features, got {constraints!r}")
    directions_F = given.astype(np.int8)
    for place in sorted(categorical):
        if directions_F[place]:
            name = place if names is None else repr(str(names[place]))
            raise ValueError(
                f"monotone_constraints must be 0 for feature {name}, whose categories have no order, "
                f"got {directions_F[place]}"
            )
    return directions_F


def check(estimator: Any) -> None:
    """Refuse parameters by which nothing can be fitted.

    Raises:
        ValueError: one is of a wrong kind or out of range, or the device is not there; the message names it.
        ModuleNotFoundError: the device is "cuda" and there is no torch.
    """
    check_values(estimator)
    require_device_type(estimator.device_type)


def check_values(estimator: Any) -> None:
    """Refuse parameters of a wrong kind or out of range, whatever this machine has.

    Raises:
        ValueError: there is one; the message names it.
    """
    for name, least in _COUNTS.items():
        require_count(name, _plain(getattr(estimator, name)), least=least)
    if estimator.max_bin > _MOST_BINS:
        raise ValueError(f"max_bin must be at most {_MOST_BINS}, got {estimator.max_bin}")
    for name, most in _POSITIVE.items():
        value = getattr(estimator, name)
        if not is_number(_plain(value)) or not 0 < value <= most:
            upper = "" if most == math.inf else f" and at most {most:g}"
            raise ValueError(f"{name} must be a number above 0{upper}, got {value!r}")
    for name in ("top_rate", "other_rate"):
        value = getattr(estimator, name)
        if not is_number(_plain(value)) or not 0 <= value <= 1:
            raise ValueError(f"{name} must be a number from 0 to 1, got {value!r}")
    for name, known in (("boosting_type", ("gbdt", "goss")), ("device_type", ("cpu", "cuda"))):
        value = getattr(estimator, name)
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"{name} must be {' or '.join(map(repr, known))}, got {value!r}")
    tree_parameters(estimator)
    require_jobs(estimator.n_jobs)
    require_importance_type(estimator.importance_type)
    _require_random_state(estimator.random_state)
    _check_others(estimator)


def _check_others(estimator: Any) -> None:
    objective, verbose, class_weight = estimator.objective, estimator.verbose, estimator.class_weight
    if not (objective is None or isinstance(objective, str | Loss) or callable(objective)):
        raise ValueError(f"objective must be None, a name, a Loss or a function, got {objective!r}")
    if not isinstance(verbose, int | np.integer):
        raise ValueError(f"verbose must be an integer, positive for a progress bar, got {verbose!r}")
    if class_weight is not None and not is_classifier(estimator):
        raise ValueError(f"class_weight is for classifiers; sample_weight weighs other rows, got {class_weight!r}")


def _require_random_state(random_state: Any) -> None:
    generators = np.random.RandomState | np.random.Generator
    if random_state is None or isinstance(random_state, generators):
        return
    if isinstance(random_state, bool) or not isinstance(random_state, int | np.integer):
        raise ValueError(f"random_state must be None, an integer or a generator, got {random_state!r}")


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's; all else as it is."""
    return value.item() if isinstance(value, np.generic) else value
