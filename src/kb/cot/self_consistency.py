"""Self-consistency: sample many chains of thought, read an answer from each, and let them vote.

Unusual: samples of one prompt are asked for together, so that a back end computes the prompt once. With a rule for
stopping they come in rounds, each with a seed of its own; prompts whose vote is decided drop out of the next round.

Sources: Wang et al. 2022, arXiv 2203.11171, section 2; Aggarwal et al. 2023, arXiv 2305.11860 (stopping early).
"""

import hashlib
import inspect
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kb.arguments import require_count
from kb.cot.answers import extract_number
from kb.cot.language_model import Completion, LanguageModel, Sampling
from kb.cot.request_checks import require_sampling, require_texts
from kb.cot.stopping import StopRule
from kb.cot.votes import Vote, majority, probability_weights, weighted

# From the answers read and the completions they were read from to a vote.
Voting = Callable[[Sequence[Any], Sequence[Completion]], Vote[Any]]


@dataclass(frozen=True)
class SelfConsistency:
    """What the samples of one prompt agreed on.

    Args:
        vote: The winner, its count, the total.
        completions: All samples, in the order they were drawn.
        answers: What was read from each; None where nothing was.
        rounds: How many calls of the model they took.
    """

    vote: Vote[Any]
    completions: tuple[Completion, ...]
    answers: tuple[Any, ...]
    rounds: int

    @property
    def answer(self) -> Any:
        """The winner; None if nothing was read."""
        return self.vote.answer

    @property
    def num_tokens(self) -> int:
        """New tokens of all samples."""
        return sum(one.num_tokens for one in self.completions)


@dataclass
class _Drawn:
    completions: list[Completion] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    rounds: int = 0

    def add(self, samples: list[Completion], extract: Callable[[str], Any], *, read_unfinished: bool) -> None:
        self.completions += samples
        for sample in samples:
            read = read_unfinished or sample.finish_reason != "length"
            self.answers.append(extract(sample.text) if read else None)
        self.rounds += 1


def by_majority(answers: Sequence[Any], completions: Sequence[Completion]) -> Vote[Any]:
    """Each sample counts the same."""
    return majority(answers)


def by_probability(answers: Sequence[Any], completions: Sequence[Completion]) -> Vote[Any]:
    """Each sample counts by the geometric mean of its tokens' probabilities (Wang et al., normalised weighted sum).

    Raises:
        ValueError: the back end gave no log probabilities.
    """
    logs = [one.log_probability for one in completions]
    return weighted(answers, probability_weights(logs, [one.num_tokens for one in completions]))


def self_consistency(
    model: LanguageModel,
    prompt: str,
    sampling: Sampling,
    **options: Any,
) -> SelfConsistency:
    """:func:`self_consistency_each` for one prompt."""
    if not isinstance(prompt, str):
        raise TypeError(f"prompt must be a text, got {type(prompt).__name__}; self_consistency_each takes many")
    (found,) = self_consistency_each(model, [prompt], sampling, **options)
    return found


def self_consistency_each(
    model: LanguageModel,
    prompts: Sequence[str],
    sampling: Sampling,
    *,
    extract: Callable[[str], Hashable | None] = extract_number,
    vote: Voting = by_majority,
    stop_rule: StopRule | None = None,
    batch: int | None = None,
    read_unfinished: bool = True,
) -> list[SelfConsistency]:
    """Sample ``sampling.n`` continuations of each prompt, or fewer where a rule stops earlier, and count their answers.

    Args:
        model: Any back end.
        prompts: Ready texts.
        sampling: ``n`` samples at most, drawn at its temperature; the same seed gives the same samples.
        extract: Reads an answer, anything that can be hashed, or None.
        vote: :func:`by_majority`, :func:`by_probability`, or one like them.
        stop_rule: Such as ``when_decided()`` or ``when_confident(0.95)``; asked after each round. For majorities alone.
        batch: Samples a round and prompt: by default all without a rule, and 1 with one, as in Adaptive-Consistency.
        read_unfinished: Whether a sample that ran out of tokens may answer; its last number may be one on the way.

    Raises:
        TypeError: an argument is of another kind, such as prompts that are one text, or a rule that was not made yet
            (``when_decided`` for ``when_decided()``).
        ValueError: n or batch is no count, several samples are to be greedy, or a rule is to stop another vote than the
            majority's.
    """
    prompts = require_texts("prompts", prompts)
    for name, function, given in (("extract", extract, 1), ("vote", vote, 2), ("stop_rule", stop_rule, 2)):
        if function is not None or name != "stop_rule":
            _require_function(name, function, given)
    _check(sampling, vote, stop_rule, batch)
    size = batch or (sampling.n if stop_rule is None else 1)
    drawn = [_Drawn() for _ in prompts]
    places, number = list(range(len(prompts))), 0
    while places:
        asked = replace(sampling, n=min(size, sampling.n - number * size), seed=round_seed(sampling.seed, number))
        found = _generate(model, [prompts[place] for place in places], asked)
        number += 1
        remaining = max(sampling.n - number * size, 0)
        for place, samples in zip(places, found, strict=True):
            drawn[place].add(samples, extract, read_unfinished=read_unfinished)
        places = [place for place in places if remaining and not _stops(stop_rule, drawn[place].answers, remaining)]
    return [
        SelfConsistency(vote(one.answers, one.completions), tuple(one.completions), tuple(one.answers), one.rounds)
        for one in drawn
    ]


def round_seed(seed: int, number: int) -> int:
    """The seed of a round: that of the call for the first; for others mixed, so that no other seed's rounds are met."""
    if number == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:4], "big") >> 1


def _generate(model: LanguageModel, prompts: list[str], sampling: Sampling) -> list[list[Completion]]:
    found = model.generate(prompts, sampling)
    if [len(samples) for samples in found] != [sampling.n] * len(prompts):
        got = [len(samples) for samples in found]
        raise ValueError(f"{model.name} gave {got} samples, wanted {sampling.n} of each of {len(prompts)} prompts")
    return found


def _stops(rule: StopRule | None, answers: Sequence[Any], remaining: int) -> bool:
    return rule is not None and rule(answers, remaining)


def _require_function(name: str, function: object, given: int) -> None:
    if not callable(function):
        raise TypeError(f"{name} must be a function, got {type(function).__name__}")
    try:
        signature = inspect.signature(function)
    except ValueError:  # some that are written in C do not tell
        return
    try:
        signature.bind(*[None] * given)
    except TypeError:
        called = getattr(function, "__name__", type(function).__name__)
        raise TypeError(f"{name} must take {given} arguments, got {called}{signature}") from None


def _check(sampling: Sampling, vote: Voting, stop_rule: StopRule | None, batch: int | None) -> None:
    require_sampling(sampling)
    if batch is not None:
        require_count("batch", batch)
    if sampling.n > 1 and sampling.temperature == 0:
        raise ValueError(f"sampling.temperature must be above 0 for {sampling.n} samples: greedy ones are all the same")
    if stop_rule is not None and vote is not by_majority:
        raise ValueError("stop_rule must be None unless vote is by_majority: the rules reckon with counts, not weights")
