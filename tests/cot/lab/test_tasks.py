"""The four tasks: worked by hand and by another way, what follows from false steps, and what is held out."""

import re
from dataclasses import replace
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.cot.lab.marks import LAB
from kb.cot.lab.task import Example, Task, held_out, is_held_out, stream
from kb.cot.lab.tasks import Addition, Lookup, Parity, WordProblems
from kb.cot.lab.vocabulary import encode

TASKS: list[Task] = [Parity(), Addition(), Lookup(8), WordProblems()]
HOPS = Lookup(3)
STORY = "ann has 3 pens. buys 4. drops 2. how many"
each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


@pytest.mark.parametrize(
    ("task", "question", "steps", "answer", "length"),
    [
        (Parity(), "1011", ("1", "1", "0", "1"), "1", 4),
        (Parity(), "0", ("0",), "0", 1),
        (Addition(), "57+68", ("7+8+0=15", "5+6+1=12"), "125", 2),
        (Addition(), "0+0", ("0+0+0=00",), "0", 1),
        (Addition(), "10+20", ("0+0+0=00", "1+2+0=03"), "30", 2),
        (Addition(), "905+195", ("5+5+0=10", "0+9+1=10", "9+1+1=11"), "1100", 3),
        (WordProblems(), STORY, ("3+4=7", "7-2=5"), "5", 2),
    ],
)
def test_worked_by_hand(task: Task, question: str, steps: tuple[str, ...], answer: str, length: int) -> None:
    assert replace(task.follow(question), marks=LAB) == Example(question, steps, answer, length)
    assert task.length(question) == length


def by_another_way(name: str, question: str) -> str:
    if name == "parity":
        return str(question.count("1") % 2)
    if name == "addition":
        a, b = question.split("+")
        return str(int(a) + int(b))
    if name == "lookup":
        entries, asked = question.split(":")
        for relation in asked:
            entries = Lookup(8).tables[relation][entries]
        return entries
    numbers = [int(number) for number in re.findall(r"\d+", question)]
    signs = [1 if verb in ("buys", "gets", "wins") else -1 for verb in re.findall(r"\. (\w+) \d", question)]
    return str(numbers[0] + sum(s * n for s, n in zip(signs, numbers[1:], strict=True)))


@each_task
@given(length=st.integers(1, 7), seed=st.integers(0, 2**32))
def test_questions_have_their_length_and_the_answer_of_another_way(task: Task, length: int, seed: int) -> None:
    question = task.question(length, Random(seed))
    example = task.follow(question)
    assert task.length(question) == example.length == length == len(example.steps)
    assert example.answer == by_another_way(task.name, question)
    assert len({len(step) for step in example.steps}) == 1
    encode(question + "".join(example.steps) + example.answer)


@each_task
@given(length=st.integers(1, 7), seed=st.integers(0, 2**32))
def test_right_steps_lead_to_the_answer_and_a_false_one_to_another(task: Task, length: int, seed: int) -> None:
    rng = Random(seed)
    example = task.follow(task.question(length, rng))
    for at in range(length):
        assert task.follow(example.question, example.steps[: at + 1]) == example
        false = task.corrupt(example.steps[at], rng)
        assert false != example.steps[at]
        assert len(false) == len(example.steps[at])
        believed = task.follow(example.question, [*example.steps[:at], false])
        assert believed.steps[: at + 1] == (*example.steps[:at], false)
        assert believed.answer != example.answer


@pytest.mark.parametrize(
    ("task", "question", "given", "answer"),
    [
        (Parity(), "1011", ("0",), "0"),
        (Addition(), "57+68", ("7+8+0=05",), "115"),
        (Addition(), "57+68", ("7+8+0=15", "5+6+1=02"), "25"),
        (WordProblems(), STORY, ("3+4=9",), "7"),
        (WordProblems(), "ann has 5 pens. uses 5. wins 9. how many", ("5-5=3",), "12"),
        (WordProblems(), "ann has 1 pens. wins 8. uses 9. wins 9. uses 2. how many", ("1+8=2", "2-9=-7"), "0"),
    ],
)
def test_what_follows_from_false_steps_by_hand(task: Task, question: str, given: tuple[str, ...], answer: str) -> None:
    assert task.follow(question, given).answer == answer


@each_task
def test_what_is_trained_on_and_what_is_held_out_never_meet(task: Task) -> None:
    shown = list(islice(stream(task, (3, 4), seed=0), 400))
    tests = [one for length in (3, 4) for one in held_out(task, length, 40, seed=5)]
    assert not any(is_held_out(one.question) for one in shown)
    assert all(is_held_out(one.question) for one in tests)
    assert {one.question for one in shown} & {one.question for one in tests} == set()
    assert len({one.question for one in tests}) == len(tests)
    assert {one.length for one in shown} == {3, 4}
    assert [task.follow(one.question) for one in shown] == shown


def test_about_one_question_in_eight_is_held_out() -> None:
    task, rng = Addition(), Random(0)
    share = sum(is_held_out(task.question(4, rng)) for _ in range(4000)) / 4000
    assert share == pytest.approx(1 / 8, abs=0.02)  # four standard deviations


def test_short_questions_are_few_and_all_that_there_are_come_once() -> None:
    every = {f"{number:06b}" for number in range(64)}
    found = {one.question for one in held_out(Parity(), 6, 1000)}
    assert found == {question for question in every if is_held_out(question)}
    assert [len(held_out(Parity(), length, 1000)) for length in (2, 3, 4, 5)] == [1, 1, 3, 4]
    with pytest.raises(ValueError, match="no question of parity of length 1 is held out"):
        held_out(Parity(), 1, 10)


