"""32 requests at once: ``kb.serving.LLM`` against transformers' ``generate`` on one batch, padded on the left; greedy.

The requests of the race against vLLM: random ids, 32 to 255 of them, and 64 new tokens each; float32, no prefix cache.
"""

import torch

from benchmarks.agreement import agree
from benchmarks.contenders import smollm2
from benchmarks.contest import Contest
from benchmarks.serving import by_kb, by_transformers, reference_gap
from benchmarks.workloads import serving_prompts
from kb.serving import LLM

NEW_TOKENS = 64


def contest(device: torch.device) -> Contest:
    """Load both, and assert that they write the same tokens."""
    model, theirs, _ = smollm2(device)
    llm = LLM("smollm2-135m", dtype="float32", enable_prefix_caching=False, device=device.type)
    prompts = serving_prompts(model.config.vocab_size)

    def run_ours() -> list[list[int]]:
        return by_kb(llm, prompts, NEW_TOKENS)

    def run_theirs() -> list[list[int]]:
        return by_transformers(theirs, prompts, NEW_TOKENS)

    found = agree(prompts, run_ours(), run_theirs(), reference_gap(model))
    return Contest(
        title=f"{len(prompts)} requests served at once, SmolLM2-135M, float32",
        ours="kb.serving.LLM",
        theirs="transformers generate, one padded batch",
        unit="token",
        units=len(prompts) * NEW_TOKENS,
        agreement=found.sentence,
        run_ours=run_ours,
        run_theirs=run_theirs,
        details={"ties": found.ties, "prompt_tokens": sum(map(len, prompts))},
        rounds=5,
    )
