"""What ``fit`` is asked to look at besides the training data, made into arrays.

Source: LightGBM's documentation of ``fit`` in its scikit-learn interface.
Shapes: N rows of one set, F features, C trees a round, Q queries.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_consistent_length, column_or_1d

from kb.gbdt.evaluating.callbacks import EarlyStopping
from kb.gbdt.evaluating.evaluation import Labelled, Watched
from kb.gbdt.inputs.queries import checked_groups
from kb.gbdt.inputs.row_inputs import in_32_bits, start_scores, weights_in_32_bits, weights_of

TRAINING = "training"  # LightGBM's name of the training data


@dataclass(frozen=True)
class Wishes:
    """The arguments of ``fit`` that are about evaluation, as they were given.

    Attributes:
        table: ``X``, by which a set is known to be the training data.
        target: ``y``, likewise.
        eval_set: Pairs of a table and its targets, or one pair.
        eval_names: Of the sets.
        eval_sample_weight: Of each set, weights of its rows or None.
        eval_class_weight: Of each set, what the classes weigh or None.
        eval_init_score: Of each set, scores to start from or None.
        eval_group: Of each set, the sizes of its queries.
        eval_metric: A name, a function, or a list of these.
        eval_at: Where ``ndcg`` looks.
        label_gain: By which gains.
        callbacks: Called before and after each round.
        eval_X: In the place of ``eval_set`` a table, or a tuple of tables.
        eval_y: The targets of that table, or a tuple of the targets of each.
    """

    table: Any
    target: Any
    eval_set: Any = None
    eval_names: Sequence[str] | None = None
    eval_sample_weight: Sequence[Any] | None = None
    eval_class_weight: Sequence[Any] | None = None
    eval_init_score: Sequence[Any] | None = None
    eval_group: Sequence[Any] | None = None
    eval_metric: Any = None
    eval_at: Sequence[int] = (1, 2, 3, 4, 5)
    label_gain: Any = None
    callbacks: Sequence[Callable[..., None]] | None = None
    eval_X: Any = None  # noqa: N815 - as LightGBM's users write it
    eval_y: Any = None


@dataclass(frozen=True)
class Reading:
    """How a set is read.

    Attributes:
        values: A table as numbers [N, F].
        targets: Given targets as the loss takes them [N].
        classes: C.
        training: The targets of the training data.
    """

    values: Callable[[Any], np.ndarray]
    targets: Callable[[np.ndarray], np.ndarray]
    classes: int
    training: Labelled


def read(wishes: Wishes, reading: Reading) -> tuple[list[Watched], str]:
    """The sets of data to watch, the training data first, and the name of these.

    Raises:
        ValueError: a set is no pair, does not fit the training data, or there are not as many names, weights, start
            scores or groups as sets.
        TypeError: a callback cannot be called.
    """
    pairs = _pairs(wishes)
    _check_counts(wishes, len(pairs))
    names = list(wishes.eval_names) if wishes.eval_names is not None else []
    own = [place for place, (table, target) in enumerate(pairs) if table is wishes.table and target is wishes.target]
    train_name = names[own[-1]] if own and names else TRAINING
    watched = [Watched(train_name, reading.training, None, np.empty((0, reading.classes)))] if own else []
    for place, (table, target) in enumerate(pairs):
        if place not in own:
            try:
                one = _read_one(wishes, reading, place, table, target)
            except ValueError as error:
                raise ValueError(f"eval_set[{place}]: {error}") from error
            one.name = names[place] if names else f"valid_{place}"
            watched.append(one)
    return watched, train_name


def _pairs(wishes: Wishes) -> list[tuple[Any, Any]]:
    eval_set, eval_X, eval_y = wishes.eval_set, wishes.eval_X, wishes.eval_y
    if (eval_X is None) != (eval_y is None):
        raise ValueError("eval_X and eval_y must be given together")
    if eval_X is not None:
        if eval_set is not None:
            raise ValueError("either eval_set or eval_X and eval_y can be given, got both")
        if isinstance(eval_X, tuple) != isinstance(eval_y, tuple):
            raise ValueError("eval_X and eval_y must both be tuples, or neither")
        if not isinstance(eval_X, tuple):
            return [(eval_X, eval_y)]
        if len(eval_X) != len(eval_y):
            raise ValueError(f"eval_X and eval_y must be equally long, got {len(eval_X)} and {len(eval_y)}")
        return list(zip(eval_X, eval_y, strict=True))
    if eval_set is None:
        return []
    sets = [eval_set] if isinstance(eval_set, tuple) else eval_set
    if not isinstance(sets, list) or any(not isinstance(one, tuple | list) or len(one) != 2 for one in sets):
        raise ValueError(f"eval_set must be a list of pairs (X, y), got {type(eval_set).__name__}")
    return [(table, target) for table, target in sets]


def _check_counts(wishes: Wishes, sets: int) -> None:
    for name in ("eval_names", "eval_sample_weight", "eval_class_weight", "eval_init_score", "eval_group"):
        given = getattr(wishes, name)
        if given is not None and (isinstance(given, str) or len(given) != sets):
            raise ValueError(f"{name} must be a list with one entry for each of {sets} sets, got {given!r}")
    names = wishes.eval_names or ()
    if len(set(names)) < len(names):
        raise ValueError(f"eval_names must differ, got {list(names)}")
    for callback in wishes.callbacks or ():
        if not callable(callback):
            raise TypeError(f"callbacks must be functions, got {callback!r}")
        if isinstance(callback, EarlyStopping) and not sets:
            raise ValueError("early_stopping needs at least one eval_set and one metric")


def _read_one(wishes: Wishes, reading: Reading, place: int, table: Any, target: Any) -> Watched:
    def given(collection: Sequence[Any] | None) -> Any:
        return None if collection is None else collection[place]

    values_NF = reading.values(table)
    labels_N = column_or_1d(target)
    check_consistent_length(values_NF, labels_N)
    targets_N = reading.targets(labels_N)
    weights_N = weights_of(given(wishes.eval_sample_weight), values_NF, "eval_sample_weight")
    if given(wishes.eval_class_weight) is not None:
        balance_N = compute_sample_weight(given(wishes.eval_class_weight), labels_N)
        weights_N = balance_N if weights_N is None else weights_N * balance_N
    N = len(values_NF)
    groups_Q = None if wishes.eval_group is None else checked_groups(given(wishes.eval_group), N, "eval_group")
    start_NC = start_scores(given(wishes.eval_init_score), N, reading.classes, "eval_init_score")
    if weights_N is not None:
        weights_N = weights_in_32_bits(weights_N, "eval_sample_weight times eval_class_weight")
    labelled = Labelled(in_32_bits(targets_N, "y"), weights_N, groups_Q)
    return Watched("", labelled, values_NF, np.zeros((N, reading.classes)) if start_NC is None else start_NC.copy())