@each_task
def test_the_same_seed_gives_the_same_and_another_one_others(task: Task) -> None:
    first, again, other = (list(islice(stream(task, (3,), seed), 20)) for seed in (1, 1, 2))
    assert first == again != other
    assert held_out(task, 7, 9, 1) == held_out(task, 7, 9, 1) != held_out(task, 7, 9, 2)


def test_examples_that_belong_together_have_one_length() -> None:
    lengths = [one.length for one in islice(stream(Parity(), range(3, 9), 0, together=5), 100)]
    blocks = [set(lengths[at : at + 5]) for at in range(0, 100, 5)]
    assert all(len(block) == 1 for block in blocks)
    assert len(set.union(*blocks)) == 6


@pytest.mark.parametrize(
    ("task", "question"),
    [
        (Parity(), ""), (Parity(), "012"), (Parity(), "１"), (Parity(), "1\n"), (Parity(), "1 0"), (Parity(), 1),
        (Addition(), "1+23"), (Addition(), "12"), (Addition(), "1+2+3"), (Addition(), "-1+2"), (Addition(), None),
        (HOPS, "a:"), (HOPS, "d:r"), (HOPS, "a:q"), (HOPS, "ar"), (HOPS, "ab:r"), (HOPS, "a:r s"), (HOPS, ["a:r"]),
        (WordProblems(), "ann has 3 pens. how many"), (WordProblems(), "ann has 3 pens. steals 2. how many"),
        (WordProblems(), "zoe has 3 pens. buys 2. how many"), (WordProblems(), "ann has 34 pens. buys 2. how many"),
    ],
)  # fmt: skip
def test_what_is_no_question_is_refused(task: Task, question: str) -> None:
    with pytest.raises(ValueError, match=f"not a question of {task.name}"):
        task.follow(question)


@pytest.mark.parametrize(
    ("task", "question", "step"),
    [
        (Parity(), "10", "2"), (Parity(), "10", ""), (Parity(), "10", "11"),
        (Addition(), "57+68", "7+8+0=5"), (Addition(), "57+68", "7+8+2=15"), (Addition(), "57+68", "7+8+0=25"),
        (HOPS, "a:rs", "d"), (HOPS, "a:rs", "ab"), (WordProblems(), STORY, "3+4"),
        (WordProblems(), STORY, "3*4=7"), (WordProblems(), STORY, 7),
    ],
)  # fmt: skip
def test_what_is_no_step_is_refused(task: Task, question: str, step: str) -> None:
    with pytest.raises(ValueError, match=f"not a step of {task.name}"):
        task.follow(question, [step])
    with pytest.raises(ValueError, match=f"not a step of {task.name}"):
        task.corrupt(step, Random(0))


@each_task
def test_too_many_steps_are_refused(task: Task) -> None:
    example = next(stream(task, (3,), 0))
    with pytest.raises(ValueError, match=rf"{task.name} of length 3 has 3 steps, got 4"):
        task.follow(example.question, [*example.steps, example.steps[-1]])


@each_task
def test_steps_that_are_no_sequence_are_refused(task: Task) -> None:
    example = next(stream(task, (2,), 0))
    for wrong in (None, 1, example.steps[0], iter(example.steps)):
        with pytest.raises(TypeError, match="given must be a sequence of steps"):
            task.follow(example.question, wrong)  # type: ignore[arg-type]


def test_bad_numbers_are_refused() -> None:
    for wrong in (0, -1, True, 1.0, "2"):
        with pytest.raises(ValueError, match="length must be an integer of at least 1"):
            Parity().question(wrong, Random(0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lengths must name at least one length"):
        stream(Parity(), (), 0)
    with pytest.raises(ValueError, match="length must be an integer of at least 1, got 0"):
        stream(Lookup(), (3, 0), 0)
    for lengths in (3, "34", {3}):
        with pytest.raises(TypeError, match="lengths must be a sequence of integers"):
            stream(Lookup(), lengths, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seed must be an integer"):
        stream(Parity(), (3,), 0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="together must be an integer of at least 1"):
        stream(Parity(), (3,), 0, together=0)
    with pytest.raises(ValueError, match="count must be an integer of at least 1"):
        held_out(Parity(), 4, 0)
    with pytest.raises(ValueError, match="seed must be an integer, got 'x'"):
        held_out(Parity(), 4, 1, seed="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="entities must be an integer of at least 2"):
        Lookup(1)
    with pytest.raises(ValueError, match="entities must be at most 17, got 18"):
        Lookup(18)
    with pytest.raises(ValueError, match="relations must be at most 9, got 10"):
        Lookup(5, 10)
    with pytest.raises(ValueError, match="table must be an integer"):
        Lookup(table=1.5)  # type: ignore[arg-type]


def test_hops_by_hand_along_tables_that_are_permutations() -> None:
    for table in range(20):
        task = Lookup(4, 2, table)
        tables = task.tables
        assert set(tables) == {"r", "s"}
        assert all(set(one) == set(one.values()) == set("abcd") for one in tables.values())
        first = tables["s"]["b"]
        second = tables["r"][first]
        wanted = (first, second, tables["r"][second])
        assert task.follow("b:srr").steps == wanted
        assert task.follow("b:srr", ["a"]).answer == tables["r"][tables["r"]["a"]]
    assert Lookup(5, 3, 0).tables == Lookup(5, 3, 0).tables != Lookup(5, 3, 1).tables
