"""The four corpora: the same bytes everywhere, nothing held out that is trained on, worked answers that are right."""

import hashlib
import random
import re
from fractions import Fraction
from typing import Any

import pytest
import torch

from kb.moe.domains import NAMES, TRAINING_BYTES, Domain, domains, mixed
from kb.moe.word_problems import Template, evaluate, parse, problems, rendered

# Of the training texts and of what is held out, as they were read when the page was written.
DIGESTS = {
    "math": "de4be25bb6018d9b",
    "code": "8aabc7dc2d12c7b8",
    "qa": "58dc4fe9506b01c0",
    "plays": "452b15ba0797b063",
}


@pytest.fixture(scope="module")
def parts() -> dict[str, Domain]:
    return domains()


def text_of(tokens_N: torch.Tensor) -> bytes:
    return bytes(tokens_N.tolist())


def test_the_bytes_are_the_same_on_every_machine(parts: dict[str, Domain]) -> None:
    found = {
        name: hashlib.sha256(text_of(part.train_N) + b"|" + text_of(part.held_out_N)).hexdigest()[:16]
        for name, part in parts.items()
    }
    assert found == DIGESTS


def test_domains_are_of_one_size_and_mix_in_equal_parts(parts: dict[str, Domain]) -> None:
    assert tuple(parts) == NAMES
    assert {len(part.train_N) for part in parts.values()} == {TRAINING_BYTES}
    assert all(10_000 < len(part.held_out_N) < 40_000 for part in parts.values())
    assert torch.equal(mixed(parts)[TRAINING_BYTES : 2 * TRAINING_BYTES], parts["code"].train_N)


def test_no_long_line_that_is_held_out_is_trained_on(parts: dict[str, Domain]) -> None:
    for name, part in parts.items():
        train = set(text_of(part.train_N).splitlines())
        held_out = [line for line in text_of(part.held_out_N).splitlines() if len(line) >= 60]
        known = sum(line in train for line in held_out)
        # Files of code share a few lines.
        assert known <= 0.1 * len(held_out), f"{name}: {known} of {len(held_out)}"


def test_less_may_be_asked_for_and_more_is_refused(parts: dict[str, Domain]) -> None:
    small = domains(1000)
    assert all(torch.equal(small[name].train_N, parts[name].train_N[:1000]) for name in NAMES)
    assert all(torch.equal(small[name].held_out_N, parts[name].held_out_N) for name in NAMES)
    with pytest.raises(ValueError, match=r"training_bytes 10000000 is more than the .* bytes of math"):
        domains(10_000_000)
    with pytest.raises(ValueError, match="training_bytes must be an integer of at least 1"):
        domains(0)


@pytest.fixture(scope="module")
def made() -> list[list[str]]:
    return problems(4, seed=0)


def test_most_templates_give_problems_of_their_own(made: list[list[str]]) -> None:
    assert len(made) == 100
    assert sum(len(copies) == 4 for copies in made) > 45
    assert all(len(set(copies)) == len(copies) for copies in made)
    assert made == problems(4, seed=0)
    assert made != problems(4, seed=1)


def test_every_step_that_is_marked_as_reckoned_is_right(made: list[list[str]]) -> None:
    """GSM8K marks reckoning as <<2*5=10>>: Fractions say whether it is right, apart from rounding."""
    checked = 0
    for copies in made:
        for problem in copies if len(copies) > 1 else ():
            for left, right in re.findall(r"<<([0-9.+*/() -]+)=([0-9.]+)>>", problem):
                exact = fraction_of(left)
                assert abs(exact - Fraction(right)) <= Fraction(1, 1000) * max(1, abs(exact)), problem
                checked += 1
    assert checked > 500


def fraction_of(expression: str) -> Fraction:
    """An expression of numbers alone, exactly: the outside reference is Python's own arithmetic on fractions."""
    exact = re.sub(r"[0-9]*\.?[0-9]+", lambda number: f"Fraction('{number[0]}')", expression)
    value = eval(exact, {"__builtins__": {}, "Fraction": Fraction})  # digits and signs alone
    return Fraction(value)


def test_the_answer_after_the_hashes_is_that_of_the_last_step(made: list[list[str]]) -> None:
    ends = [problem.rsplit(">>", 1)[-1] for copies in made if len(copies) > 1 for problem in copies if ">>" in problem]
    pairs = [re.search(r"^(\d+)\D.*?#### (\d+)$", end, re.DOTALL) for end in ends]
    agreeing = [pair for pair in pairs if pair and pair[1] == pair[2]]
    assert len(agreeing) > 0.9 * len([pair for pair in pairs if pair])


def test_a_template_by_hand() -> None:
    text = '''
question = "Ann has 3 pens and buys 4. How many?"
answer = """
3+4=<<3+4=7>>7
#### 7
"""
question_annotated = """
{name,Ann} has {n,3} pens and buys {m, 4}. How many?

#init:
- name = sample(["Ann", "Bo"])
- $n = range(2, 9)
- $m = range(2, 9)

#conditions:
- n < m

#answer: n + m
"""
answer_annotated = """
{n}+{m}=<<{n}+{m}={n+m}>>{n+m}
#### {n+m}
"""
'''
    template = parse(text)
    assert template.draws == ((("name",), 'sample(["Ann", "Bo"])'), (("n",), "range(2, 9)"), (("m",), "range(2, 9)"))
    assert template.conditions == ("n < m",)
    assert rendered(template, {"name": "Ann", "n": 3, "m": 4}) == template.original
    assert rendered(template, {"name": "Bo", "n": 2, "m": 8})[1] == "2+8=<<2+8=10>>10\n#### 10"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * x", 7),
        ("-x // 2", -2),
        ("x % 2 == 1 and not x > 5", True),
        ("1 < x < 3 or divides(x, 0)", False),
        ("is_int(x / 2)", False),
        ("int(x / 2)", 1),
        ("[x, (1, 2)]", [3, [1, 2]]),
        ("Fraction(x / 4)", Fraction(3, 4)),
    ],
)
def test_expressions_are_worth_what_python_says(expression: str, value: Any) -> None:
    assert evaluate(expression, {"x": 3}) == value


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os')",
        "x.__class__",
        "open('file')",
        "[y for y in (1, 2)]",
        "lambda: 1",
        "x ** 9999999",
        "'a' * 9999999",
        "unknown",
        "int(x, base=3)",
        "f'{x}'",
    ],
)
def test_what_is_not_arithmetic_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"here|words"):
        evaluate(expression, {"x": 3})


def test_copies_must_be_a_count() -> None:
    with pytest.raises(ValueError, match="copies must be an integer of at least 1, got 0"):
        problems(0, seed=0)
    assert isinstance(parse(MINIMAL), Template)
    assert random.Random("0 1").random() == random.Random("0 1").random()


MINIMAL = 'question = "a"\nanswer = "b"\nquestion_annotated = "a"\nanswer_annotated = "b"\n'
