"""SimCSE on one layer of a language model: dropout as the paper's table has it, then pairs, then hard negatives.

Layers 1 to 5 of SmolLM2-135M-Instruct, dequantised from Q4_1, are frozen, the sixth is trained on sentences of
Wikipedia and judged by people's likeness of Lee's texts. Unusual: every way is run with every seed, so that differences
are taken in pairs of one seed; the same mask for both passes is among the ways, as it leaves nothing to align.
"""

import random
import statistics
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from benchmarks.measurement import Measurement, Samples
from kb import checkpoints
from kb.contrastive import sentences
from kb.contrastive.sentence_encoder import SentenceEncoder
from kb.contrastive.simcse import Exam, SimCSEConfig, examine, train_simcse
from kb.lm import DecoderLM

DEVICES = ("cpu",)
STEPS, BATCH, RATE, SEEDS = 30, 32, 1e-3, 4
TRAINED, HELD = 480, 150  # articles
TOKENS, JUDGED_TOKENS = 24, 96
T_975 = 3.182  # Student's quantile, 3 degrees of freedom
UNITS = {"people": "Spearman's rho", "alignment": "squared distance", "uniformity": "nats", "mean cosine": "cosine"}
WAYS: Mapping[str, tuple[int, float, bool]] = {  # texts of an example, dropout, same mask
    "no dropout": (1, 0.0, False),
    "dropout 0.1": (1, 0.1, False),
    "dropout 0.1, same mask": (1, 0.1, True),
    "pairs": (2, 0.1, False),
    "pairs, hard negatives": (3, 0.1, False),
}


def measure(device: torch.device) -> Measurement:
    """Examine before training, then train and examine each way with each seed."""
    checkpoint = checkpoints.load("smollm2-135m")
    model = DecoderLM.from_checkpoint(checkpoint, share=True)
    rest, held = sentences.hold_out(sentences.articles(), HELD)
    chosen = rest[:TRAINED]
    base = SentenceEncoder(model)

    def states(texts: Sequence[str], longest: int = TOKENS) -> list[Tensor]:
        return base.states([checkpoint.tokenizer.encode(text)[:longest] for text in texts])

    lee = sentences.lee()
    likeness = lee.likeness_NN[np.triu_indices(len(lee.texts), 1)]
    both = [states([one.sentences[part] for one in held]) for part in (0, 1)]
    exam = Exam(states(lee.texts, JUDGED_TOKENS), likeness, *both)
    firsts, seconds = ([one.sentences[part] for one in chosen] for part in (0, 1))
    parts = states(firsts), states(seconds)
    examples = list(zip(*parts, [parts[1][i] for i in hardest(firsts, seconds)], strict=True))
    before = examine(base, exam)
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for seed in range(SEEDS):
        for way, (texts, dropout, same) in WAYS.items():
            encoder = SentenceEncoder(model, dropout=dropout)
            config = SimCSEConfig(STEPS, BATCH, learning_rate=RATE, same_mask=same, seed=seed)
            steps = train_simcse(encoder, [one[:texts] for one in examples], config)
            found[way].append(examine(encoder, exam) | {"loss": statistics.mean(one.loss for one in steps[-10:])})
            print(f"seed {seed}, {way}: {found[way][-1]}", file=sys.stderr, flush=True)
    kinds = list(found["pairs"][0])
    return Measurement(
        title="SimCSE on the sixth layer of SmolLM2-135M-Instruct, dequantised from Q4_1, by dropout and supervision",
        method=f"{STEPS} steps of {BATCH} first sentences of {TRAINED} articles, AdamW at {RATE}, falling to 0; "
        f"{SEEDS} seeds; {HELD} other articles; hard negative: another article's nearest second sentence, by TF-IDF",
        samples={
            f"{way}, {kind}": Samples(UNITS.get(kind, "1"), [one[kind] for one in runs])
            for way, runs in found.items()
            for kind in kinds
        },
        facts={
            "before": before,
            "intervals": {
                way: {kind: interval([one[kind] for one in runs]) for kind in kinds} for way, runs in found.items()
            },
            "against dropout 0.1": {
                way: interval([a["people"] - b["people"] for a, b in zip(runs, found["dropout 0.1"], strict=True)])
                for way, runs in found.items()
                if way != "dropout 0.1"
            },
        },
    )


def hardest(firsts: Sequence[str], seconds: Sequence[str]) -> list[int]:
    """Of each article, which other article's second sentence is nearest to its first, by TF-IDF; ties by chance."""
    vectorizer = TfidfVectorizer(sublinear_tf=True, stop_words="english").fit([*firsts, *seconds])
    scores = (vectorizer.transform(firsts) @ vectorizer.transform(seconds).T).toarray()
    chance = random.Random(0)
    scores += np.array([[1e-9 * chance.random() for _ in seconds] for _ in firsts])
    np.fill_diagonal(scores, -1.0)
    return [int(place) for place in scores.argmax(axis=1)]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean, by Student's t."""
    mean, half = statistics.mean(values), T_975 * statistics.stdev(values) / len(values) ** 0.5
    return round(mean - half, 4), round(mean + half, 4)
