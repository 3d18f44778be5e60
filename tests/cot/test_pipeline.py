"""From questions to a vote on the engine: the same seed gives the same of everything, another seed another sample."""

from typing import Any

import pytest

from kb.cot import (
    AutoCotConfig,
    EngineModel,
    Sampling,
    Tfidf,
    auto_cot,
    few_shot_cot,
    generated_problems,
    self_consistency,
)
from tests.cot.tiny_llama import save_llama

SHORT = 14  # tokens; the model has bytes for tokens and room for 160


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> EngineModel:
    return EngineModel(save_llama(tmp_path_factory.mktemp("llama")), num_gpu_blocks_override=200, device="cpu")


def length(text: str) -> int | None:
    """An answer that any text has: the model writes noise."""
    return len(text) % 5 if text else None


def pipeline(model: EngineModel, seed: int) -> dict[str, Any]:
    """Questions in clusters, a demonstration of each, ten samples behind one of them, a vote."""
    kinds = sorted({problem.kind for problem in generated_problems(60) if problem.kind})[:2]
    questions = [f"{problem.kind} {problem.answer}" for problem in generated_problems(60) if problem.kind in kinds]
    config = AutoCotConfig(
        clusters=2,
        seed=seed,
        max_tokens=SHORT,
        answer_tokens=4,
        temperature=1.0,
        trigger="So:",
        answer_trigger="A",
        stop=(),
    )
    made = auto_cot(model, questions, Tfidf(questions), extract=length, config=config)
    prompt = few_shot_cot("2 + 2?", made.demonstrations[:1]).text[-100:]
    sampling = Sampling(SHORT, 1.0, n=10, seed=seed)
    voted = self_consistency(model, prompt, sampling, extract=length)
    return {
        "labels": made.clustering.labels_N.tolist(),
        "demonstrations": made.demonstrations,
        "texts": [one.text for one in voted.completions],
        "vote": voted.vote,
    }


def test_a_seed_decides_all_of_it(model: EngineModel) -> None:
    first = pipeline(model, 1)
    assert first == pipeline(model, 1)
    assert len(first["demonstrations"]) == 2
    assert first["vote"].total == 10
    assert first["texts"] != pipeline(model, 2)["texts"]
