"""What the scripts about serving share: one way to ask each contender, and a reference that settles float ties.

Every request is greedy and writes a fixed number of tokens, so that all contenders do the same work.

Shapes: B requests, T tokens of the longest prompt.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.agreement import Gap, Tokens
from benchmarks.foreign.vllm_driver import Vllm
from kb.lm import DecoderLM
from kb.serving import LLM, SamplingParams

IDLE_SHARE = 0.02  # of one core


def by_kb(llm: LLM, prompts: Sequence[Tokens], new_tokens: int) -> list[list[int]]:
    """The tokens that ``kb.serving`` writes after each prompt."""
    params = SamplingParams(temperature=0.0, max_tokens=new_tokens, ignore_eos=True, detokenize=False)
    requests = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
    return [list(output.outputs[0].token_ids) for output in llm.generate(requests, params, use_tqdm=False)]


def by_vllm(vllm: Vllm, prompts: Sequence[Tokens], new_tokens: int) -> list[list[int]]:
    """The tokens that vLLM writes after each prompt."""
    ids = [list(prompt) for prompt in prompts]
    return vllm.generate(ids, temperature=0.0, max_tokens=new_tokens, ignore_eos=True, detokenize=False)


@torch.inference_mode()
def by_transformers(model: Any, prompts: Sequence[Tokens], new_tokens: int) -> list[list[int]]:
    """The tokens that transformers' ``generate`` writes after each prompt, all in one batch, padded on the left."""
    T = max(map(len, prompts))
    ids_BT = torch.zeros(len(prompts), T, dtype=torch.long, device=model.device)
    mask_BT = torch.zeros_like(ids_BT)
    for row, prompt in enumerate(prompts):
        ids_BT[row, T - len(prompt) :] = torch.tensor(prompt)
        mask_BT[row, T - len(prompt) :] = 1
    # No token ends a row: min_new_tokens would forbid the end of sequence instead, and so change the tokens.
    never = model.config.vocab_size
    options = {"do_sample": False, "max_new_tokens": new_tokens, "eos_token_id": never, "pad_token_id": 0}
    written: list[list[int]] = model.generate(ids_BT, attention_mask=mask_BT, **options)[:, T:].tolist()
    return written


def reference_gap(model: DecoderLM) -> Gap:
    """The distance of the two best logits after some ids, by a plain forward pass of ``kb.lm``."""

    @torch.inference_mode()
    def gap(ids: Tokens) -> float:
        ids_BT = torch.tensor([list(ids)], device=model.embed_tokens.weight.device)
        best, second = model(ids_BT, last_only=True)[0, -1].topk(2).values
        return float(best - second)

    return gap


def assert_idle(cpu_seconds: Callable[[], float], run: Callable[[], object], name: str) -> None:
    """Run one side, and assert that the other, whose processor time is given, leaves the cores alone meanwhile."""
    before, start = cpu_seconds(), time.perf_counter()
    run()
    wall = time.perf_counter() - start
    used = cpu_seconds() - before
    assert used <= IDLE_SHARE * wall, f"{name} used {used:.2f} s of processor time of the other side's {wall:.2f} s"
