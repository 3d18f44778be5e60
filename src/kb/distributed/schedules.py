"""Pipeline schedules as plain data: what each stage does, in order; when it does it, and what it must keep, follow.

A stage does F k (micro-batch k forwards) and B k (backwards). F k on a stage waits for F k on the stage before, B k for
B k on the stage after, and each stage does one thing at a time. Nothing here knows a tensor.

Sources: Huang et al. 2019, GPipe, section 2.3 (bubble O((K - 1) / (M + K - 1))); Narayanan et al. 2021, Efficient
Large-Scale Language Model Training on GPU Clusters Using Megatron-LM, section 2.2 (1F1B, at most p micro-batches in
flight, bubble (p - 1) / m of the ideal time).
Letters: p stages, m micro-batches, k a micro-batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kb.arguments import is_number, require_count


@dataclass(frozen=True, order=True)
class Action:
    """One micro-batch through one stage: kind "F" forwards or "B" backwards."""

    kind: str
    micro: int

    def __str__(self) -> str:
        return f"{self.kind}{self.micro}"


Schedule = Sequence[Sequence[Action]]  # of each stage, in order


def gpipe(stages: int, micro_batches: int) -> list[list[Action]]:
    """All forwards, then all backwards, the newest first.

    Raises:
        ValueError: a number is not a positive integer.
    """
    require_count("stages", stages)
    require_count("micro_batches", micro_batches)
    forwards = [Action("F", k) for k in range(micro_batches)]
    backwards = [Action("B", k) for k in reversed(range(micro_batches))]
    return [[*forwards, *backwards] for _ in range(stages)]


def one_forward_one_backward(stages: int, micro_batches: int) -> list[list[Action]]:
    """1F1B: enough forwards that the stages after are busy, then one backwards for each one forwards, then the rest.

    Raises:
        ValueError: a number is not a positive integer.
    """
    require_count("stages", stages)
    require_count("micro_batches", micro_batches)
    plan = []
    for stage in range(stages):
        ahead = min(stages - stage - 1, micro_batches)
        actions = [Action("F", k) for k in range(ahead)]
        for k in range(ahead, micro_batches):
            actions += [Action("F", k), Action("B", k - ahead)]
        plan.append([*actions, *(Action("B", k) for k in range(micro_batches - ahead, micro_batches))])
    return plan


def check_schedule(schedule: Schedule) -> int:
    """The number of micro-batches, each of which every stage does once forwards and then once backwards.

    Raises:
        ValueError: it does not.
    """
    if not schedule or not schedule[0]:
        raise ValueError("schedule must have a stage with an action, got none")
    micro_batches = len(schedule[0]) // 2
    wanted = sorted(Action(kind, k) for kind in "BF" for k in range(micro_batches))
    for stage, actions in enumerate(schedule):
        if sorted(actions) != wanted:
            raise ValueError(f"schedule: stage {stage} must do F and B of 0 to {micro_batches - 1} once each")
        for k in range(micro_batches):
            if actions.index(Action("B", k)) < actions.index(Action("F", k)):
                raise ValueError(f"schedule: stage {stage} does B{k} before F{k}")
    return micro_batches


@dataclass(frozen=True)
class Span:
    """When a stage does something, in the unit of the costs."""

    stage: int
    action: Action
    start: float
    end: float


def timeline(schedule: Schedule, costs: Mapping[str, float] | None = None) -> list[Span]:
    """Every action as early as its stage and what it waits for allow; messages take no time.

    Args:
        schedule: What each stage does.
        costs: Of an "F" and a "B" on any stage; 1 and 2 if not given.

    Raises:
        ValueError: the schedule is not whole, waits for itself, or a cost is not a positive number.
    """
    costs = {"F": 1.0, "B": 2.0} if costs is None else costs
    if set(costs) != {"F", "B"} or not all(is_number(cost) and cost > 0 for cost in costs.values()):
        raise ValueError(f"costs must be positive numbers of F and B, got {dict(costs)}")
    check_schedule(schedule)
    ends: dict[tuple[int, Action], float] = {}
    spans: list[Span] = []
    done, free = [0] * len(schedule), [0.0] * len(schedule)
    while any(number < len(actions) for number, actions in zip(done, schedule, strict=True)):
        before = len(spans)
        for stage, actions in enumerate(schedule):
            while done[stage] < len(actions):
                action = actions[done[stage]]
                source = stage - 1 if action.kind == "F" else stage + 1
                needed = (source, action) if 0 <= source < len(schedule) else None
                if needed is not None and needed not in ends:
                    break
                start = max(free[stage], ends[needed] if needed else 0.0)
                free[stage] = ends[stage, action] = start + costs[action.kind]
                spans.append(Span(stage, action, start, free[stage]))
                done[stage] += 1
        if len(spans) == before:
            raise ValueError("schedule waits for itself: no stage can go on")
    return spans


def bubble_fraction(spans: Sequence[Span]) -> float:
    """The share of all stages' time, from the first start to the last end, in which they do nothing.

    Raises:
        ValueError: there is no span.
    """
    if not spans:
        raise ValueError("spans must have an action of some stage, got none")
    stages = 1 + max(span.stage for span in spans)
    whole = stages * (max(span.end for span in spans) - min(span.start for span in spans))
    return 1 - sum(span.end - span.start for span in spans) / whole


def predicted_bubble(stages: int, micro_batches: int) -> float:
    """(p - 1) / (m + p - 1), of GPipe and of 1F1B, where all stages are equally slow.

    Raises:
        ValueError: a number is not a positive integer.
    """
    require_count("stages", stages)
    require_count("micro_batches", micro_batches)
    return (stages - 1) / (micro_batches + stages - 1)


def peak_live(schedule: Schedule) -> list[int]:
    """For each stage, for how many micro-batches at most it has gone forwards and not yet backwards."""
    peaks = []
    for actions in schedule:
        live, peak = 0, 0
        for action in actions:
            live += 1 if action.kind == "F" else -1
            peak = max(peak, live)
        peaks.append(peak)
    return peaks
