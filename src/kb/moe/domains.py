"""Four small corpora, each of one kind of text: arithmetic with reasoning, Python, questions and answers, a play.

Each is 150,000 bytes of training text and some documents held out, out of pinned packages: the same on every machine.
Unusual: what is held out are whole documents (every tenth problem, file, question or piece of the play; all problems
that one template gave stay together), so that nothing is predicted that was seen in part.

- "math": word problems of :mod:`kb.moe.word_problems`, six to a template where the template can be filled anew.
- "code": the Python of lm-eval outside its tasks.
- "qa": multiple-choice questions of MMLU with a reasoned answer, from the prompts in lm-eval, without mathematics.
- "plays": the beginning of tiny-shakespeare.

Shapes: N bytes of a text.
"""

# Names of fields end in their shapes.
# ruff: noqa: N815

import json
from dataclasses import dataclass
from zipfile import ZipFile

import torch
from torch import Tensor

from kb import datasets
from kb.arguments import require_count
from kb.moe.word_problems import problems
from kb.training import encode_bytes

NAMES = ("math", "code", "qa", "plays")
TRAINING_BYTES = 150_000
_HELD_OUT_BYTES = 20_000
_SEPARATOR = "\n\n"
_COPIES = 6
_MATHEMATICS = ("abstract_algebra", "college_mathematics", "elementary_mathematics", "high_school_mathematics")


@dataclass(frozen=True)
class Domain:
    """One kind of text as bytes.

    Args:
        train_N: int64, 150,000 bytes to train on.
        held_out_N: int64, documents of which none is in the other part.
    """

    train_N: Tensor
    held_out_N: Tensor


def domains(training_bytes: int = TRAINING_BYTES) -> dict[str, Domain]:
    """All four, by the names in :data:`NAMES`.

    Args:
        training_bytes: Bytes of each to train on; what is held out stays the same.

    Raises:
        ValueError: there are not as many in each of them.
    """
    require_count("training_bytes", training_bytes)
    documents = {"math": _math(), "code": _code(), "qa": _questions(), "plays": _plays()}
    return {name: _split(name, documents[name], training_bytes) for name in NAMES}


def mixed(parts: dict[str, Domain]) -> Tensor:
    """The training texts one after the other, [N]: windows that begin anywhere hold as much of each."""
    return torch.cat([part.train_N for part in parts.values()])


def _split(name: str, documents: list[list[str]], training_bytes: int) -> Domain:
    train, held_out, length = [], [], 0
    for number, document in enumerate(documents):
        if number % 10 != 9:
            train += document
        elif length < _HELD_OUT_BYTES:
            held_out += document
            length += sum(len(part.encode()) for part in document)
    train_N = encode_bytes(_SEPARATOR.join(train))
    if len(train_N) < training_bytes:
        raise ValueError(f"training_bytes {training_bytes} is more than the {len(train_N)} bytes of {name}")
    return Domain(train_N[:training_bytes].clone(), encode_bytes(_SEPARATOR.join(held_out)))


def _math() -> list[list[str]]:
    return problems(_COPIES, seed=0)


def _code() -> list[list[str]]:
    def wanted(name: str) -> bool:
        return name.endswith(".py") and name.startswith("lm_eval/") and not name.startswith("lm_eval/tasks/")

    with ZipFile(datasets.fetch("lm-eval")) as wheel:  # opened once: it lists 15,586 files
        sources = [wheel.read(name).decode("utf-8") for name in sorted(wheel.namelist()) if wanted(name)]
    # Long files last, as they would fill the corpus by themselves.
    return [[source] for source in sorted(sources, key=len) if source.strip()]


def _questions() -> list[list[str]]:
    prompts = json.loads(datasets.read("lm-eval", "lm_eval/tasks/mmlu/flan_cot_fewshot/_cot_prompts.json"))
    return [
        ["Q: " + question.strip()]
        for subject, prompt in sorted(prompts.items())
        if subject not in _MATHEMATICS
        for question in prompt.split("\n\nQ: ")[1:]
    ]


def _plays() -> list[list[str]]:
    speeches = datasets.read("tiny-shakespeare", "input.txt").decode().split("\n\n")
    # Forty speeches are about a scene.
    return [["\n\n".join(speeches[start : start + 40])] for start in range(0, len(speeches), 40)]
