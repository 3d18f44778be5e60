"""Prefill and decode on the same machine or on two: a simulation that keeps times and computes nothing.

A step lasts as long as its tokens take, and ends for all at once, so that a long prompt delays everybody who decodes
beside it. Three remedies can be compared: none (whole prompts), chunks under a token budget, and machines of their own
for each phase, between which the cache travels. Unusual: a step's time is a roofline of two numbers, which leaves out
that long contexts make decoding slower; see ``kb.lm.roofline`` for where they come from.

Sources: Agrawal et al. 2024, Sarathi-Serve, sections 3.2 (stalls), 4.1 and 4.2 (chunks); Zhong et al. 2024, DistServe
(phases apart, goodput).
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kb.arguments import is_number, require_count


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step: at least ``floor`` (the weights are read), and ``per_token`` for each token's arithmetic."""

    floor: float
    per_token: float

    def __post_init__(self) -> None:
        for name in ("floor", "per_token"):
            if not is_number(getattr(self, name)) or getattr(self, name) <= 0:
                raise ValueError(f"{name} must be a positive number of seconds, got {getattr(self, name)!r}")

    def __call__(self, tokens: int) -> float:
        """Seconds of a step over so many tokens."""
        return max(self.floor, tokens * self.per_token)


@dataclass(frozen=True)
class Arrival:
    """A request: when it comes, in seconds, and how many tokens it brings and wants."""

    at: float
    prompt: int
    output: int

    def __post_init__(self) -> None:
        if not is_number(self.at) or self.at < 0:
            raise ValueError(f"at must be a number of seconds, at least 0, got {self.at!r}")
        require_count("prompt", self.prompt)
        require_count("output", self.output)


@dataclass(frozen=True)
class Timeline:
    """When each token of one request came, in seconds since the beginning of all."""

    arrived: float
    tokens: tuple[float, ...]

    @property
    def ttft(self) -> float:
        """Time to the first token."""
        return self.tokens[0] - self.arrived

    @property
    def tpot(self) -> float:
        """Mean time per output token after the first; 0 where there is one alone."""
        return (self.tokens[-1] - self.tokens[0]) / (len(self.tokens) - 1) if len(self.tokens) > 1 else 0.0

    @property
    def worst_gap(self) -> float:
        """The longest wait between two tokens."""
        return max((b - a for a, b in pairwise(self.tokens)), default=0.0)

    @property
    def residence(self) -> float:
        """From arrival to the last token."""
        return self.tokens[-1] - self.arrived


class _Request:
    def __init__(self, index: int, arrival: Arrival) -> None:
        self.index, self.left, self.wanted = index, arrival.prompt, arrival.output
        self.tokens: list[float] = []


def simulate_shared(arrivals: Sequence[Arrival], step: StepTime, *, budget: int | None = None) -> list[Timeline]:
    """One machine for both phases, with continuous batching.

    Args:
        arrivals: In order of time.
        step: How long a step takes.
        budget: Most tokens of a step: those who decode take one each, prompts the rest, in order of arrival. None: a
            step takes the next waiting prompt whole.

    Raises:
        ValueError: no arrivals, not in order, or a budget that is no positive integer.
    """
    arrivals = _checked(arrivals)
    if budget is not None:
        require_count("budget", budget)
    waiting = deque(_Request(i, arrival) for i, arrival in enumerate(arrivals))
    running: list[_Request] = []
    done = list(waiting)
    now = 0.0
    while waiting or running:
        if not running and waiting:
            now = max(now, arrivals[waiting[0].index].at)
        decoding = running[: budget or len(running)]
        chunks = _chunks(waiting, lambda r, t=now: arrivals[r.index].at <= t, budget, len(decoding))  # type: ignore[misc]
        now += step(len(decoding) + sum(size for _, size in chunks))
        for request in decoding:
            request.tokens.append(now)
        for request, size in chunks:
            request.left -= size
            if not request.left:
                waiting.popleft()
                request.tokens.append(now)
                running.append(request)
        # Who was not served goes first next time.
        running = running[len(decoding) :] + decoding if budget and len(decoding) < len(running) else running
        running = [request for request in running if len(request.tokens) < request.wanted]
    return [Timeline(arrivals[request.index].at, tuple(request.tokens)) for request in done]


def _chunks(
    waiting: deque[_Request], is_there: Callable[[_Request], bool], budget: int | None, decoding: int
) -> list[tuple[_Request, int]]:
    if budget is None:
        return [(waiting[0], waiting[0].left)] if waiting and is_there(waiting[0]) else []
    room, chunks = budget - decoding, []
    for request in waiting:
        if room <= 0 or not is_there(request):
            break
        chunks.append((request, min(room, request.left)))
        room -= chunks[-1][1]
    return chunks


def simulate_split(
    arrivals: Sequence[Arrival], prefill: StepTime, decode: StepTime, *, transfer_per_token: float = 0.0
) -> list[Timeline]:
    """One machine that reads prompts, one at a time, and one that decodes; the cache travels between them.

    The first token comes from the machine that read the prompt, and does not wait for the transfer.

    Raises:
        ValueError: no arrivals, not in order, or a negative transfer.
    """
    arrivals = _checked(arrivals)
    if not is_number(transfer_per_token) or transfer_per_token < 0:
        raise ValueError(f"transfer_per_token must be a number of seconds, at least 0, got {transfer_per_token!r}")
    requests = [_Request(i, arrival) for i, arrival in enumerate(arrivals)]
    free, ready = 0.0, []
    for request, arrival in zip(requests, arrivals, strict=True):
        free = max(free, arrival.at) + prefill(arrival.prompt)
        request.tokens.append(free)
        ready.append((free + transfer_per_token * arrival.prompt, request))
    coming, running, now = deque(sorted(ready, key=lambda one: one[0])), list[_Request](), 0.0
    while coming or running:
        if not running:
            now = max(now, coming[0][0])
        while coming and coming[0][0] <= now:
            running.append(coming.popleft()[1])
        running = [request for request in running if len(request.tokens) < request.wanted]
        if running:
            now += decode(len(running))
            for request in running:
                request.tokens.append(now)
        running = [request for request in running if len(request.tokens) < request.wanted]
    return [Timeline(arrivals[request.index].at, tuple(request.tokens)) for request in requests]


def goodput(timelines: Sequence[Timeline], *, ttft: float, tpot: float) -> float:
    """Share of the requests that keep both promises, in seconds.

    DistServe calls this attainment, and goodput the highest rate per GPU at which it stays above a share such as 90 %.

    Raises:
        ValueError: no request, or a promise that is not positive.
    """
    if not timelines:
        raise ValueError("timelines must hold at least one request")
    for name, value in (("ttft", ttft), ("tpot", tpot)):
        if not is_number(value) or value <= 0:
            raise ValueError(f"{name} must be a positive number of seconds, got {value!r}")
    return sum(one.ttft <= ttft and one.tpot <= tpot for one in timelines) / len(timelines)


def _checked(arrivals: Sequence[Arrival]) -> Sequence[Arrival]:
    arrivals = list(arrivals)  # what can be walked over once alone would be empty after the check
    if not arrivals:
        raise ValueError("arrivals must hold at least one request")
    if any(b.at < a.at for a, b in pairwise(arrivals)):
        raise ValueError("arrivals must be in order of time")
    return arrivals
