"""Learning to reason from answers alone: write rationales, keep those that end in the right answer, train on them.

A model that has seen few rationales writes one for each of many questions whose answers are known. Those that came to
the known answer are kept; for the others the model may be given the answer as a hint (rationalisation). Then the *base*
model, not the latest, is trained on what was kept, and the next round asks the new model. Unusual: the tasks know the
true steps, so that it can be counted what the filter cannot see: rationales that are kept with a right answer and wrong
steps.

A hinted question is a post-hoc prompt, "1011#1?", and the hint is not in what is trained on. A rationale made from a
hint ends in no answer of its own, so it is kept if the model itself, given question and steps, answers as the hint did.

Source: Zelikman et al. 2022, STaR, arXiv 2203.14465, section 3 and algorithm 1.
"""

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, get_args

from kb.arguments import is_integer, is_number, require_count
from kb.cot.lab.experiment import Score, by_length, room
from kb.cot.lab.formats import Format, prompt, read
from kb.cot.lab.model import LabModel
from kb.cot.lab.task import Example, Task, one_of, stream
from kb.cot.lab.training import Recipe, batches
from kb.cot.language_model import Sampling
from kb.lm import DecoderLM

Keep = Literal["right answer", "true steps", "everything", "nothing"]
_SEEDS = 1_000_003  # so that the rounds of one seed are not those of the next
SHARES: Mapping[Format, float] = {"scratchpad": 0.75, "post-hoc": 0.25}


@dataclass(frozen=True)
class StarConfig:
    """One loop.

    Args:
        rounds: Of writing, keeping and training.
        questions: Whose answers are known, in each round others.
        samples: Rationales written for a question; the first that passes is kept.
        temperature: Of the samples; 0 is greedy, as in the paper, and needs ``samples`` of 1.
        keep: What passes: "right answer" is STaR, "true steps" a filter that nobody has outside of a lab,
            "everything" none at all, and "nothing" a control that goes on with the known examples alone.
        rationalise: Whether hints are given where nothing passed.
        seed: Of questions, samples and training.

    Raises:
        ValueError: a number is out of its range, or there is no such filter.
    """

    rounds: int = 4
    questions: int = 1024
    samples: int = 1
    temperature: float = 0.0
    keep: Keep = "right answer"
    rationalise: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rounds", "questions", "samples"):
            require_count(name, getattr(self, name))
        if not is_number(self.temperature) or self.temperature < 0:
            raise ValueError(f"temperature must be a number of at least 0, got {self.temperature!r}")
        if self.samples > 1 and not self.temperature:
            raise ValueError(f"samples of {self.samples} need a temperature above 0: greedy ones are all the same")
        if self.keep not in get_args(Keep):
            raise ValueError(f"keep must be one of {', '.join(get_args(Keep))}, got {self.keep!r}")
        if self.rationalise and self.keep in ("everything", "nothing"):
            raise ValueError(f"rationalise needs a filter that some pass and some do not, got keep {self.keep!r}")
        if not is_integer(self.seed):
            raise ValueError(f"seed must be an integer, got {self.seed!r}")


@dataclass(frozen=True)
class Round:
    """What one round came to; round 0 is the base model, for which nothing was written.

    Attributes:
        kept: Rationales that passed, as a share of the questions.
        kept_wrong: Of these, the share whose steps are not the worked ones; 0 where none was kept.
        hinted: Rationales made from a hint that passed, as a share of the questions.
        hinted_wrong: Of these, the share whose steps are not the worked ones; 0 where there are none.
        scores: Of the model after the round, on held-out questions, with a scratchpad, by length.
    """

    kept: float
    kept_wrong: float
    hinted: float
    hinted_wrong: float
    scores: Mapping[int, Score]

    @property
    def right(self) -> float:
        """Mean over the lengths of the share of right answers."""
        return sum(one.right for one in self.scores.values()) / len(self.scores)


