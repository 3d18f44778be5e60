r"""Prompts for a question: direct, step by step with no example, or behind worked examples; and whether they fit.

Unusual: a prompt has two parts, what is said to the model (``message``) and how its reply begins (``cue``). As plain
text they stand in one piece, "Q: ...\nA: Let's think step by step."; through a chat template the message is the user's,
and the cue starts the assistant's turn. Nothing is left out silently: examples that do not fit are an error that names
them, or are left out where that was asked for, and how many were kept is said.

Sources: Wei et al. 2022, arXiv 2201.11903, appendix G (the eight examples, here as lm-eval has them in tasks/gsm8k);
Kojima et al. 2022, arXiv 2205.11916, section 3 (both stages and their wordings).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kb import datasets
from kb.arguments import require_count
from kb.cot.demonstrations import Demonstration
from kb.cot.language_model import LanguageModel

_EXEMPLARS = "lm_eval/tasks/gsm8k/gsm8k-cot.yaml"


@dataclass(frozen=True)
class Wording:
    """The fixed words of prompts. ``stated`` holds one ``{}`` for the answer.

    Raises:
        ValueError: ``stated`` does not.
    """

    question: str = "Q: "
    answer: str = "A:"
    trigger: str = " Let's think step by step."
    direct: str = " The answer (arabic numerals) is"
    final: str = "Therefore, the answer (arabic numerals) is"
    stated: str = " The answer is {}."

    def __post_init__(self) -> None:
        if self.stated.count("{}") != 1 or self.stated.count("{") != 1 or self.stated.count("}") != 1:
            raise ValueError(f"stated must hold one {{}} for the answer and no other brace, got {self.stated!r}")


ENGLISH = Wording()
# Ours: the papers have no Chinese wording.
CHINESE = Wording(
    "问：", "答：", "让我们一步一步地思考。", "答案（阿拉伯数字）是", "因此，答案（阿拉伯数字）是", "答案是{}。"
)


@dataclass(frozen=True)
class Prompt:
    """What is said to a model, and how its reply begins; ``between`` joins the two in plain text."""

    message: str
    cue: str = ""
    between: str = "\nA:"

    @property
    def text(self) -> str:
        """Both parts as one plain text."""
        return self.message + self.between + self.cue

    def through(self, model: LanguageModel, system: str | None = None) -> str:
        """The message in the model's chat template, the cue after it; plain text where the model has no template."""
        wrapped = model.chat(self.message, system)
        return self.text if wrapped == self.message else wrapped + self.cue.lstrip()


@dataclass(frozen=True)
class Fitted:
    """A prompt that fits: its text, how many demonstrations it kept (the first ones), and its tokens."""

    text: str
    kept: int
    num_tokens: int


# From a question and demonstrations to a prompt: zero_shot_cot, few_shot_cot or direct.
Build = Callable[[str, Sequence[Demonstration]], Prompt]


def direct(question: str, demonstrations: Sequence[Demonstration] = (), *, wording: Wording = ENGLISH) -> Prompt:
    """The answer at once: Kojima's zero-shot without demonstrations, Wei's standard prompting with them.

    Raises:
        ValueError: the question is empty.
    """
    _require_words("question", question)
    shown = [_shown(one, wording, reasoned=False) for one in demonstrations]
    cue = "" if demonstrations else wording.direct
    return Prompt("\n\n".join([*shown, wording.question + question.strip()]), cue, "\n" + wording.answer)


def zero_shot_cot(question: str, demonstrations: Sequence[Demonstration] = (), *, wording: Wording = ENGLISH) -> Prompt:
    """The first stage of zero-shot chain of thought: the reply begins with the trigger.

    With demonstrations they come before it, each beginning with the trigger too: Auto-CoT's prompt. A rationale that
    begins with it, as those of ``auto_cot`` do, is not given it twice.

    Raises:
        ValueError: the question or a part of a demonstration is empty.
    """
    _require_words("question", question)
    shown = [_shown(one, wording, reasoned=True, begin=wording.trigger) for one in demonstrations]
    message = "\n\n".join([*shown, wording.question + question.strip()])
    return Prompt(message, wording.trigger, "\n" + wording.answer)


