"""Least-to-most prompting: the model first says which smaller questions to answer, then answers one after another.

Each smaller question is asked with all earlier ones and their answers before it, so that the last, which is the
question itself, stands on what was found. Unusual: all problems go through their steps together, in one batch a step,
whatever number of steps each has; a problem for which no smaller question can be read is simply answered.

Source: Zhou et al. 2022, arXiv 2205.10625, section 2 and the prompts for GSM8K in its appendix; the examples here are
our own.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kb.arguments import require_count
from kb.cot.language_model import LanguageModel, Sampling
from kb.cot.request_checks import require_questions, require_sampling, require_text

DECOMPOSE = """\
Problem: A box holds 6 pencils. Ann buys 4 boxes and gives away 5 pencils. How many pencils does she keep?
Smaller questions:
1. How many pencils does Ann buy?

Problem: A train leaves with 80 people. At the first stop 15 get off and 22 get on, at the second stop half of all get \
off. How many people are left?
Smaller questions:
1. How many people are on the train after the first stop?
2. How many people get off at the second stop?

Problem: {question}
Smaller questions:
"""
SOLVE = """\
A box holds 6 pencils. Ann buys 4 boxes and gives away 5 pencils.
Q: How many pencils does Ann buy?
A: 4 boxes of 6 pencils are 4 * 6 = 24 pencils. The answer is 24.
Q: How many pencils does she keep?
A: Of 24 pencils she gives away 5, so she keeps 24 - 5 = 19. The answer is 19.

{question}
"""

# "1.5 litres" and "**Plan**" begin no item; "**1.** How many?" does.
_NUMBERED = re.compile(r"^\s*(?:\*{0,2}\d{1,3}\s*(?:[):、]|\.(?!\d))|•|-(?![-\d])|\*(?!\*))\s*(.+)$")
_QUOTED = re.compile(r"[\"“]([^\"“”]{1,1000})[\"”]")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")


@dataclass(frozen=True)
class LeastToMostConfig:
    """Prompts and sizes.

    Args:
        decompose: Prompt for the smaller questions, with ``{question}`` where the problem goes.
        solve: What goes before the questions and answers, likewise.
        most_steps: Smaller questions at most; further ones are left out.
        decomposition: How the smaller questions are generated; one sample.
        solution: How an answer is; one sample.

    Raises:
        TypeError: an argument is of another kind.
        ValueError: a prompt lacks ``{question}``, or a sampling asks for more than one sample.
    """

    decompose: str = DECOMPOSE
    solve: str = SOLVE
    most_steps: int = 8
    decomposition: Sampling = field(default_factory=lambda: Sampling(max_tokens=192, stop=("\n\n", "\nProblem:")))
    solution: Sampling = field(default_factory=lambda: Sampling(max_tokens=192, stop=("\nQ:", "\n\n")))

    def __post_init__(self) -> None:
        require_count("most_steps", self.most_steps, least=0)
        for name in ("decompose", "solve"):
            require_text(name, getattr(self, name))
            if "{question}" not in getattr(self, name):
                raise ValueError(f"{name} must have {{question}} where the problem goes")
        for name in ("decomposition", "solution"):
            if require_sampling(getattr(self, name)).n != 1:
                raise ValueError(f"{name} must ask for one sample, got n = {getattr(self, name).n}")


@dataclass(frozen=True)
class Step:
    """A smaller question, and what the model wrote to it."""

    question: str
    text: str


@dataclass(frozen=True)
class LeastToMost:
    """A problem's way.

    Args:
        question: The problem.
        decomposition: What the model wrote when asked for smaller questions.
        steps: Smaller questions with their answers; the last is the problem's own question.
        answer: Read out of the last one, None where there is none.
    """

    question: str
    decomposition: str
    steps: tuple[Step, ...]
    answer: object | None


def least_to_most(
    model: LanguageModel,
    questions: Sequence[str],
    *,
    extract: Callable[[str], object | None],
    config: LeastToMostConfig | None = None,
) -> list[LeastToMost]:
    """Answer problems step by step; the model is called once for the smaller questions, and once for each step.

    Args:
        model: Any.
        questions: The problems.
        extract: Reads the answer out of what the model writes to the last question.
        config: Prompts and sizes.

    Raises:
        TypeError: an argument is of another kind.
        ValueError: a question is empty, or a prompt has grown out of the model's context.
    """
    config = config or LeastToMostConfig()
    questions = require_questions(questions)
    prompts = [config.decompose.replace("{question}", question.strip()) for question in questions]
    plans = [one[0].text for one in model.generate(prompts, config.decomposition)]
    todo = [_asked(plan, question, config.most_steps) for plan, question in zip(plans, questions, strict=True)]
    prompts = [config.solve.replace("{question}", question.strip()) for question in questions]
    steps: list[list[Step]] = [[] for _ in questions]
    for number in range(max(map(len, todo), default=0)):
        active = [place for place, asked in enumerate(todo) if number < len(asked)]
        for place in active:
            prompts[place] = f"{prompts[place].rstrip()}\nQ: {todo[place][number]}\nA:"
        found = model.generate([prompts[place] for place in active], config.solution)
        for place, (one, *_) in zip(active, found, strict=True):
            steps[place].append(Step(todo[place][number], one.text.strip()))
            prompts[place] += f" {one.text.strip()}"
    return [
        LeastToMost(question, plan, tuple(taken), extract(taken[-1].text))
        for question, plan, taken in zip(questions, plans, steps, strict=True)
    ]


def _asked(plan: str, problem: str, most_steps: int) -> list[str]:
    """The questions in the order in which they are asked; the problem's own is the last, and is asked once."""
    last = final_question(problem)
    smaller = [one for one in smaller_questions(plan) if one.casefold().split() != last.casefold().split()]
    # A step too many is left out at the end of the plan, never the problem's own question.
    return [*smaller[:most_steps], last]


def smaller_questions(text: str) -> list[str]:
    """The questions of a numbered or bulleted list, or without a list those in quotation marks; none twice."""
    listed = [match[1] for line in text.splitlines() if (match := _NUMBERED.match(line))]
    found = [one.strip(' *\t"“”') for one in listed or _QUOTED.findall(text)]
    return list(dict.fromkeys(one for one in found if one))


def final_question(problem: str) -> str:
    """The sentence at the end of a problem that asks; the whole problem where the end asks nothing."""
    sentences = [part.strip() for part in _SENTENCE_END.split(problem) if part.strip()]
    return sentences[-1] if sentences and sentences[-1].endswith(("?", "？")) else problem.strip()
