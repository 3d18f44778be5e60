"""Metrics during the fit: on which data, by which metrics, and what they say after each round.

The training data take part where a pair of ``eval_set`` is the very X and y of the fit; their results come first.

Source: LightGBM's documentation of ``eval_set`` and ``eval_metric`` in its scikit-learn interface.
Shapes: N rows of one set, F features, C trees a round, Q queries.
"""

# Fields end in their shapes.
# ruff: noqa: N815

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from kb.gbdt.evaluating import metrics
from kb.gbdt.evaluating.callbacks import EvalResult
from kb.gbdt.inputs.queries import checked_gains, checked_groups, checked_labels
from kb.gbdt.losses import Loss
from kb.gbdt.losses.custom import call, require_arguments

Said = list[tuple[str, float, bool]]  # of each value its name, itself, and whether more is better

_POINTWISE: dict[str, Callable[..., float]] = {
    "l2": metrics.l2,
    "rmse": metrics.rmse,
    "l1": metrics.l1,
    "huber": metrics.huber,
    "quantile": metrics.quantile,
    "poisson": metrics.poisson,
    "binary_logloss": metrics.binary_logloss,
    "binary_error": metrics.binary_error,
    "auc": metrics.auc,
    "multi_logloss": metrics.multi_logloss,
    "multi_error": metrics.multi_error,
}
_OF_CLASSES = ("multi_logloss", "multi_error")
_WITH_ALPHA = ("huber", "quantile")
_OTHER_NAMES = {
    "regression": "l2",
    "regression_l2": "l2",
    "mean_squared_error": "l2",
    "mse": "l2",
    "l2_root": "rmse",
    "root_mean_squared_error": "rmse",
    "regression_l1": "l1",
    "mean_absolute_error": "l1",
    "mae": "l1",
    "binary": "binary_logloss",
    "multiclass": "multi_logloss",
    "softmax": "multi_logloss",
    "lambdarank": "ndcg",
}


class Labelled(NamedTuple):
    """What metrics need besides predictions; weights and queries may be None."""

    targets_N: np.ndarray
    weights_N: np.ndarray | None
    groups_Q: np.ndarray | None


Metric = Callable[[Labelled, np.ndarray], Said]


@dataclass(frozen=True)
class Options:
    """What metrics depend on.

    Attributes:
        alpha: Of ``huber`` and ``quantile``.
        eval_at: The places of ``ndcg``.
        label_gain: Its gains; None for the default ones.
    """

    alpha: float = 0.9
    eval_at: Sequence[int] = (1, 2, 3, 4, 5)
    label_gain: Any = None


@dataclass
class Watched:
    """A set of data that metrics look at; of the training data, the scores are those of boosting itself.

    Attributes:
        name: Of the set.
        labelled: Its targets.
        values_NF: Its table; None of the training data.
        scores_NC: The sums of the trees so far.
    """

    name: str
    labelled: Labelled
    values_NF: np.ndarray | None
    scores_NC: np.ndarray


def canonical(name: str) -> str:
    """LightGBM's first name of a metric that it has several names of."""
    return _OTHER_NAMES.get(name, name)


def is_known(name: str) -> bool:
    """Whether there is a metric of that name."""
    return canonical(name) in (*_POINTWISE, "ndcg")


def choose(wanted: Any, default: Any, loss: Loss, options: Options) -> list[Metric]:
    """The metrics, in LightGBM's order: those asked for by name, the default ones, then functions.

    Args:
        wanted: ``eval_metric``: a name, a function, a list of these, or None.
        default: Names that are judged by in any case; "None" for none.
        loss: Whose predictions they will see.
        options: What they depend on.

    Raises:
        ValueError: there is no such metric, or it does not go with the loss.
        TypeError: one is neither a name nor a function of two to four arguments.
    """
    asked = wanted if isinstance(wanted, list | tuple) else [] if wanted is None else [wanted]
    defaults = default if isinstance(default, list | tuple) else [default]
    if any(not isinstance(name, str) for name in defaults):
        raise TypeError(f"metric must be a name or a list of names, got {default!r}")
    said_by: dict[str, str] = {}
    for argument, some in (("eval_metric", asked), ("metric", defaults)):
        for name in some:
            if isinstance(name, str) and name.lower() not in ("none", ""):
                said_by.setdefault(canonical(name), argument)
    found = [_named(name, argument, loss, options) for name, argument in said_by.items()]
    for function in asked:
        if callable(function):
            require_arguments(function, "eval_metric")
            found.append(_by_function(function))
        elif not isinstance(function, str):
            raise TypeError(f"eval_metric must be names or functions, got {function!r}")
    return found


def _named(name: str, argument: str, loss: Loss, options: Options) -> Metric:
    if name == "ndcg":
        return _ndcg(options)
    if name not in _POINTWISE:
        raise ValueError(f"{argument} must be one of {', '.join(_POINTWISE)}, ndcg, or a function; got {name!r}")
    if (loss.classes > 1) != (name in _OF_CLASSES):
        raise ValueError(f"{argument} {name!r} does not go with {loss.classes} trees a round")
    function, more = _POINTWISE[name], {"alpha": options.alpha} if name in _WITH_ALPHA else {}

    def judge(labelled: Labelled, predictions: np.ndarray) -> Said:
        return [(name, function(labelled.targets_N, predictions, labelled.weights_N, **more), name == "auc")]

    return judge


def _ndcg(options: Options) -> Metric:
    at, gains = list(options.eval_at), checked_gains(options.label_gain)
    if not at or any(isinstance(one, bool) or not isinstance(one, int | np.integer) or one < 1 for one in at):
        raise ValueError(f"eval_at must be integers of at least 1, got {options.eval_at!r}")

    def judge(labelled: Labelled, predictions_N: np.ndarray) -> Said:
        groups_Q = checked_groups(labelled.groups_Q, len(predictions_N))
        checked_labels(labelled.targets_N, len(gains))
        values = metrics.ndcg(labelled.targets_N, predictions_N, groups_Q, at, gains, labelled.weights_N)
        return [(f"ndcg@{last}", float(value), True) for last, value in zip(at, values, strict=True)]

    return judge


def _by_function(function: Callable[..., Any]) -> Metric:
    def judge(labelled: Labelled, predictions: np.ndarray) -> Said:
        found = call(function, labelled.targets_N, predictions, labelled.weights_N, labelled.groups_Q)
        said = found if isinstance(found, list) else [found]
        if any(not isinstance(one, tuple) or len(one) != 3 for one in said):
            raise ValueError(f"eval_metric must return (name, value, whether more is better), or a list; got {found!r}")
        return [(str(name), float(value), bool(maximize)) for name, value, maximize in said]

    return judge


def results(metrics: Sequence[Metric], watched: Sequence[Watched], loss: Loss) -> list[EvalResult]:
    """What all metrics say of all sets now."""
    found = []
    for one in watched:
        predictions = loss.predict(one.scores_NC)
        if loss.classes == 1 and predictions.ndim == 2:  # of two classes, metrics get the chance of the second
            predictions = predictions[:, 1]
        for metric in metrics:
            found += [EvalResult(one.name, *said) for said in metric(one.labelled, predictions)]
    return found
