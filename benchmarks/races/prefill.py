"""Prefill of 512 tokens into an empty KV cache: ``kb.lm.DecoderLM`` against transformers' Llama, float32."""

import torch

from benchmarks.contenders import smollm2
from benchmarks.contest import Contest
from kb.lm import KVCache

PROMPT_TOKENS = 512
TOLERANCE = 1e-5  # of the largest logit: float32 sums in another order


def contest(device: torch.device) -> Contest:
    """Load both, and assert that the logits after the last token agree."""
    ours, theirs, _ = smollm2(device)
    noise = torch.Generator().manual_seed(0)
    ids = torch.randint(ours.config.vocab_size, (1, PROMPT_TOKENS), generator=noise).to(device)

    @torch.inference_mode()
    def run_ours() -> torch.Tensor:
        cache = KVCache(ours.config, capacity=PROMPT_TOKENS, device=device)
        logits: torch.Tensor = ours(ids, cache=cache, last_only=True)
        return logits[0, -1]

    @torch.inference_mode()
    def run_theirs() -> torch.Tensor:
        logits: torch.Tensor = theirs(ids, use_cache=True, logits_to_keep=1).logits
        return logits[0, -1]

    a, b = run_ours(), run_theirs()
    assert (a - b).abs().max() <= TOLERANCE * b.abs().max(), "the contenders give different logits"
    return Contest(
        title="Prefill of 512 tokens, SmolLM2-135M, float32",
        ours="kb.lm.DecoderLM",
        theirs="transformers LlamaForCausalLM",
        unit="token",
        units=PROMPT_TOKENS,
        agreement=f"logits within {TOLERANCE:g} of their largest magnitude",
        run_ours=run_ours,
        run_theirs=run_theirs,
    )
