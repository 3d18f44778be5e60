"""What planning a step costs with 256 running requests: ``kb.serving`` on SmolLM2-135M, every request one token a step.

The engine tells the seconds of each step and, of these, those in which nothing was computed: who runs, which blocks it
gets, what is freed.
"""

import torch

from benchmarks.measurement import Measurement, Samples
from benchmarks.serving import by_kb
from benchmarks.workloads import random_prompts
from kb.serving import LLM

RUNNING = 256
PROMPT_TOKENS = 32
NEW_TOKENS = 32
LARGEST_MS = 2.0


def measure(device: torch.device) -> Measurement:
    """Serve 256 requests, and assert that the median step is planned within 2 ms."""
    llm = LLM("smollm2-135m", dtype="float32", enable_prefix_caching=False, max_num_seqs=RUNNING, device=device.type)
    core = llm.llm_engine.core
    steps: list[tuple[float, float]] = []

    def watch(plan: object, step: object) -> None:
        statistics = core.statistics
        assert statistics is not None
        if statistics.decode_tokens == RUNNING:
            steps.append((1e3 * statistics.scheduling_seconds, 1e3 * statistics.seconds))

    core.observers.append(watch)
    prompts = random_prompts(RUNNING, PROMPT_TOKENS, PROMPT_TOKENS, llm.llm_engine.model.config.vocab_size, seed=0)
    by_kb(llm, prompts, NEW_TOKENS)
    planning, whole = zip(*steps, strict=True)
    assert sorted(planning)[len(planning) // 2] <= LARGEST_MS, f"planning a step takes {planning} ms"
    return Measurement(
        title=f"Planning a step with {RUNNING} running requests, SmolLM2-135M, float32",
        method=f"{len(steps)} steps in which each of {RUNNING} requests had one token computed",
        samples={"planning": Samples("ms", planning), "whole step": Samples("ms", whole)},
        ratios={"planning / whole step": ("planning", "whole step")},
    )
