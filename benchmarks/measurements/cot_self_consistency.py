"""Ten samples of one chain-of-thought prompt on ``kb.serving``, against ten prompts that share nothing, and ten copies.

All sides compute the same number of tokens of prompts of one length and write as many new ones; they differ in what
the engine may share. The prompt has the eight examples of Wei et al.; the ten others are made of GSM8K's problems and
solutions, cut to its length, each of other items. The prefix cache is emptied before every run, so that nothing is
found that an earlier one left. The clock is also read when every sample has its first tokens, so that one run tells of
several numbers of new tokens.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.measurement import Measurement, Samples
from kb.cot import few_shot_cot, gsm8k, wei_demonstrations
from kb.serving import LLM, RequestOutput, SamplingParams

DEVICES = ("cpu",)
N, ROUNDS, BLOCK = 10, 7, 16
NEW_TOKENS, LARGEST_RATIO = 64, 0.5
OTHER_LENGTHS, OTHER_ROUNDS = (64, 256), 3
AFTER = (1, 4, 16, 64)  # new tokens of every sample, after which the clock is read

Run = Callable[[], list[RequestOutput]]


def chain_prompt(llm: LLM) -> list[int]:
    """The eight examples and a question."""
    question = gsm8k()[0].question
    return list(llm.get_tokenizer().encode(few_shot_cot(question, wei_demonstrations()).text))


def other_prompts(llm: LLM, length: int, seed: int) -> list[list[int]]:
    """Ten prompts of ``length`` tokens, each of problems and solutions that the others do not have."""
    problems = list(gsm8k())
    random.Random(seed).shuffle(problems)
    tokens: list[int] = []
    for one in problems:
        tokens += llm.get_tokenizer().encode(f"Q: {one.question}\nA: {one.rationale}\n\n")
    assert len(tokens) >= N * length, f"{len(tokens)} tokens, wanted {N * length}"
    return [tokens[place * length : (place + 1) * length] for place in range(N)]


def sampled(llm: LLM, prompts: list[list[int]], n: int) -> list[RequestOutput]:
    """``n`` samples of each prompt with seeds 0, 1, 2, ... in their order, nothing being cached before."""
    llm.reset_prefix_cache()
    params = [
        SamplingParams(n=n, temperature=0.7, seed=place, max_tokens=NEW_TOKENS, ignore_eos=True)
        for place in range(len(prompts))
    ]
    return llm.generate([{"prompt_token_ids": one} for one in prompts], params, use_tqdm=False)


@dataclass(frozen=True)
class Watched:
    """A run: new tokens of each sample, seconds until all had so many, blocks held at most, prompt tokens computed."""

    samples: list[tuple[int, ...]]
    seconds: dict[int, float]
    blocks: int
    computed: int


def watched(llm: LLM, run: Run) -> Watched:
    """Run once, and look at every step."""
    steps: list[tuple[float, int, int]] = []

    def watch(plan: object, step: object) -> None:
        statistics = llm.llm_engine.core.statistics
        assert statistics is not None
        steps.append((time.perf_counter(), statistics.prefill_tokens, statistics.used_blocks))

    llm.llm_engine.core.observers.append(watch)
    start = time.perf_counter()
    outputs = run()
    end = time.perf_counter()
    llm.llm_engine.core.observers.remove(watch)
    # The last sample gets its first token in the last step that computes a prompt, and one in each step after it.
    first = max(place for place, (_, prefill, _) in enumerate(steps) if prefill)
    seconds = {after: steps[first + after - 1][0] - start for after in AFTER if after < NEW_TOKENS}
    return Watched(
        [tuple(sample.token_ids) for output in outputs for sample in output.outputs],
        seconds | {NEW_TOKENS: end - start},
        max(used for *_, used in steps),
        sum(prefill for _, prefill, _ in steps),
    )


def in_turn(runs: dict[str, tuple[LLM, Run]], rounds: int) -> dict[str, list[dict[int, float]]]:
    """Seconds of each run by new tokens, the runs taking turns."""
    seconds: dict[str, list[dict[int, float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (llm, run) in runs.items():
            seconds[name].append(watched(llm, run).seconds)
    return seconds


def by_size(found: dict[int, dict[str, list[dict[int, float]]]]) -> dict[str, list[float]]:
    """The seconds of both sides, by their name, the prompt's length and the new tokens."""
    return {
        f"{name}, {length} in, {after} out": [one_round[after] for one_round in of]
        for length, runs in found.items()
        for name, of in runs.items()
        for after in AFTER
    }


