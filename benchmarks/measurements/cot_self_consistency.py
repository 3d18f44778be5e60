"""Ten samples of one chain-of-thought prompt on ``kb.serving``, against ten prompts that share nothing, and ten copies.

All sides compute the same number of tokens of prompts of one length and write as many new ones; they differ in what
the engine may share. The prompt has the eight examples of Wei et al.; the ten others are made of GSM8K's problems and
solutions, cut to its length, each of other items. The prefix cache is emptied before every run, so that nothing is
found that an earlier one left.
"""

import random
from collections.abc import Callable

import torch

from benchmarks.measurement import Measurement, Samples
from kb import timing
from kb.cot import few_shot_cot, gsm8k, wei_demonstrations
from kb.serving import LLM, RequestOutput, SamplingParams

DEVICES = ("cpu",)
N, ROUNDS, BLOCK = 10, 7, 16
NEW_TOKENS, LARGEST_RATIO = 64, 0.5
OTHER_LENGTHS, OTHER_NEW_TOKENS, OTHER_ROUNDS = (64, 256, 512), (16, 64, 160), 3

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


def sampled(llm: LLM, prompts: list[list[int]], new_tokens: int, n: int) -> list[RequestOutput]:
    """``n`` samples of each prompt with seeds 0, 1, 2, ... in their order, nothing being cached before."""
    llm.reset_prefix_cache()
    params = [
        SamplingParams(n=n, temperature=0.7, seed=place, max_tokens=new_tokens, ignore_eos=True)
        for place in range(len(prompts))
    ]
    return llm.generate([{"prompt_token_ids": one} for one in prompts], params, use_tqdm=False)


def texts(outputs: list[RequestOutput]) -> list[tuple[int, ...]]:
    """The new tokens of all samples, in the order of their seeds."""
    return [tuple(sample.token_ids) for output in outputs for sample in output.outputs]


def counted(llm: LLM, run: Run) -> dict[str, int]:
    """Blocks held at most and prompt tokens computed while a run goes on."""
    used, prefill = [0], [0]

    def watch(plan: object, step: object) -> None:
        statistics = llm.llm_engine.core.statistics
        assert statistics is not None
        used.append(statistics.used_blocks)
        prefill.append(statistics.prefill_tokens)

    llm.llm_engine.core.observers.append(watch)
    run()
    llm.llm_engine.core.observers.remove(watch)
    return {"most blocks held": max(used), "prompt tokens computed": sum(prefill)}


def timed(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Seconds of each run, taking turns, after one round that is not counted."""
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            seconds[name].append(timing.seconds(run))
    return seconds


def measure(device: torch.device) -> Measurement:
    """Assert that ten samples of one prompt take at most half the time of ten prompts of its length."""
    options = {"dtype": "float32", "device": device.type, "block_size": BLOCK, "num_gpu_blocks_override": 900}
    llm = LLM("smollm2-135m", **options)
    without = LLM("smollm2-135m", **options, enable_prefix_caching=False)
    prompt = chain_prompt(llm)
    others = other_prompts(llm, len(prompt), seed=0)
    runs: dict[str, Run] = {
        "n = 10": lambda: sampled(llm, [prompt], NEW_TOKENS, N),
        "ten prompts": lambda: sampled(llm, others, NEW_TOKENS, 1),
        "ten copies, no prefix cache": lambda: sampled(without, [prompt] * N, NEW_TOKENS, 1),
    }
    same = sum(a == b for a, b in zip(*(texts(runs[name]()) for name in list(runs)[::2]), strict=True))
    assert same >= N - 1, f"only {same} of {N} samples are those of the copies"  # a near tie may round either way
    blocks = {name: counted(without if "copies" in name else llm, run) for name, run in runs.items()}
    seconds = timed(runs, ROUNDS)
    ratios = {f"n = 10 / {name}": ("n = 10", name) for name in list(runs)[1:]}
    paired = sorted(a / b for a, b in zip(seconds["n = 10"], seconds["ten prompts"], strict=True))
    assert paired[ROUNDS // 2] <= LARGEST_RATIO, f"n = 10 takes {paired} of the time of ten prompts"
    for length in OTHER_LENGTHS:
        shorter, apart = prompt[-length:], other_prompts(llm, length, seed=1)
        for new in OTHER_NEW_TOKENS:
            one, ten = (f"{what}, {length} in, {new} out" for what in ("n = 10", "ten prompts"))
            seconds |= timed(
                {
                    one: lambda shorter=shorter, new=new: sampled(llm, [shorter], new, N),  # type: ignore[misc]
                    ten: lambda apart=apart, new=new: sampled(llm, apart, new, 1),  # type: ignore[misc]
                },
                OTHER_ROUNDS,
            )
            ratios[f"{length} in, {new} out"] = (one, ten)
    return Measurement(
        title=f"{N} samples of one chain-of-thought prompt of {len(prompt)} tokens, SmolLM2-135M, float32",
        method=f"{ROUNDS} rounds in turn after one that is not counted, {NEW_TOKENS} new tokens a sample, "
        f"{OTHER_ROUNDS} rounds for other lengths; the prefix cache is emptied before every run",
        samples={name: Samples("s", values) for name, values in seconds.items()},
        ratios=ratios,
        facts={
            "prompt tokens": len(prompt),
            "new tokens": NEW_TOKENS,
            "block size": BLOCK,
            "threads": torch.get_num_threads(),
            "samples equal to those of the copies": same,
            "counted": blocks,
            "other lengths": list(OTHER_LENGTHS),
            "other new tokens": list(OTHER_NEW_TOKENS),
        },
    )
