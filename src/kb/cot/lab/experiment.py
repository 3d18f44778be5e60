"""One run of the lab: train a model on a corpus for a budget, then ask it held-out questions, length by length.

Unusual: in which format a model is asked need not be the one that it was trained in. A model trained on a mixture of
formats is asked in each, which is how a mixing share is judged. Exact match throughout: an answer is right or wrong.

Sources: Wei et al. 2022, arXiv 2201.11903, section 5 (longer problems than those of the demonstrations); Merrill and
Sabharwal 2023, arXiv 2310.07923 (what steps add to what a transformer of fixed depth can compute).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kb.arguments import is_number, require_count
from kb.cot.lab.formats import Format, prompt, read, require_format
from kb.cot.lab.model import LabModel
from kb.cot.lab.task import Example, Task, held_out, require_lengths
from kb.cot.lab.training import Corpus, Recipe
from kb.cot.language_model import LanguageModel, Sampling
from kb.lm import DecoderLM

_SLACK = 8  # tokens beyond those of the true completion: whoever needs more is wrong


@dataclass(frozen=True)
class Score:
    """How a model answered.

    Attributes:
        count: Questions.
        right: Share of the answers that are exactly right.
        true_steps: Share of the rationales that are exactly the worked ones; None in a format without.
        tokens: Mean of those written, the end token included.
    """

    count: int
    right: float
    true_steps: float | None
    tokens: float


@dataclass(frozen=True)
class Run:
    """What one training came to.

    Attributes:
        steps: Batches that the budget paid for.
        examples: Sequences in them.
        loss: Mean of the last tenth of the steps, in nats a counted token.
        scores: By the format and the length of the questions.
    """

    steps: int
    examples: int
    loss: float
    scores: Mapping[Format, Mapping[int, Score]]


def room(examples: Sequence[Example], how: Format) -> int:
    """``max_tokens`` for questions in a format: what the longest true completion needs, and a few more."""
    steps = (
        0
        if how in ("direct", "filler")
        else max(len(one.marks.join(one.steps)) + len(one.marks.answer) for one in examples)
    )
    return steps + max(len(one.answer) for one in examples) + 1 + _SLACK


def score(model: LanguageModel, examples: Sequence[Example], how: Format) -> Score:
    """Ask a model, greedily, and compare its answers and steps with the worked ones.

    Raises:
        ValueError: there are no examples, no such format, or no room for an answer in the model's context.
    """
    require_format(how)
    if not examples:
        raise ValueError("examples must hold at least one, got none")
    prompts = [prompt(one, how) for one in examples]
    written = [first for first, *_ in model.generate(prompts, Sampling(max_tokens=room(examples, how)))]
    readings = [read(one.text, how, example.marks) for one, example in zip(written, examples, strict=True)]
    right = sum(found.answer == one.answer for found, one in zip(readings, examples, strict=True))
    true = sum(found.steps == one.steps for found, one in zip(readings, examples, strict=True))
    has_steps = how in ("scratchpad", "post-hoc")
    tokens = sum(one.num_tokens for one in written) / len(written)
    return Score(len(examples), right / len(examples), true / len(examples) if has_steps else None, tokens)


def by_length(
    model: LanguageModel, task: Task, lengths: Sequence[int], how: Format, *, count: int = 100, seed: int = 0
) -> dict[int, Score]:
    """The score on held-out questions of each length, at most ``count`` of a length.

    Raises:
        ValueError: as for :func:`score` and ``held_out``.
    """
    require_lengths(task, lengths)
    return {length: score(model, held_out(task, length, count, seed), how) for length in lengths}


def run(
    corpus: Corpus, recipe: Recipe, asked: Sequence[Format], lengths: Sequence[int], *, seed: int, count: int = 100
) -> tuple[DecoderLM, Run]:
    """Train a model on a corpus and ask it in formats, on questions of lengths.

    Raises:
        ValueError: a format or a length is none, or the budget pays for no batch.
    """
    require_lengths(corpus.task, lengths)
    require_count("count", count)
    for how in asked:
        require_format(how)
    model, steps = recipe.trained(corpus, seed=seed)
    last = steps[-max(1, len(steps) // 10) :]
    scores = {how: by_length(LabModel(model), corpus.task, lengths, how, count=count) for how in asked}
    loss = sum(step.loss for step in last) / len(last)
    return model, Run(len(steps), len(steps) * recipe.batch, loss, scores)


def mixture(share: float) -> dict[Format, float]:
    """Shares of a corpus of which ``share`` has scratchpads, and the rest answers alone.

    Raises:
        ValueError: it is not a number from 0 to 1.
    """
    if not is_number(share) or not 0 <= share <= 1:
        raise ValueError(f"share must be a number from 0 to 1, got {share!r}")
    return {"scratchpad": share, "direct": 1 - share}
