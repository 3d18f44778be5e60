"""SimCSE: a sentence is its own positive, under another dropout mask; with labels, pairs and hard negatives.

Unusual: the encoder's mean over tokens is trained as it is, with no head on top. ``same_mask`` runs both passes with
the same random numbers, so that nothing is left to align: the paper's control.

Source: Gao et al. 2021, SimCSE, arXiv 2104.08821, equations 1, 4 and 5, sections 3 (dropout, table 3) and 4 (hard
negatives).
Shapes: B texts, D width, P pairs; a text is the states [T, D] that the encoder's frozen layers gave.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kb.arguments import is_number, require_count
from kb.contrastive.geometry import alignment, cosines, mean_cosine, uniformity
from kb.contrastive.in_batch import info_nce
from kb.contrastive.sentence_encoder import SentenceEncoder, embed
from kb.training import Step, TrainConfig, linear, train

# ruff: noqa: N815

Batch = list[tuple[Tensor, ...]]


@dataclass(frozen=True)
class SimCSEConfig:
    """How to train.

    Args:
        steps: Batches.
        batch: Examples of each.
        temperature: Of the loss.
        learning_rate: Highest, after which it falls to 0 along a line.
        same_mask: Drop the same in both passes.
        seed: Of the batches and of dropout.

    Raises:
        ValueError: a value is out of its range.
    """

    steps: int = 20
    batch: int = 32
    temperature: float = 0.05
    learning_rate: float = 3e-4
    same_mask: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        require_count("steps", self.steps)
        require_count("batch", self.batch, least=2)
        require_count("seed", self.seed, least=0)
        for name in ("temperature", "learning_rate"):
            value = getattr(self, name)
            if not is_number(value) or value <= 0:
                raise ValueError(f"{name} must be a number above 0, got {value!r}")


def unsupervised_loss(
    encoder: SentenceEncoder, texts: Sequence[Tensor], *, temperature: float = 0.05, same_mask: bool = False
) -> Tensor:
    """InfoNCE of each text's first pass with all texts' second passes."""
    state = torch.get_rng_state()
    first_BD = encoder(texts)
    if same_mask:
        torch.set_rng_state(state)
    return info_nce(first_BD, encoder(texts), temperature=temperature)


def supervised_loss(encoder: SentenceEncoder, parts: Sequence[Sequence[Tensor]], *, temperature: float) -> Tensor:
    """InfoNCE of first texts with second ones and, where there are third ones, these as negatives of all."""
    first_BD, second_BD, *hard = [encoder(part) for part in parts]
    return info_nce(first_BD, second_BD, hard[0] if hard else None, temperature=temperature)


def train_simcse(encoder: SentenceEncoder, examples: Sequence[tuple[Tensor, ...]], config: SimCSEConfig) -> list[Step]:
    """Train an encoder in place.

    Args:
        encoder: What is trained.
        examples: Tuples of one text, itself its positive; of a pair; or of a pair and a hard negative of its first.
        config: How.

    Raises:
        ValueError: there are fewer examples than a batch, or they are not all of 1, all of 2 or all of 3 texts.
    """
    sizes = {len(one) for one in examples}
    if len(examples) < config.batch or len(sizes) != 1 or not sizes <= {1, 2, 3}:
        raise ValueError(
            f"examples must be at least {config.batch}, all of 1, 2 or 3 texts, got {len(examples)} of {sorted(sizes)}"
        )

    def loss(model: SentenceEncoder, batch: Batch) -> Tensor:
        parts = list(zip(*batch, strict=True))
        if len(parts) == 1:
            return unsupervised_loss(model, parts[0], temperature=config.temperature, same_mask=config.same_mask)
        return supervised_loss(model, parts, temperature=config.temperature)

    recipe = TrainConfig(
        config.steps, learning_rate=config.learning_rate, schedule=linear, weight_decay=0.0, betas=(0.9, 0.999)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return train(encoder, _batches(examples, config), loss, recipe)


def _batches(examples: Sequence[tuple[Tensor, ...]], config: SimCSEConfig) -> Iterator[Batch]:
    """Batches without end, each round in a new order; no example is in a batch twice."""
    chance = random.Random(int(config.seed))  # which takes no integer of NumPy
    while True:
        order = chance.sample(range(len(examples)), len(examples))
        for start in range(0, len(order) - config.batch + 1, config.batch):
            yield [examples[i] for i in order[start : start + config.batch]]


@dataclass(frozen=True)
class Exam:
    """Texts, as states of the frozen layers, by which an encoder is judged.

    Attributes:
        judged: Texts of which people judged every pair.
        likeness_P: Their judgements of the pairs, in the order of ``numpy.triu_indices``.
        first: A sentence of each held-out article.
        second: Another sentence of the same articles.
    """

    judged: Sequence[Tensor]
    likeness_P: NDArray[np.float64]
    first: Sequence[Tensor]
    second: Sequence[Tensor]


def examine(encoder: SentenceEncoder, exam: Exam) -> dict[str, float]:
    """Spearman's correlation with people, geometry of first sentences, and how often the own second one is nearest."""
    from scipy.stats import spearmanr

    judged, first, second = (embed(encoder, texts) for texts in (exam.judged, exam.first, exam.second))
    row, column = torch.triu_indices(len(judged), len(judged), offset=1)
    cosine_P = cosines(judged, judged)[row, column]
    own = cosines(first, second).argmax(1) == torch.arange(len(first))
    return {
        "people": float(spearmanr(cosine_P.numpy(), exam.likeness_P).statistic),
        "alignment": float(alignment(first, second)),
        "uniformity": float(uniformity(first)),
        "mean cosine": float(mean_cosine(first)),
        "retrieval": float(own.double().mean()),
    }
