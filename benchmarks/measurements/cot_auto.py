"""What Auto-CoT costs beside the model: embedding, k-means and the walk over 1,000 questions, by embedding.

The model is a script that answers with the problem's own worked steps, so that what is timed is everything but writing.
Auto-CoT as a whole is timed as it is called; its parts are timed again, one by one, on the same questions.
"""

import re
from collections.abc import Sequence
from fractions import Fraction

import torch

from benchmarks.measurement import Measurement, Samples
from kb import timing
from kb.cot import (
    AutoCotConfig,
    Completion,
    MiniLM,
    Problem,
    Sampling,
    SentenceEmbedding,
    Tfidf,
    auto_cot,
    extract_number,
    generated_problems,
    k_means,
)

DEVICES = ("cpu",)
QUESTIONS, CLUSTERS, ROUNDS = 1000, 8, 3
MOST_SECONDS = 60.0


class Scripted:
    """A model that knows every problem's steps; every second rationale has no end, so that there is a walk."""

    name, context_length = "scripted", 4096

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.rationales = {problem.question: problem.rationale for problem in problems}
        self.answers = {problem.question: problem.answer for problem in problems}
        self.unfinished = {problem.question for problem in problems[::2]}

    def count_tokens(self, text: str) -> int:
        """Words."""
        return len(text.split())

    def chat(self, message: str, system: str | None = None) -> str:
        """The message as it is."""
        return message

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> list[list[Completion]]:
        """The rationale, or the answer where that is asked for."""
        found = []
        for prompt in prompts:
            question = re.sub(r"^Q: ", "", prompt.split("\nA:")[0])
            if "Therefore" in prompt:
                text = str(self.answers[question])
            else:
                end = " and" if question in self.unfinished else ""
                text = self.rationales[question] + end
            found.append([Completion(f" {text}", len(text.split()), "stop")])
        return found


def read(text: str) -> Fraction | None:
    """The number that a reply gives."""
    number = extract_number(text)
    return None if number is None else Fraction(number)


def measure(device: torch.device) -> Measurement:
    """Assert that all of it stays within a minute."""
    problems = generated_problems(QUESTIONS)
    questions = [problem.question for problem in problems]
    config = AutoCotConfig(clusters=CLUSTERS)
    samples: dict[str, list[float]] = {}
    rationales = {}
    embeddings: tuple[SentenceEmbedding, ...] = (MiniLM(), Tfidf(questions))
    for embedding, name in zip(embeddings, ("MiniLM", "TF-IDF"), strict=True):
        embedding.embed(questions[:2])  # weights are read once
        for _ in range(ROUNDS):
            model = Scripted(problems)
            parts = {
                "all": timing.seconds(
                    lambda model=model, embedding=embedding: auto_cot(  # type: ignore[misc]
                        model, questions, embedding, extract=read, config=config
                    )
                ),
                "embedding": timing.seconds(lambda embedding=embedding: embedding.embed(questions)),  # type: ignore[misc]
            }
            rows = embedding.embed(questions)
            parts["k-means"] = timing.seconds(lambda rows=rows: k_means(rows, CLUSTERS, seed=0))  # type: ignore[misc]
            parts["walk"] = timing.seconds(
                lambda model=model, rows=rows: auto_cot(  # type: ignore[misc]
                    model, questions, _Known(rows), extract=read, config=config
                )
            )
            parts["walk"] = max(parts["walk"] - parts["k-means"], 0.0)
            for part, taken in parts.items():
                samples.setdefault(f"{name}: {part}", []).append(round(taken, 4))
        assert max(samples[f"{name}: all"]) <= MOST_SECONDS, f"{name} takes {samples[f'{name}: all']} s"
        made = auto_cot(Scripted(problems), questions, embedding, extract=read, config=config)
        rationales[name] = made.rationales
        assert not made.irregular
    return Measurement(
        title=f"Auto-CoT over {QUESTIONS} generated questions, {CLUSTERS} clusters, without a model's writing",
        method=f"{ROUNDS} rounds; the walk is a call with known embeddings, less the time of k-means alone",
        samples={name: Samples("s", values) for name, values in samples.items()},
        facts={"rationales": rationales, "bound in seconds": MOST_SECONDS},
    )


class _Known:
    """Embeddings that are there already."""

    name = "known"

    def __init__(self, rows: object) -> None:
        self._rows = rows

    def embed(self, texts: Sequence[str]) -> object:
        return self._rows
