"""Real tables, split at random ten times: ``kb.gbdt``, LightGBM and scikit-learn fit the same rows and take turns.

Unusual: what is asserted is the difference between two contenders on the same split. Between splits a metric varies far
more than between contenders, so only the paired differences tell them apart. Splits share rows, so the t-interval says
what these ten splits have in common, and not what other data would give.

Source: Dietterich 1998, Approximate Statistical Tests for Comparing Supervised Classification Learning Algorithms, for
what paired differences of overlapping splits can say.
Shapes: N rows, S splits, Q queries.
"""

# Fields end in their shapes.
# ruff: noqa: N815

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats
from sklearn.metrics import root_mean_squared_error
from threadpoolctl import threadpool_limits

from benchmarks.measurement import Measurement, Samples

SPLITS, TRAIN_SHARE, CONFIDENCE, THREADS = 10, 0.8, 0.95, 2
OURS, THEIRS, THIRD = "kb.gbdt", "LightGBM", "scikit-learn"
_STRUCTURE = ("split_feature=", "left_child=", "right_child=", "leaf_count=", "internal_count=")


@dataclass(frozen=True)
class Part:
    """Rows of a table.

    Attributes:
        X: Their features, a frame.
        y_N: Their targets.
        groups_Q: How many rows each query has; None where there are none.
    """

    X: Any
    y_N: np.ndarray
    groups_Q: np.ndarray | None = None


@dataclass(frozen=True)
class Metric:
    """What predictions are judged by.

    Attributes:
        name: Such as "RMSE".
        of: The number, of a part and the predictions of its rows.
        bound: How far the interval of the paired differences may reach from 0.
        relative: Whether differences are shares of LightGBM's metric.
    """

    name: str
    of: Callable[[Part, np.ndarray], float]
    bound: float
    relative: bool = False


@dataclass(frozen=True)
class Contender:
    """A way to fit and predict.

    Attributes:
        make: A new estimator.
        predict: Its method's name.
        prepare: What it needs done with a table first; outside the clock, as it is no work of the estimator.
    """

    make: Callable[[], Any]
    predict: str = "predict"
    prepare: Callable[[Any], Any] = lambda X: X


@dataclass(frozen=True)
class Interval:
    """Where the mean of paired differences lies."""

    mean: float
    low: float
    high: float


def interval(differences_S: Sequence[float]) -> Interval:
    """The mean of at least two differences, and its t-interval.

    Raises:
        ValueError: there are fewer, or one is not finite.
    """
    values_S = np.asarray(differences_S, np.float64)
    if values_S.ndim != 1 or len(values_S) < 2 or not np.isfinite(values_S).all():
        raise ValueError(f"differences_S must be at least 2 finite numbers, got {differences_S!r}")
    mean, error = float(values_S.mean()), float(values_S.std(ddof=1) / np.sqrt(len(values_S)))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values_S) - 1)) * error
    return Interval(mean, mean - reach, mean + reach)


def split(table: Part, seed: int) -> tuple[Part, Part]:
    """80 % of the rows to learn from and the others to be judged by; of ranked tables 80 % of the queries.

    Rows stay in their order, and queries in one piece.
    """
    generator = np.random.default_rng(seed)
    sizes_Q = np.ones(len(table.y_N), np.int64) if table.groups_Q is None else table.groups_Q
    learned_Q = np.zeros(len(sizes_Q), bool)
    learned_Q[generator.permutation(len(sizes_Q))[: round(TRAIN_SHARE * len(sizes_Q))]] = True
    parts = []
    for chosen_Q in (learned_Q, ~learned_Q):
        rows_R = np.flatnonzero(np.repeat(chosen_Q, sizes_Q))
        groups_Q = None if table.groups_Q is None else sizes_Q[chosen_Q]
        parts.append(Part(table.X.iloc[rows_R].reset_index(drop=True), table.y_N[rows_R], groups_Q))
    return parts[0], parts[1]


def root_of_squares(part: Part, predictions_N: np.ndarray) -> float:
    """The root of the mean squared error."""
    return float(root_mean_squared_error(part.y_N, predictions_N))


def same_trees(first: str, second: str) -> list[bool]:
    """Of two models in LightGBM's text form, which trees split by the same features into the same numbers of rows."""
    sides = zip(_structures(first), _structures(second), strict=True)
    return [one == other for one, other in sides]


def _structures(text: str) -> list[list[str]]:
    blocks = text.split("\nend of trees")[0].split("\nTree=")[1:]
    return [[line for line in block.splitlines() if line.startswith(_STRUCTURE)] for block in blocks]


