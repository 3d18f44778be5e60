"""A shared prefix of 512 tokens: ``kb.serving.LLM`` with its prefix cache against itself without, greedy, float32.

One request comes first, as a system prompt has been seen before; then fifteen others come at once. Every run has a
prefix of its own, the same for both sides, so that nothing is found that an earlier run left behind.
"""

from itertools import count

import torch

from benchmarks.agreement import agree
from benchmarks.contest import Contest
from benchmarks.serving import by_kb, reference_gap
from benchmarks.workloads import Prompt, shared_prefix_prompts
from kb import checkpoints
from kb.lm import DecoderLM
from kb.serving import LLM, SamplingParams

REQUESTS = 16
PREFIX = 512
OWN = (16, 63)
NEW_TOKENS = 16


def serve(llm: LLM, prompts: list[Prompt]) -> list[list[int]]:
    """Answer the first request, then all others at once."""
    return by_kb(llm, prompts[:1], NEW_TOKENS) + by_kb(llm, prompts[1:], NEW_TOKENS)


def cached_tokens(llm: LLM, prompts: list[Prompt]) -> int:
    """Prompt tokens that need not be computed, the first request being answered before the others."""
    params = SamplingParams(temperature=0.0, max_tokens=1, ignore_eos=True)
    served = [
        output
        for some in (prompts[:1], prompts[1:])
        for output in llm.generate([{"prompt_token_ids": prompt} for prompt in some], params, use_tqdm=False)
    ]
    return sum(output.num_cached_tokens or 0 for output in served)


def contest(device: torch.device) -> Contest:
    """Make both, and assert that they write the same tokens and that every later request finds the prefix."""
    checkpoint = checkpoints.load("smollm2-135m", device=device)
    model = DecoderLM.from_checkpoint(checkpoint, device=device)
    with_cache, without = (
        LLM("smollm2-135m", dtype="float32", enable_prefix_caching=caching, device=device.type)
        for caching in (True, False)
    )

    def prompts(seed: int) -> list[Prompt]:
        return shared_prefix_prompts(REQUESTS, PREFIX, *OWN, model.config.vocab_size, seed=2 * seed)

    ours, theirs = count(2), count(2)
    first = prompts(0)
    found = agree(first, serve(with_cache, first), serve(without, first), reference_gap(model))
    saved = cached_tokens(with_cache, prompts(1))
    assert saved == (REQUESTS - 1) * PREFIX, f"{saved} tokens were found in the cache"
    assert cached_tokens(without, prompts(1)) == 0
    total = sum(map(len, prompts(1)))
    return Contest(
        title=f"{REQUESTS} requests with {PREFIX} tokens in common, SmolLM2-135M, float32",
        ours="kb.serving.LLM, prefix cache on",
        theirs="kb.serving.LLM, prefix cache off",
        unit="token",
        units=REQUESTS * NEW_TOKENS,
        agreement=f"{found.sentence}; {saved} of {total} prompt tokens not computed",
        run_ours=lambda: serve(with_cache, prompts(next(ours))),
        run_theirs=lambda: serve(without, prompts(next(theirs))),
        details={"ties": found.ties, "prompt_tokens": total, "cached_tokens": saved},
        rounds=7,
    )