def star(
    base: DecoderLM,
    task: Task,
    lengths: Sequence[int],
    known: Sequence[Example],
    recipe: Recipe,
    config: StarConfig,
    *,
    count: int = 100,
) -> tuple[DecoderLM, list[Round]]:
    """Run the loop.

    Args:
        base: Where each round's training starts; it is not changed.
        task: Of the questions.
        lengths: Of the questions, each as likely.
        known: Examples whose rationales are given; they are trained on in every round.
        recipe: Of the training of each round.
        config: Of the loop.
        count: Held-out questions of a length to score a round by.

    Returns:
        The last model, and rounds 0 to ``config.rounds``.

    Raises:
        ValueError: there are no known examples, or a length is none of the task's.
    """
    if not known:
        raise ValueError("known must hold at least one example, got none")
    asked = stream(task, lengths, config.seed)
    model = base
    rounds = [Round(0.0, 0.0, 0.0, 0.0, by_length(LabModel(base), task, lengths, "scratchpad", count=count))]
    for number in range(1, config.rounds + 1):
        questions = list(itertools.islice(asked, config.questions))
        kept, failed = written(LabModel(model), questions, config, seed=config.seed + number)
        hinted = rationalised(LabModel(model), failed, config.keep) if config.rationalise else []
        model = copy.deepcopy(base)
        seed = _SEEDS * config.seed + number
        source = with_replacement([*known, *kept, *hinted], seed)
        recipe.train(model, recipe.affordable(batches(source, SHARES, "completion", recipe.batch, seed)))
        scores = by_length(LabModel(model), task, lengths, "scratchpad", count=count)
        shares = [len(part) / len(questions) for part in (kept, hinted)]
        rounds.append(Round(shares[0], wrong_share(task, kept), shares[1], wrong_share(task, hinted), scores))
    return model, rounds


def written(
    model: LabModel, questions: Sequence[Example], config: StarConfig, *, seed: int
) -> tuple[list[Example], list[Example]]:
    """Examples with the steps that a model wrote, where these pass the filter, and the questions where none did.

    Args:
        model: Writes.
        questions: Of whose steps nothing is used but to filter by "true steps".
        config: How many samples, and which filter.
        seed: Of the samples.
    """
    if not questions:
        return [], []
    sampling = Sampling(
        max_tokens=room(questions, "scratchpad"), temperature=config.temperature, n=config.samples, seed=seed
    )
    completions = model.generate([prompt(one, "scratchpad") for one in questions], sampling)
    kept, failed = list[Example](), list[Example]()
    for example, samples in zip(questions, completions, strict=True):
        readings = [read(one.text, "scratchpad", example.marks) for one in samples]
        passed = next((one for one in readings if _passes(example, one.steps, one.answer, config.keep)), None)
        if passed is None or passed.answer is None:
            failed.append(example)
        else:
            kept.append(replace(example, steps=passed.steps, answer=passed.answer))
    return kept, failed


def _passes(example: Example, steps: Sequence[str], answer: str | None, keep: Keep) -> bool:
    if keep in ("everything", "nothing"):
        return answer is not None and keep == "everything"
    return answer == example.answer and (keep == "right answer" or tuple(steps) == example.steps)


def rationalised(model: LabModel, failed: Sequence[Example], keep: Keep) -> list[Example]:
    """Examples with steps that a model wrote when it was given the answer as a hint, and from which it gets there.

    Args:
        model: Writes, greedily.
        failed: Questions with their answers.
        keep: The filter.
    """
    if not failed:
        return []
    hints = [prompt(one, "post-hoc") + one.answer + one.marks.rationale for one in failed]
    length = room(failed, "scratchpad")
    texts = _greedy(model, hints, length)
    # A rationale with a mark in it would be read as something else once it is trained on.
    tried = [
        (one, one.marks.split(text))
        for one, text in zip(failed, texts, strict=True)
        if text and one.marks.answer not in text and one.marks.rationale not in text
    ]
    prompts = [prompt(one, "scratchpad") + one.marks.join(its) + one.marks.answer for one, its in tried]
    answers = _greedy(model, prompts, room(failed, "direct"))
    return [
        replace(one, steps=its)
        for (one, its), answer in zip(tried, answers, strict=True)
        if _passes(one, its, answer, keep)
    ]


def wrong_share(task: Task, examples: Sequence[Example]) -> float:
    """Share of the examples whose steps are not the task's; 0 of none."""
    wrong = sum(one.steps != task.follow(one.question).steps for one in examples)
    return wrong / len(examples) if examples else 0.0


def with_replacement(examples: Sequence[Example], seed: int) -> Iterator[Example]:
    """Examples for ever, each time each as likely.

    Raises:
        ValueError: there are none.
    """
    if not examples:
        raise ValueError("examples must hold at least one, got none")
    rng = Random(f"examples, {seed}")
    return (one_of(examples, rng) for _ in itertools.count())


def _greedy(model: LabModel, prompts: Sequence[str], max_tokens: int) -> list[str]:
    return [first.text for first, *_ in model.generate(prompts, Sampling(max_tokens=max_tokens))] if prompts else []
