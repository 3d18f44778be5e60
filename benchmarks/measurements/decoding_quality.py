"""Ways to decode, side by side: how much a text repeats, how likely it is, how unlike each other two samples are.

SmolLM2 continues passages of tiny-shakespeare as plain text, every strategy from the same prompts; the passages' own
continuations are measured as one more strategy. Strategies that draw do so twice a prompt. Ends are forbidden,
so that all texts have one length, but for contrastive search, which takes no processors: how often it wrote an end is
among the facts.
"""

import sys
import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.measurement import Measurement, Samples
from kb import checkpoints, datasets
from kb.lm import DecoderLM
from kb.lm.decoding import (
    BeamConfig,
    ContrastiveConfig,
    MinNewTokens,
    MinP,
    NoRepeatNGram,
    Processor,
    Processors,
    RepetitionPenalty,
    Temperature,
    TopK,
    TopP,
    Typical,
    beam_search,
    contrastive_search,
    decode,
    mean_log_likelihood,
    overlap,
    repetition,
)

PASSAGES, PROMPT, NEW, DRAWS = 16, 32, 96, 2
HUMAN, CONTRASTIVE = "human text", "contrastive search, k 4, alpha 0.6"
BEAMS: Mapping[str, int] = {f"beam search, {width} beams": width for width in (2, 4)}
CONTRAST = ContrastiveConfig(NEW, top_k=4, penalty_alpha=0.6)
GREEDY: Mapping[str, tuple[Processor, ...]] = {
    "greedy": (),
    "greedy, repetition penalty 1.2": (RepetitionPenalty(1.2),),
    "greedy, no 3-gram twice": (NoRepeatNGram(3),),
}
SAMPLED: Mapping[str, tuple[Processor, ...]] = {
    "sampling, T 1": (),
    "T 0.7": (Temperature(0.7),),
    "top-k 50": (TopK(50),),
    "top-p 0.9": (TopP(0.9),),
    "min-p 0.1": (MinP(0.1),),
    "typical 0.9": (Typical(0.9),),
    "T 1.5": (Temperature(1.5),),
    "T 1.5, top-p 0.9": (Temperature(1.5), TopP(0.9)),
    "T 1.5, min-p 0.1": (Temperature(1.5), MinP(0.1)),
}


def passages(tokenizer: checkpoints.Tokenizer) -> Tensor:
    """Beginnings of speeches from all over the plays, int64 [PASSAGES, PROMPT + NEW]."""
    speeches = datasets.read("tiny-shakespeare", "input.txt").decode().split("\n\n")
    starts = np.linspace(0, len(speeches) - 40, PASSAGES).astype(int)
    texts = ["\n\n".join(speeches[start : start + 40]) for start in starts]
    return torch.tensor([tokenizer.encode(text, add_special_tokens=False)[: PROMPT + NEW] for text in texts])


def likelihoods(model: DecoderLM, texts: Tensor) -> list[float]:
    """Mean ln p of the tokens behind the prompts; in parts, as the logits of all texts would fill the memory."""
    found = [mean_log_likelihood(model, part, prompt_length=PROMPT) for part in texts.split(8)]
    return [float(value) for part in found for value in part]


def searched(model: DecoderLM, prompts: Tensor, width: int, ends: Processor) -> Tensor:
    """The best text of a beam search for every prompt."""
    config = BeamConfig(width, NEW)
    return beam_search(model, prompts, config, processors=Processors([ends]), stop_ids=()).sequences


