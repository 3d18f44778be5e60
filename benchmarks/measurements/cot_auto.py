"""What Auto-CoT costs beside the model: embedding, k-means and the walk over 1,000 questions, by embedding.

The model is a script that answers with the problem's own worked steps, so that what is timed is everything but writing.
Auto-CoT is timed as it is called, and within it the embedding.
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
    AutoCot,
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


class Timed:
    """An embedding that keeps what it gave, and how long that took."""

    def __init__(self, embedding: SentenceEmbedding) -> None:
        self._embedding = embedding
        self.name, self.seconds = embedding.name, 0.0
        self.rows = np.empty((0, 0), np.float32)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Rows, timed."""

        def work() -> None:
            self.rows = self._embedding.embed(texts)

        self.seconds = timing.seconds(work)
        return self.rows


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
            timed = Timed(embedding)
            made: list[AutoCot] = []

            def work(timed: Timed = timed, made: list[AutoCot] = made) -> None:
                made.append(auto_cot(Scripted(problems), questions, timed, extract=extract_number, config=config))

            whole = timing.seconds(work)
            clustering = timing.seconds(partial(k_means, timed.rows, CLUSTERS, seed=config.seed))
            parts = {"all": whole, "embedding": timed.seconds, "k-means": clustering}
            parts["walk"] = max(whole - timed.seconds - clustering, 0.0)
            for part, taken in parts.items():
                samples.setdefault(f"{name}: {part}", []).append(round(taken, 4))
        assert max(samples[f"{name}: all"]) <= MOST_SECONDS, f"{name} takes {samples[f'{name}: all']} s"
        rationales[name] = made[0].rationales
        assert not made[0].irregular
    return Measurement(
        title=f"Auto-CoT over {QUESTIONS} generated questions, {CLUSTERS} clusters, without a model's writing",
        method=f"{ROUNDS} rounds; embedding timed within the call, k-means again by itself; walk: the rest",
        samples={name: Samples("s", values) for name, values in samples.items()},
        facts={"rationales": rationales, "bound in seconds": MOST_SECONDS},
    )