def measure(
    title: str,
    table: Part,
    contenders: Mapping[str, Contender],
    metrics: Sequence[Metric],
    facts: Mapping[str, object],
    splits: int = SPLITS,
) -> Measurement:
    """Fit every split with each contender in turn, and assert that ours is as good as LightGBM within the bounds.

    Args:
        title: What is measured.
        table: All rows.
        contenders: By name, ours and LightGBM among them.
        metrics: What predictions are judged by.
        facts: What else the record should hold.
        splits: How many.
    """
    seconds, found, same = _race(table, contenders, metrics, splits)
    rivals = [name for name in contenders if name != OURS]
    return Measurement(
        title=title,
        method=f"{splits} random splits, {TRAIN_SHARE:.0%} to learn from, each contender in turn, {THREADS} threads",
        samples={name: Samples("s", values) for name, values in seconds.items()}
        | {name: Samples(name.rsplit(" ", 1)[1], values) for name, values in found.items()},
        ratios={
            f"{work}: {OURS} / {rival}": (f"{OURS} {work}", f"{rival} {work}")
            for work in ("fit", "predict")
            for rival in rivals
        },
        facts={
            "rows": len(table.y_N),
            "features": table.X.shape[1],
            "threads": THREADS,
            "differences": _differences(found, metrics, rivals),
            "trees": len(same[0]),
            "trees that are LightGBM's, by split": [sum(trees) for trees in same],
            "trees until the first that is not": [[*trees, False].index(False) for trees in same],
            **facts,
        },
    )


def _race(
    table: Part, contenders: Mapping[str, Contender], metrics: Sequence[Metric], splits: int
) -> tuple[dict[str, list[float]], dict[str, list[float]], list[list[bool]]]:
    """Seconds by contender and work, metrics by contender and name, and which trees of each split are LightGBM's."""
    seconds: dict[str, list[float]] = {f"{name} {work}": [] for work in ("fit", "predict") for name in contenders}
    found: dict[str, list[float]] = {f"{name} {metric.name}": [] for metric in metrics for name in contenders}
    same: list[list[bool]] = []
    with threadpool_limits(THREADS):
        _fit(contenders[OURS], split(table, splits)[0])  # a first fit reads or compiles loops
        for seed in range(splits):
            train, test = split(table, seed)
            fitted = {}
            for name in _turn(list(contenders), seed):
                fitted[name], predicted_N, spent = _run(contenders[name], train, test)
                seconds[f"{name} fit"].append(spent[0])
                seconds[f"{name} predict"].append(spent[1])
                for metric in metrics:
                    found[f"{name} {metric.name}"].append(metric.of(test, predicted_N))
            same.append(same_trees(fitted[OURS].to_lightgbm_text(), fitted[THEIRS].booster_.model_to_string()))
    return seconds, found, same


def _turn(names: list[str], number: int) -> list[str]:
    """All names, another one first each time."""
    first = number % len(names)
    return names[first:] + names[:first]


def _fit(contender: Contender, train: Part) -> Any:
    groups = {} if train.groups_Q is None else {"group": train.groups_Q}
    return contender.make().fit(train.X, train.y_N, **groups)


def _run(contender: Contender, train: Part, test: Part) -> tuple[Any, np.ndarray, tuple[float, float]]:
    """A fitted estimator, its predictions, and the seconds of both."""
    learned, judged = replace(train, X=contender.prepare(train.X)), contender.prepare(test.X)
    start = time.perf_counter()
    fitted = _fit(contender, learned)
    middle = time.perf_counter()
    predicted_N = getattr(fitted, contender.predict)(judged)
    return fitted, predicted_N, (middle - start, time.perf_counter() - middle)


def _differences(
    found: Mapping[str, Sequence[float]], metrics: Sequence[Metric], rivals: Sequence[str]
) -> dict[str, dict[str, object]]:
    """Ours less each rival's; that from LightGBM's has to lie within the metric's bound."""
    told: dict[str, dict[str, object]] = {}
    for metric in metrics:
        for rival in rivals:
            ours_S, theirs_S = (np.array(found[f"{name} {metric.name}"]) for name in (OURS, rival))
            between = interval((ours_S - theirs_S) / (theirs_S if metric.relative else 1.0))
            if rival == THEIRS:
                within = -metric.bound <= between.low and between.high <= metric.bound
                assert within, f"{metric.name}: {between} is not within {metric.bound} of {rival}"
            told[f"{metric.name}: {OURS} - {rival}"] = {
                "mean": _rounded(between.mean),
                "95 % interval": [_rounded(between.low), _rounded(between.high)],
                "share of the rival's": metric.relative,
                **({"bound": metric.bound} if rival == THEIRS else {}),
            }
    return told


def _rounded(value: float) -> float:
    return round(value, 9) + 0.0  # of -0.0 it makes 0.0
