"""What is called before and after each round: LightGBM's callbacks, under its names and with its meaning.

A callback is a function of a :class:`CallbackEnv`. ``before_iteration`` says when it is called and ``order`` when among
the others. LightGBM's own callbacks work here too, as fields have its names; but its ``early_stopping`` knows the
training data only by its own classes, and here takes it for a validation set.

Source: LightGBM's documentation of its Python interface, "Callbacks".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from tqdm import tqdm

from kb.arguments import is_number, require_count


class EvalResult(NamedTuple):
    """What one metric says of one set of data."""

    dataset_name: str
    metric_name: str
    metric_value: float
    maximize: bool

    @property
    def metric_std_dev(self) -> float | None:
        """None, as there is a single fold; LightGBM's callbacks ask for it."""
        return None

    def is_cv_result(self) -> bool:
        """Whether it is a mean over folds, which it never is here."""
        return False


class Fitting(Protocol):
    """What a callback can ask of the model that is being fitted."""

    train_data_name: str

    def reset_parameter(self, parameters: dict[str, Any]) -> None:
        """Change parameters for the rounds to come.

        Raises:
            ValueError: one cannot be changed.
        """
        ...


@dataclass
class CallbackEnv:
    """What a callback is told.

    Attributes:
        model: What is being fitted.
        params: Its parameters.
        iteration: The round, from 0 on.
        begin_iteration: The first round.
        end_iteration: The round after the last.
        evaluation_result_list: What all metrics say of all sets of data; None before the round.
    """

    model: Fitting
    params: dict[str, Any]
    iteration: int
    begin_iteration: int
    end_iteration: int
    evaluation_result_list: list[EvalResult] | None


class EarlyStopException(Exception):  # noqa: N818 - LightGBM's name
    """Raised by a callback to end the fit.

    Attributes:
        best_iteration: The round to keep up to, from 0 on.
        best_score: What the metrics said then.
    """

    def __init__(self, best_iteration: int, best_score: Sequence[EvalResult]) -> None:
        super().__init__(best_iteration, best_score)
        self.best_iteration = best_iteration
        self.best_score = list(best_score)


class EarlyStopping:
    """See :func:`early_stopping`."""

    order = 30
    before_iteration = False

    def __init__(self, stopping_rounds: int, first_metric_only: bool, verbose: bool, min_delta: Any) -> None:
        require_count("stopping_rounds", stopping_rounds)
        for delta in min_delta if isinstance(min_delta, list) else [min_delta]:
            if not is_number(delta) or delta < 0:
                raise ValueError(f"min_delta must be a number of at least 0, or a list of them, got {min_delta!r}")
        self.stopping_rounds, self.first_metric_only = stopping_rounds, first_metric_only
        self.verbose, self.min_delta = verbose, min_delta
        self._enabled = True
        self._deltas: list[float] = []
        self._best: list[tuple[int, list[EvalResult]]] = []  # of each result, the best round and what all were then

    def __call__(self, env: CallbackEnv) -> None:
        """Compare the round with the best one so far."""
        results = env.evaluation_result_list or []
        if env.iteration == env.begin_iteration:
            self._begin(env, results)
        if not self._enabled:
            return
        for place, result in enumerate(results):
            if self._improves(place, result):
                self._best[place] = env.iteration, results
            if self.first_metric_only and result.metric_name != results[0].metric_name:
                continue
            if result.dataset_name == env.model.train_data_name:
                continue
            best, then = self._best[place]
            stale = env.iteration - best >= self.stopping_rounds
            if stale or env.iteration == env.end_iteration - 1:
                self._say(("Early stopping" if stale else "Did not meet early stopping") + f", best round: {best + 1}")
                self._say(_line(best, then))
                raise EarlyStopException(best, then)

    def _begin(self, env: CallbackEnv, results: list[EvalResult]) -> None:
        if not results:
            raise ValueError("early_stopping needs at least one eval_set and one metric")
        self._enabled = any(result.dataset_name != env.model.train_data_name for result in results)
        if not self._enabled:
            self._say("Only training data to look at: no early stopping")
        names = list(dict.fromkeys(result.metric_name for result in results))
        deltas = self.min_delta if isinstance(self.min_delta, list) else [self.min_delta]
        if len(deltas) not in (0, 1, len(names)):
            raise ValueError(f"min_delta must hold one number, or one for each of {names}, got {self.min_delta}")
        deltas = deltas * len(names) if len(deltas) == 1 else deltas or [0.0] * len(names)
        self._deltas = [deltas[names.index(result.metric_name)] for result in results]
        self._best = [(env.iteration, results) for _ in results]

    def _improves(self, place: int, result: EvalResult) -> bool:
        best, delta = self._best[place][1][place].metric_value, self._deltas[place]
        return result.metric_value > best + delta if result.maximize else result.metric_value < best - delta

    def _say(self, text: str) -> None:
        if self.verbose:
            tqdm.write(text)


