"""The rounds of a fit: callbacks before, a step of boosting, metrics, callbacks after; until one of them ends it.

Source: LightGBM's documentation of ``train``, for the order of things.
Shapes: N rows, C trees a round.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from kb.gbdt.booster import Boosting, Training
from kb.gbdt.evaluating.callbacks import CallbackEnv, EvalResult, RecordEvaluation
from kb.gbdt.evaluating.evaluation import Metric, Watched, results
from kb.gbdt.tree import Model

Callback = Callable[[CallbackEnv], None]


@dataclass
class Watching:
    """What looks on while trees are fitted.

    Attributes:
        watched: Sets of data, the training data first.
        metrics: What they are judged by.
        callbacks: The user's.
        train_data_name: Of the training data, if they are watched.
        sums: Of a model and a table, the sums of its trees, [N, C].
        parameters: The estimator's, for callbacks to look at.
        bar: Whether to draw a progress bar.
    """

    watched: list[Watched]
    metrics: list[Metric]
    callbacks: Sequence[Callback]
    train_data_name: str
    sums: Callable[[Model, np.ndarray], np.ndarray]
    parameters: dict[str, Any]
    bar: bool = False


@dataclass
class Trained:
    """What came out.

    Attributes:
        model: Cut to the best round, if a callback said which that is.
        evals_result: By data and metric, a number for each round that was run.
        best_iteration: How many rounds the best ones are; 0 if no callback said.
        best_score: By data and metric, the number after the best round, else after the last.
    """

    model: Model
    evals_result: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    best_iteration: int = 0
    best_score: dict[str, dict[str, float]] = field(default_factory=dict)


class Handle:
    """What callbacks get as the model; LightGBM's own look for ``boosters``."""

    def __init__(self, boosting: Boosting, train_data_name: str) -> None:
        self.boosting, self.train_data_name = boosting, train_data_name

    @property
    def boosters(self) -> list["Handle"]:
        """Itself, as LightGBM's callbacks reach the parts of what is no ``Booster`` of theirs."""
        return [self]

    def reset_parameter(self, parameters: dict[str, Any]) -> None:
        """Change the learning rate of the rounds to come.

        Raises:
            ValueError: something else is to be changed, or the rate is not positive.
        """
        others = sorted(set(parameters) - {"learning_rate"})
        if others:
            raise ValueError(f"only learning_rate can be changed between rounds, got {', '.join(others)}")
        rate = parameters["learning_rate"]
        if not 0 < rate < np.inf:
            raise ValueError(f"learning_rate must be a positive number, got {rate!r}")
        self.boosting.learning_rate = float(rate)


def train(training: Training, rounds: int, watching: Watching) -> Trained:
    """Boost round after round.

    Args:
        training: Data, loss and rules.
        rounds: The most that are run.
        watching: Metrics and callbacks.
    """
    boosting = Boosting(training)
    trained, said = Trained(boosting.model), []
    record = RecordEvaluation(trained.evals_result)
    before, after = _in_order([*watching.callbacks, record])
    handle = Handle(boosting, watching.train_data_name)
    with tqdm(total=rounds, desc="boosting", unit="round", disable=not watching.bar, leave=False) as bar:
        for number in range(rounds):
            for callback in before:
                callback(CallbackEnv(handle, watching.parameters, number, 0, rounds, None))
            said = _round(boosting, watching)
            bar.update()
            stop = _stop(after, CallbackEnv(handle, watching.parameters, number, 0, rounds, said))
            if stop is not None:
                best, said = stop
                trained.best_iteration = best + 1
                del boosting.model.trees[best + 1 :]
                break
    for data, metric, value, _ in said:
        trained.best_score.setdefault(data, {})[metric] = value
    return trained


def _in_order(callbacks: Sequence[Callback]) -> tuple[list[Callback], list[Callback]]:
    """Those before a round and those after it, by their ``order``; without one they come first, as they are given."""
    order = {id(one): getattr(one, "order", place - len(callbacks)) for place, one in enumerate(callbacks)}
    ordered = sorted(callbacks, key=lambda one: order[id(one)])
    before = [one for one in ordered if getattr(one, "before_iteration", False)]
    return before, [one for one in ordered if not getattr(one, "before_iteration", False)]


def _round(boosting: Boosting, watching: Watching) -> list[EvalResult]:
    """Fit the next trees, add them to the scores of all sets, and judge these."""
    trees, loss = boosting.step(), boosting.training.loss
    newest = Model(boosting.model.mappers, [trees], loss.classes)
    for one in watching.watched:
        if one.values_NF is None:
            one.scores_NC = boosting.scores_NC
        else:
            one.scores_NC += watching.sums(newest, one.values_NF)
    return results(watching.metrics, watching.watched, loss)


def _stop(callbacks: Sequence[Callback], env: CallbackEnv) -> tuple[int, list[EvalResult]] | None:
    """Call all in turn; the best round and what was said then, if one of them ends the fit."""
    for callback in callbacks:
        try:
            callback(env)
        except Exception as stop:
            # By its name and not its class, so that LightGBM's callbacks end a fit without LightGBM being imported.
            if type(stop).__name__ != "EarlyStopException":
                raise
            results = [EvalResult(*list(one)[:4]) for one in stop.best_score]  # type: ignore[attr-defined]
            return int(stop.best_iteration), results  # type: ignore[attr-defined]
    return None
