"""Python's values as JSON, so that the same values come back: floats to the bit, tuples, arrays, losses.

Numbers, strings, booleans, None and lists are what they are in JSON; a float is written with the fewest digits that
give it back. All else is an object with one telling key:

- ``{"float": "nan"}``, ``"inf"`` or ``"-inf"``: what JSON has no word for;
- ``{"tuple": [...]}``;
- ``{"pairs": [[key, value], ...]}``: a dictionary, whose keys need not be strings;
- ``{"array": [...], "dtype": "float64"}``: a NumPy array of booleans, numbers, strings or objects;
- ``{"loss": "quantile", "parameters": {"alpha": 0.9}}``: one of the package's losses.

Nothing in a file names code to run: what is not in this list is an error.
"""

import math
from typing import Any

import numpy as np

from kb.gbdt.losses import Absolute, Huber, Logistic, Loss, Poisson, Quantile, RankScores, Softmax, Squared

LOSSES: dict[str, tuple[type[Loss], tuple[str, ...]]] = {
    "regression": (Squared, ()),
    "regression_l1": (Absolute, ()),
    "huber": (Huber, ("alpha",)),
    "quantile": (Quantile, ("alpha",)),
    "poisson": (Poisson, ("max_delta_step",)),
    "binary": (Logistic, ()),
    "multiclass": (Softmax, ("classes",)),
    "lambdarank": (RankScores, ()),
}
KINDS = "biufUO"  # of arrays: booleans, integers, unsigned ones, floats, strings, objects


def encode(value: Any, name: str) -> Any:
    """A value as what ``json`` can write.

    Args:
        value: Any that the list above has.
        name: What it is called in an error.

    Raises:
        TypeError: it is of another kind, as a function or a generator of random numbers is.
    """
    if isinstance(value, np.generic) and value.dtype.kind in KINDS:
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, list):
        return [encode(one, name) for one in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(one, name) for one in value]}
    if isinstance(value, dict):
        return {"pairs": [[encode(key, name), encode(one, name)] for key, one in value.items()]}
    if isinstance(value, np.ndarray) and value.dtype.kind in KINDS:
        return {"array": encode(value.tolist(), name), "dtype": str(value.dtype)}
    for loss, (kind, parameters) in LOSSES.items():
        if type(value) is kind:
            return {"loss": loss, "parameters": {one: encode(getattr(value, one), name) for one in parameters}}
    raise TypeError(f"{name} cannot be saved: it is of type {type(value).__name__}")


def decode(value: Any, name: str) -> Any:
    """The value that :func:`encode` made this of.

    Raises:
        ValueError: it is nothing that ``encode`` makes.
    """
    if isinstance(value, list):
        return [decode(one, name) for one in value]
    if not isinstance(value, dict):
        return value
    keys = set(value)
    try:
        if keys == {"float"} and value["float"] in ("nan", "inf", "-inf"):
            return float(value["float"])
        if keys == {"tuple"}:
            return tuple(decode(one, name) for one in value["tuple"])
        if keys == {"pairs"}:
            return {decode(key, name): decode(one, name) for key, one in value["pairs"]}
        if keys == {"array", "dtype"} and np.dtype(value["dtype"]).kind in KINDS:
            return np.array(decode(value["array"], name), np.dtype(value["dtype"]))
        if keys == {"loss", "parameters"}:
            kind, parameters = LOSSES[value["loss"]]
            return kind(**{one: decode(value["parameters"][one], name) for one in parameters})
    except (KeyError, TypeError, OverflowError, ValueError) as error:
        raise ValueError(f"{name} cannot be read: {error}") from error
    raise ValueError(f"{name} cannot be read: an object with keys {', '.join(sorted(keys))}")
