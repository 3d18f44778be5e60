"""Decoding with a KV cache: ``kb.lm.generate`` against transformers' ``generate``, greedy, one sequence, float32.

Both keep keys and values, and both do here what they do by default; neither compiles anything.
"""

import torch

from benchmarks.contenders import smollm2
from benchmarks.contest import Contest
from kb.lm import generate

PROMPT = "Once upon a time in a faraway land, a young prince named Arin"
NEW_TOKENS = 32


def contest(device: torch.device) -> Contest:
    """Load both, and assert that they write the same tokens."""
    ours, theirs, tokenizer = smollm2(device)
    ids = torch.tensor(tokenizer.encode(PROMPT), device=device)
    options = {
        "attention_mask": torch.ones_like(ids)[None],
        "do_sample": False,
        "max_new_tokens": NEW_TOKENS,
        "min_new_tokens": NEW_TOKENS,
    }

    def run_ours() -> torch.Tensor:
        return generate(ours, ids, NEW_TOKENS, stop_ids=())

    def run_theirs() -> torch.Tensor:
        written: torch.Tensor = theirs.generate(ids[None], **options)[0]
        return written

    assert torch.equal(run_ours(), run_theirs()), "the contenders write different tokens"
    return Contest(
        title="Decode with a KV cache, SmolLM2-135M, float32, one sequence",
        ours="kb.lm.generate",
        theirs="transformers generate",
        unit="token",
        units=NEW_TOKENS,
        agreement=f"the same {NEW_TOKENS} tokens, greedy",
        run_ours=run_ours,
        run_theirs=run_theirs,
    )