def written(model: DecoderLM, prompts: Tensor) -> dict[str, Tensor]:
    """The texts of every strategy, draws of one prompt one after another."""
    ends = MinNewTokens(PROMPT, NEW, tuple(model.config.eos_ids))
    noise = torch.Generator(prompts.device).manual_seed(0)
    repeated = prompts.repeat_interleave(DRAWS, dim=0)
    ways: dict[str, Callable[[], Tensor]] = {
        name: partial(decode, model, prompts, NEW, processors=(ends, *edits), stop_ids=())
        for name, edits in GREEDY.items()
    }
    for name, width in BEAMS.items():
        ways[name] = partial(searched, model, prompts, width, ends)
    ways[CONTRASTIVE] = partial(contrastive_search, model, prompts, CONTRAST, stop_ids=())
    for name, edits in SAMPLED.items():
        ways[name] = partial(decode, model, repeated, NEW, processors=(ends, *edits), generator=noise, stop_ids=())
    found = {}
    for name, way in ways.items():
        start = time.perf_counter()
        found[name] = way()
        print(f"{name}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    return found


def measured(model: DecoderLM, name: str, texts: Tensor) -> dict[str, list[float]]:
    """One value a prompt of each measure; draws of one prompt are averaged."""
    new = [text[PROMPT:].tolist() for text in texts]
    draws = len(texts) // PASSAGES
    values = {
        "4-grams repeated": [repetition(text, 4) for text in new],
        "mean ln p": likelihoods(model, texts),
    }
    means = {key: np.reshape(of, (PASSAGES, draws)).mean(axis=1).tolist() for key, of in values.items()}
    if draws > 1:
        groups = [new[start : start + draws] for start in range(0, len(new), draws)]
        means["overlap of draws"] = [overlap(group, 2) for group in groups]
    return {f"{name}: {key}": of for key, of in means.items()}


def resampled(values: list[float]) -> np.ndarray:
    """Means over prompts that are drawn with replacement."""
    return np.random.default_rng(0).choice(values, (4000, len(values))).mean(axis=1)


def bootstrap(values: list[float]) -> dict[str, object]:
    """Mean and 95 % interval of the mean over resampled prompts."""
    low, high = np.quantile(resampled(values), (0.025, 0.975))
    return {"mean": round(float(np.mean(values)), 4), "95 % interval": [round(float(low), 4), round(float(high), 4)]}


def lowest(values: list[float]) -> float:
    """The lower end of that interval."""
    return float(np.quantile(resampled(values), 0.025))


def measure(device: torch.device) -> Measurement:
    """Assert that greedy text repeats itself more and is likelier than what people wrote."""
    checkpoint = checkpoints.load("smollm2-135m", device=device)
    model = DecoderLM.from_checkpoint(checkpoint).eval()
    human = passages(checkpoint.tokenizer).to(device)
    texts = {HUMAN: human} | written(model, human[:, :PROMPT])
    values: dict[str, list[float]] = {}
    for name, of in texts.items():
        values |= measured(model, name, of)
    for key in ("4-grams repeated", "mean ln p"):
        apart = np.subtract(values[f"greedy: {key}"], values[f"{HUMAN}: {key}"]).tolist()
        assert lowest(apart) > 0, f"greedy and human text do not differ in {key}: {bootstrap(apart)}"
    ends = torch.tensor(model.config.eos_ids, device=device)
    return Measurement(
        title=f"Ways to decode, SmolLM2-135M-Instruct, dequantised from Q4_1, {PASSAGES} passages of tiny-shakespeare",
        method=f"{PROMPT} prompt tokens, {NEW} new ones, float32, plain text without a chat template; {DRAWS} draws a "
        "prompt where there is chance; values by prompt, intervals by bootstrap over prompts",
        samples={
            key: Samples("nats" if "ln p" in key else "share", [round(value, 4) for value in of])
            for key, of in values.items()
        },
        facts={
            "passages": PASSAGES,
            "prompt tokens": PROMPT,
            "new tokens": NEW,
            "draws": DRAWS,
            "strategies": list(texts),
            "intervals": {key: bootstrap(of) for key, of in values.items()},
            "texts of contrastive search with an end": int(
                torch.isin(texts[CONTRASTIVE][:, PROMPT:], ends).any(dim=1).sum()
            ),
        },
    )