def few_shot_cot(question: str, demonstrations: Sequence[Demonstration], *, wording: Wording = ENGLISH) -> Prompt:
    """Worked examples, then the question: Wei's chain-of-thought prompting.

    Nothing is put before the rationales nor after the question; the prompt of Auto-CoT, which ends in the trigger, is
    ``zero_shot_cot(question, demonstrations)``.

    Raises:
        ValueError: there is no demonstration, or the question or a part of one is empty.
    """
    _require_words("question", question)
    if not demonstrations:
        raise ValueError("demonstrations must hold at least one; without any, use zero_shot_cot or direct")
    shown = [_shown(one, wording, reasoned=True) for one in demonstrations]
    return Prompt("\n\n".join([*shown, wording.question + question.strip()]), "", "\n" + wording.answer)


def wei_demonstrations() -> tuple[Demonstration, ...]:
    """The eight examples of Wei et al., from the pinned package lm-eval.

    Raises:
        kb.datasets.DatasetError: the package cannot be had.
    """
    import yaml

    entries = yaml.safe_load(datasets.read("lm-eval", _EXEMPLARS))["fewshot_config"]["samples"]
    found = []
    for entry in entries:
        rationale, _, answer = entry["target"].rpartition(" The answer is ")
        found.append(Demonstration(entry["question"], rationale, answer.removesuffix(".")))
    return tuple(found)


def fit(
    model: LanguageModel,
    build: Build,
    question: str,
    demonstrations: Sequence[Demonstration] = (),
    *,
    max_tokens: int,
    leave_out: bool = False,
    chat: bool = False,
    system: str | None = None,
) -> Fitted:
    """A prompt that leaves room for ``max_tokens`` new tokens in the model's context.

    Args:
        model: Counts tokens.
        build: Makes the prompt, such as :func:`few_shot_cot`.
        question: What is asked.
        demonstrations: In order of worth, as the last ones go first.
        max_tokens: New tokens that there must be room for.
        leave_out: Keep as many demonstrations as fit, rather than raise.
        chat: Go through the model's chat template.
        system: The system's message there.

    Raises:
        ValueError: it does not fit; the message says how many tokens there are, how many fit, and which demonstrations
            would have to go. With ``leave_out``, only where it does not fit even with the fewest that ``build`` takes.
    """
    require_count("max_tokens", max_tokens)
    room = model.context_length - max_tokens

    def attempt(kept: int) -> Fitted:
        prompt = build(question, demonstrations[:kept])
        text = prompt.through(model, system) if chat else prompt.text
        return Fitted(text, kept, model.count_tokens(text))

    whole = attempt(len(demonstrations))
    if whole.num_tokens <= room:
        return whole
    fewer, smallest = _fewer(attempt, whole, room)
    if fewer is not None and leave_out:
        return fewer
    if fewer is not None:
        gone, first = f"{whole.kept - fewer.kept} of {whole.kept}", demonstrations[fewer.kept].question[:60]
        advice = f"without the last {gone} demonstrations (from {first!r} on) it would fit"
    else:
        advice = f"even with {smallest.kept} of {whole.kept} demonstrations it is {smallest.num_tokens} tokens"
    raise ValueError(
        f"the prompt is {whole.num_tokens} tokens, and at most {max(room, 0)} fit beside max_tokens {max_tokens} in "
        f"the {model.context_length} of {model.name}: {advice}"
    )


def _fewer(attempt: Callable[[int], Fitted], whole: Fitted, room: int) -> tuple[Fitted | None, Fitted]:
    """The prompt of the longest beginning of the demonstrations that fits, if any, and the shortest that was built."""
    smallest = whole
    for kept in range(whole.kept - 1, -1, -1):
        try:
            smallest = attempt(kept)
        except ValueError:  # few_shot_cot takes no fewer than one
            break
        if smallest.num_tokens <= room:
            return smallest, smallest
    return None, smallest


def _shown(one: Demonstration, wording: Wording, *, reasoned: bool, begin: str = "") -> str:
    if not isinstance(one, Demonstration):
        raise TypeError(f"demonstrations must hold Demonstration, got {type(one).__name__}")
    rationale = ""
    if reasoned:
        # English takes a space between sentences; so does whatever begins with one.
        space = " " if wording.stated.startswith(" ") else ""
        rationale = one.rationale.strip()
        begun = bool(begin.strip()) and rationale.startswith(begin.strip())
        rationale = (space if begun else begin + space) + rationale
    answer = wording.stated.format(one.answer.strip())
    return f"{wording.question}{one.question.strip()}\n{wording.answer}{rationale}{answer}"


def _require_words(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text, got {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{name} must not be empty, got {value!r}")
