"""What Auto-CoT costs beside the model: embedding, k-means and the walk over 1,000 questions, by embedding.

The model is a script that answers with the problem's own worked steps, so that what is timed is everything but writing.
Auto-CoT as a whole is timed as it is called; its parts are timed again, one by one, on the same questions.
"""

import re
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

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


class Known:
    """Embeddings that are there already."""

    name = "known"

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self._rows = rows

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Those of all questions."""
        return self._rows


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
        whole = partial(auto_cot, questions=questions, extract=extract_number, config=config)
        rows = embedding.embed(questions)
        for _ in range(ROUNDS):
            parts = {
                "all": timing.seconds(partial(whole, Scripted(problems), embedding=embedding)),
                "embedding": timing.seconds(partial(embedding.embed, questions)),
                "k-means": timing.seconds(partial(k_means, rows, CLUSTERS, seed=config.seed)),
            }
            known = timing.seconds(partial(whole, Scripted(problems), embedding=Known(rows)))
            parts["walk"] = max(known - parts["k-means"], 0.0)
            for part, taken in parts.items():
                samples.setdefault(f"{name}: {part}", []).append(round(taken, 4))
        assert max(samples[f"{name}: all"]) <= MOST_SECONDS, f"{name} takes {samples[f'{name}: all']} s"
        made = whole(Scripted(problems), embedding=Known(rows))
        rationales[name] = made.rationales
        assert not made.irregular
    return Measurement(
        title=f"Auto-CoT over {QUESTIONS} generated questions, {CLUSTERS} clusters, without a model's writing",
        method=f"{ROUNDS} rounds; the walk is a call with known embeddings, less the time of k-means alone",
        samples={name: Samples("s", values) for name, values in samples.items()},
        facts={"rationales": rationales, "bound in seconds": MOST_SECONDS},
    )