def at_length(llm: LLM, prompt: list[int], rounds: int, seed: int) -> dict[str, list[dict[int, float]]]:
    """Ten samples of a prompt and ten prompts of its length, in turn."""
    others = other_prompts(llm, len(prompt), seed)
    one: tuple[LLM, Run] = llm, lambda: sampled(llm, [prompt], N)
    ten: tuple[LLM, Run] = llm, lambda: sampled(llm, others, 1)
    return in_turn({"n = 10": one, "ten prompts": ten}, rounds)


def measure(device: torch.device) -> Measurement:
    """Assert that ten samples of one prompt take at most half the time of ten prompts of its length."""
    options = {"dtype": "float32", "device": device.type, "block_size": BLOCK, "num_gpu_blocks_override": 900}
    llm = LLM("smollm2-135m", **options)
    without = LLM("smollm2-135m", **options, enable_prefix_caching=False)
    prompt = chain_prompt(llm)
    one: tuple[LLM, Run] = llm, lambda: sampled(llm, [prompt], N)
    others: tuple[LLM, Run] = llm, lambda: sampled(llm, other_prompts(llm, len(prompt), seed=0), 1)
    copies: tuple[LLM, Run] = without, lambda: sampled(without, [prompt] * N, 1)
    counted = {"n = 10": watched(*one), "ten prompts": watched(*others), "ten copies": watched(*copies)}
    same = sum(a == b for a, b in zip(counted["n = 10"].samples, counted["ten copies"].samples, strict=True))
    assert same >= N - 1, f"only {same} of {N} samples are those of the copies"  # a near tie may round either way
    found = {len(prompt): at_length(llm, prompt, ROUNDS, seed=0)}
    against_copies = in_turn({"n = 10 again": one, "ten copies": copies}, OTHER_ROUNDS)
    found |= {length: at_length(llm, prompt[-length:], OTHER_ROUNDS, seed=1) for length in OTHER_LENGTHS}
    samples = by_size(found)
    samples |= {name: [one_round[NEW_TOKENS] for one_round in of] for name, of in against_copies.items()}
    ratios = {
        f"{length} in, {after} out": (f"n = 10, {length} in, {after} out", f"ten prompts, {length} in, {after} out")
        for length in found
        for after in AFTER
    }
    above, below = (samples[name] for name in ratios[f"{len(prompt)} in, {NEW_TOKENS} out"])
    paired = sorted(a / b for a, b in zip(above, below, strict=True))
    assert paired[ROUNDS // 2] <= LARGEST_RATIO, f"n = 10 takes {paired} of the time of ten prompts"
    return Measurement(
        title=f"{N} samples of one chain-of-thought prompt of {len(prompt)} tokens, SmolLM2-135M, float32",
        method=f"{ROUNDS} rounds in turn after one that is not counted, {OTHER_ROUNDS} for the copies and for other "
        f"lengths; {NEW_TOKENS} new tokens a sample; the prefix cache is emptied before every run",
        samples={name: Samples("s", values) for name, values in samples.items()},
        ratios=ratios | {"ten copies": ("n = 10 again", "ten copies")},
        facts={
            "prompt tokens": len(prompt),
            "new tokens": NEW_TOKENS,
            "block size": BLOCK,
            "threads": torch.get_num_threads(),
            "samples equal to those of the copies": same,
            "most blocks held": {name: one_run.blocks for name, one_run in counted.items()},
            "prompt tokens computed": {name: one_run.computed for name, one_run in counted.items()},
            "lengths": sorted(found),
            "after": list(AFTER),
        },
    )
