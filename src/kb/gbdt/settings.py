"""LightGBM's parameters of training that are not about one tree, checked; and its seeds."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kb.arguments import is_number, require_count
from kb.gbdt.growing.engines import require_device_type
from kb.gbdt.growing.parameters import TreeParameters
from kb.gbdt.sampling.drawing import Drawing


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
    if random_state is None:
        return Seeds()
    if isinstance(random_state, np.random.RandomState):
        random_state = int(random_state.randint(np.iinfo(np.int32).max))
    elif isinstance(random_state, np.random.Generator):
        random_state = int(random_state.integers(np.iinfo(np.int32).max))
    if isinstance(random_state, bool) or not isinstance(random_state, int | np.integer):
        raise ValueError(f"random_state must be None, an integer or a generator, got {random_state!r}")
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
        value = getattr(estimator, name)
        found[name] = value.item() if isinstance(value, np.generic) else value
    return TreeParameters(**found)


def check(estimator: Any) -> None:
    """Refuse parameters of training that are out of range.

    Raises:
        ValueError: one is, or the device is not there; the message names it.
        ModuleNotFoundError: the device is "cuda" and there is no torch.
    """
    for name, least in (("n_estimators", 1), ("max_bin", 2), ("min_data_in_bin", 1), ("subsample_for_bin", 1)):
        value = getattr(estimator, name)
        require_count(name, value.item() if isinstance(value, np.generic) else value, least=least)
    if estimator.max_bin > 65_535:
        raise ValueError(f"max_bin must be at most 65535, got {estimator.max_bin}")
    for name, low, high in (
        ("learning_rate", 0.0, np.inf),
        ("subsample", 0.0, 1.0),
        ("colsample_bytree", 0.0, 1.0),
    ):
        value = getattr(estimator, name)
        if not is_number(float(value)) or not low < value <= high:
            raise ValueError(f"{name} must be a number above {low} and at most {high}, got {value!r}")
    require_device_type(estimator.device_type)
    if estimator.boosting_type not in ("gbdt", "goss"):
        raise ValueError(f"boosting_type must be 'gbdt' or 'goss', got {estimator.boosting_type!r}")