class LogEvaluation:
    """See :func:`log_evaluation`."""

    order = 10
    before_iteration = False

    def __init__(self, period: int) -> None:
        require_count("period", period, least=0)
        self.period = period

    def __call__(self, env: CallbackEnv) -> None:
        """Write a line if it is time to."""
        if self.period and env.evaluation_result_list and (env.iteration + 1) % self.period == 0:
            tqdm.write(_line(env.iteration, env.evaluation_result_list))


class RecordEvaluation:
    """See :func:`record_evaluation`."""

    order = 20
    before_iteration = False

    def __init__(self, eval_result: dict[str, dict[str, list[float]]]) -> None:
        if not isinstance(eval_result, dict):
            raise TypeError(f"eval_result must be a dict, got {type(eval_result).__name__}")
        self.eval_result = eval_result

    def __call__(self, env: CallbackEnv) -> None:
        """Note what the metrics say."""
        if env.iteration == env.begin_iteration:
            self.eval_result.clear()
        for result in env.evaluation_result_list or []:
            metrics = self.eval_result.setdefault(result.dataset_name, {})
            metrics.setdefault(result.metric_name, []).append(result.metric_value)


class ResetParameter:
    """See :func:`reset_parameter`."""

    order = 10
    before_iteration = True

    def __init__(self, schedules: dict[str, list[Any] | Callable[[int], Any]]) -> None:
        for name, schedule in schedules.items():
            if not isinstance(schedule, list) and not callable(schedule):
                raise ValueError(f"{name} must be a list or a function of the round, got {schedule!r}")
        self.schedules = schedules

    def __call__(self, env: CallbackEnv) -> None:
        """Change what is to be changed before this round."""
        rounds, changed = env.end_iteration - env.begin_iteration, {}
        for name, schedule in self.schedules.items():
            number = env.iteration - env.begin_iteration
            if isinstance(schedule, list) and len(schedule) != rounds:
                raise ValueError(f"{name} must have a value for each of {rounds} rounds, got {len(schedule)}")
            value = schedule[number] if isinstance(schedule, list) else schedule(number)
            if value != env.params.get(name):
                changed[name] = value
        if changed:
            env.model.reset_parameter(changed)
            env.params.update(changed)


def early_stopping(
    stopping_rounds: int, first_metric_only: bool = False, verbose: bool = True, min_delta: float | list[float] = 0.0
) -> EarlyStopping:
    """A callback that ends the fit when a metric has not improved on a validation set for some rounds.

    Any metric on any set but the training data may end it; the model is then cut to the best round of that metric.

    Args:
        stopping_rounds: After how many rounds without a better one.
        first_metric_only: Let no other metric end it.
        verbose: Whether to write when and why.
        min_delta: By how much a better round must be better; one number, or one for each metric.

    Raises:
        ValueError: an argument is out of range.
    """
    return EarlyStopping(stopping_rounds, first_metric_only, verbose, min_delta)


def log_evaluation(period: int = 1) -> LogEvaluation:
    """A callback that writes what the metrics say, every few rounds; 0 is never.

    Raises:
        ValueError: the period is no integer of at least 0.
    """
    return LogEvaluation(period)


def record_evaluation(eval_result: dict[str, dict[str, list[float]]]) -> RecordEvaluation:
    """A callback that fills a dict: by the name of the data, then of the metric, a number for each round.

    Raises:
        TypeError: it is no dict.
    """
    return RecordEvaluation(eval_result)


def reset_parameter(**schedules: list[Any] | Callable[[int], Any]) -> ResetParameter:
    """A callback that changes parameters before a round: a list with one value for each, or a function of the round.

    Raises:
        ValueError: one is neither.
    """
    return ResetParameter(schedules)


def _line(number: int, results: Sequence[EvalResult]) -> str:
    said = (f"{one.dataset_name}'s {one.metric_name}: {one.metric_value:g}" for one in results)
    return "\t".join((f"[{number + 1}]", *said))
