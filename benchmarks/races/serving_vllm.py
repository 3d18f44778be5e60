"""32 requests at once: ``kb.serving.LLM`` against vLLM's CPU build, greedy, float32, no prefix cache on either side.

Random ids, 32 to 255 of them, and 64 new tokens each. The same weights, from the same file, and as many threads. vLLM
lives in an environment and a process of its own; while one side runs, the other waits.
"""

import time
from contextlib import ExitStack

import torch

from benchmarks.agreement import agree
from benchmarks.contest import Contest
from benchmarks.foreign.vllm_driver import Vllm
from benchmarks.serving import assert_idle, by_kb, by_vllm, reference_gap
from benchmarks.workloads import serving_prompts
from kb import checkpoints
from kb.lm import DecoderLM
from kb.serving import LLM

DEVICES = ("cpu",)
NEW_TOKENS = 64


def contest(device: torch.device) -> Contest:
    """Load both, and assert that they write the same tokens and that whichever waits is idle."""
    checkpoint = checkpoints.load("smollm2-135m", device=device)
    model = DecoderLM.from_checkpoint(checkpoint, device=device)
    prompts = serving_prompts(model.config.vocab_size)
    with ExitStack() as stack:
        vllm = stack.enter_context(Vllm(checkpoint.folder, enable_prefix_caching=False))
        llm = LLM(str(checkpoint.folder), dtype="float32", enable_prefix_caching=False, device=device.type)

        def run_ours() -> list[list[int]]:
            return by_kb(llm, prompts, NEW_TOKENS)

        def run_theirs() -> list[list[int]]:
            return by_vllm(vllm, prompts, NEW_TOKENS)

        found = agree(prompts, run_ours(), run_theirs(), reference_gap(model))
        assert_idle(vllm.cpu_seconds, run_ours, "vLLM")
        assert_idle(time.process_time, run_theirs, "kb.serving")
        return Contest(
            title=f"{len(prompts)} requests served at once, SmolLM2-135M, float32",
            ours="kb.serving.LLM",
            theirs="vLLM",
            unit="token",
            units=len(prompts) * NEW_TOKENS,
            agreement=found.sentence,
            run_ours=run_ours,
            run_theirs=run_theirs,
            details={"vllm": vllm.about, "ties": found.ties, "prompt_tokens": sum(map(len, prompts))},
            rounds=7,
            close=stack.pop_all().close,
        )
    raise AssertionError("not reached: a context that swallows errors")
