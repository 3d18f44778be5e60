"""Four prompts on the 100 items of GSM8K: answers at once and step by step, without examples and with Wei's eight.

Greedy, as plain text without a chat template, so that the four differ in nothing but what the papers say. What is
recorded of every item is the answer that was read and whether it is right; a second and a third reading of the same
outputs, by the two patterns that lm-eval applies to this task, show how far graders agree.
"""

import re
import time
from dataclasses import dataclass

import torch

from benchmarks.cot_models import asked_model
from benchmarks.measurement import Measurement, Samples
from kb.cot import (
    Completion,
    LanguageModel,
    Problem,
    Sampling,
    direct,
    extract_number,
    few_shot_cot,
    gsm8k,
    paired_difference,
    parse_number,
    same_answer,
    wei_demonstrations,
    wilson,
    zero_shot_answers,
)

STOP = ("\nQ:", "\n\nQ", "\n\n\n")
SHORT, LONG, REPLY = 12, 128, 12
PAIRS = (("zero-shot CoT", "direct"), ("8-shot CoT", "8-shot direct"), ("8-shot CoT", "zero-shot CoT"))
# The two patterns of lm-eval's gsm8k-cot: the announced number, and whatever number comes last.
STRICT, LAST = re.compile(r"The answer is (\-?[0-9\.\,]+)."), re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")


@dataclass(frozen=True)
class Asked:
    """What one prompt came to on all items."""

    texts: list[str]
    new_tokens: list[int]
    cut: int
    prompt_tokens: list[int]
    seconds: float


def ask(model: LanguageModel, prompts: list[str], max_tokens: int) -> Asked:
    """Greedy continuations; the first prompt goes ahead, so that others find the examples in the engine's cache."""
    start, how = time.perf_counter(), Sampling(max_tokens=max_tokens, stop=STOP)
    found = [one for part in (prompts[:1], prompts[1:]) for (one,) in model.generate(part, how)]
    return _asked(found, [model.count_tokens(prompt) for prompt in prompts], time.perf_counter() - start)


def ask_in_two_stages(model: LanguageModel, problems: tuple[Problem, ...]) -> Asked:
    """Kojima's two stages; the text is the second stage's, with its cue."""
    start, how = time.perf_counter(), Sampling(max_tokens=LONG, stop=STOP)
    questions = [problem.question for problem in problems]
    found = [one for (one,) in zero_shot_answers(model, questions, how, answer_tokens=REPLY)]
    prompts = [model.count_tokens(direct(question).text) for question in questions]
    made = _asked([one.reasoning for one in found], prompts, time.perf_counter() - start)
    texts = [f"The answer is{one.reply.text}" for one in found]
    tokens = [first + one.reply.num_tokens for first, one in zip(made.new_tokens, found, strict=True)]
    return Asked(texts, tokens, made.cut, prompts, made.seconds)


def measure(device: torch.device) -> Measurement:
    """Ask everything; nothing is assumed of who is better."""
    model, problems, examples = asked_model(device), gsm8k(), wei_demonstrations()
    built = {
        "direct": [direct(one.question).text for one in problems],
        "8-shot direct": [direct(one.question, examples).text for one in problems],
        "8-shot CoT": [few_shot_cot(one.question, examples).text for one in problems],
    }
    asked = {name: ask(model, built[name], LONG if "CoT" in name else SHORT) for name in built}
    asked["zero-shot CoT"] = ask_in_two_stages(model, problems)
    answers = {name: [extract_number(text) for text in one.texts] for name, one in asked.items()}
    right = {
        name: [same_answer(answer, problem.answer) for answer, problem in zip(of, problems, strict=True)]
        for name, of in answers.items()
    }
    assert all(len(of) == len(problems) for of in right.values()), "not every item was answered by every prompt"
    return Measurement(
        title=f"{model.name} on {len(problems)} items of GSM8K's test set",
        method=f"greedy, plain text; at most {SHORT} new tokens for an answer at once, {LONG} for steps, {REPLY} for "
        "the second stage of zero-shot chain of thought",
        samples={f"{name}: new tokens": Samples("tokens", one.new_tokens) for name, one in asked.items()},
        facts={
            "model": model.name,
            "items": [problem.id for problem in problems],
            "right": {name: [int(one) for one in of] for name, of in right.items()},
            "answers": {name: [None if one is None else str(one)[:12] for one in of] for name, of in answers.items()},
            "accuracy": {name: _told(wilson(sum(of), len(of))) for name, of in right.items()},
            "differences": {
                f"{one} - {other}": _told(paired_difference(right[one], right[other]).difference)
                | {"p": round(paired_difference(right[one], right[other]).p_value, 4)}
                for one, other in PAIRS
            },
            "cut off": {name: one.cut for name, one in asked.items()},
            "prompt tokens": {name: one.prompt_tokens for name, one in asked.items()},
            "seconds": {name: round(one.seconds, 1) for name, one in asked.items()},
            "right by other readings": {name: _graded(one.texts, problems) for name, one in asked.items()},
            "first outputs": {name: one.texts[:3] for name, one in asked.items()},
        },
    )


def _asked(found: list[Completion], prompt_tokens: list[int], seconds: float) -> Asked:
    cut = sum(one.finish_reason == "length" for one in found)
    return Asked([one.text for one in found], [one.num_tokens for one in found], cut, prompt_tokens, seconds)


def _told(lies: object) -> dict[str, float]:
    return {name: round(getattr(lies, name), 4) for name in ("estimate", "low", "high")}


def _graded(texts: list[str], problems: tuple[Problem, ...]) -> dict[str, int]:
    """How many are right where the first number announced counts, and where the last number of the text does."""
    announced = [STRICT.search(text) for text in texts]
    last = [list(LAST.finditer(text)) for text in texts]
    read = {
        "announced": [match[1] if match else "" for match in announced],
        "last": [matches[-1][0] if matches else "" for matches in last],
    }
    return {
        name: sum(
            parse_number(one.strip("$.,")) == problem.answer for one, problem in zip(of, problems, strict=True) if one
        )
        for name, of in read.items()
    }
