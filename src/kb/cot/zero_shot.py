"""Zero-shot chain of thought in both of its stages: the model reasons, then is asked for the answer to its reasoning.

Unusual: the number is read from the second stage's cue and reply together ("Therefore, the answer (arabic numerals) is
42. There were 50 ..."), so that the first number of the reply counts, as in the paper, and not the last.

Source: Kojima et al. 2022, arXiv 2205.11916, section 3.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

from kb.arguments import require_count
from kb.cot.answers import extract_number
from kb.cot.language_model import Completion, LanguageModel, Sampling
from kb.cot.prompts import ENGLISH, Wording, zero_shot_cot


@dataclass(frozen=True)
class Reasoned:
    """One sample: the reasoning, the reply to the question for the answer, and what was read from it."""

    reasoning: Completion
    reply: Completion
    answer: Hashable | None


def zero_shot_answers(
    model: LanguageModel,
    questions: Sequence[str],
    sampling: Sampling,
    *,
    extract: Callable[[str], Hashable | None] = extract_number,
    wording: Wording = ENGLISH,
    answer_tokens: int = 32,
    chat: bool = False,
    system: str | None = None,
) -> list[list[Reasoned]]:
    """Reason about each question, then answer: ``sampling.n`` samples of each, in order.

    Args:
        model: Any back end.
        questions: Without "Q:".
        sampling: Of the first stage; the second is greedy, with the same stop strings.
        extract: Reads the answer from the second stage's cue and reply.
        wording: Of both stages.
        answer_tokens: New tokens of the second stage.
        chat: Go through the model's chat template.
        system: The system's message there.

    Raises:
        TypeError: the questions are one text.
        ValueError: a question is empty, or it may not leave room for both stages; nothing was computed.
    """
    if isinstance(questions, str):
        raise TypeError("questions must be a sequence of texts, got one text")
    require_count("answer_tokens", answer_tokens)
    built = [zero_shot_cot(question, wording=wording) for question in questions]
    prompts = [prompt.through(model, system) if chat else prompt.text for prompt in built]
    cue = "\n" + wording.final
    for place, prompt in enumerate(prompts):
        needed = model.count_tokens(prompt) + sampling.max_tokens + model.count_tokens(cue) + answer_tokens
        if needed > model.context_length:
            raise ValueError(
                f"questions[{place}] may need {needed} tokens for both stages, and {model.name} has "
                f"{model.context_length}: lower max_tokens ({sampling.max_tokens})"
            )
    reasonings = model.generate(prompts, sampling) if prompts else []
    second = [
        prompt + one.text.rstrip() + cue for prompt, samples in zip(prompts, reasonings, strict=True) for one in samples
    ]
    greedy = replace(sampling, temperature=0.0, top_p=1.0, n=1, max_tokens=answer_tokens)
    replies = iter(model.generate(second, greedy) if second else [])
    return [[_reasoned(one, next(replies)[0], wording, extract) for one in samples] for samples in reasonings]


def _reasoned(
    reasoning: Completion, reply: Completion, wording: Wording, extract: Callable[[str], Hashable | None]
) -> Reasoned:
    return Reasoned(reasoning, reply, extract(wording.final + reply.text))
