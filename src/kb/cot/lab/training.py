"""Small decoders trained on the lab's tasks, each for the same number of floating-point operations.

A scratchpad makes sequences longer. At an equal number of examples a model that is trained with one would have been
given several times the arithmetic, so here a budget is counted in operations: whoever writes longer sequences sees
fewer of them. Unusual: all of a batch has one length and one format, which take turns by chance, so that a
short sequence is never padded to the length of a long one; what padding is left is counted, as the machine computes it.

Shapes: B sequences, T tokens of the longest of a batch, V vocabulary, D width.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from random import Random
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from kb.arguments import is_number, require_count
from kb.cot.lab.formats import COUNTED, Batch, Counted, Format, batch, require_format, sequence
from kb.cot.lab.task import Example, Task, require_lengths, stream
from kb.cot.lab.vocabulary import VOCABULARY_SIZE
from kb.lm import DecoderLM, ModelConfig
from kb.lm.cost import matrix_parameters
from kb.training import Step, TrainConfig, initialize, linear, train


def masked_loss(model: Any, given: Batch) -> Tensor:
    """Mean cross-entropy, in nats, over the tokens that a batch counts, each predicted from those before it.

    Raises:
        ValueError: it counts none.
    """
    counted = given.counted_BT[:, 1:]
    if not bool(counted.any()):
        raise ValueError("counted_BT must mark at least one token after the first of its row, got none")
    logits_BTV = model(given.tokens_BT[:, :-1])
    return F.cross_entropy(logits_BTV[counted], given.tokens_BT[:, 1:][counted])


def sequence_flops(config: ModelConfig, length: int) -> int:
    """Operations of training on one sequence of ``length`` tokens: three forward passes' worth, as one predicts all.

    Of 2 per number of every matrix, and of attention in T x T pairs, as in ``kb.lm.cost``. The last token is only
    predicted, so that T is one less than the length.

    Raises:
        ValueError: ``length`` is not a positive integer.
    """
    require_count("length", length)
    T = length - 1
    return 3 * T * (2 * matrix_parameters(config) + 4 * T * config.num_layers * config.num_heads * config.head_dim)


@dataclass(frozen=True)
class Corpus:
    """Examples of a task in formats.

    Args:
        task: Of what.
        lengths: Each as likely.
        shares: Share of the batches in each format, relative to the others; or the one format of all.
        counted: What the loss counts.

    Raises:
        TypeError: ``lengths`` is no sequence, or ``shares`` neither a name nor a mapping.
        ValueError: a length is none of the task's, or a share or a name is none.
    """

    task: Task
    lengths: tuple[int, ...]
    shares: Format | Mapping[Format, float]
    counted: Counted = "completion"

    def __post_init__(self) -> None:
        require_lengths(self.task, self.lengths)
        if self.counted not in COUNTED:
            raise ValueError(f"counted must be one of {', '.join(COUNTED)}, got {self.counted!r}")
        if not isinstance(self.shares, str | Mapping):
            raise TypeError(f"shares must be a format or a mapping of formats to shares, got {self.shares!r}")
        shares = self.shares if isinstance(self.shares, Mapping) else {self.shares: 1.0}
        for how, share in shares.items():
            require_format(how)
            if not is_number(share) or share < 0:
                raise ValueError(f"shares must be numbers of at least 0, got {share!r} for {how}")
        if not sum(shares.values()):
            raise ValueError(f"shares must have one above 0, got {dict(shares)!r}")
        object.__setattr__(self, "shares", dict(shares))

    def batches(self, size: int, seed: int) -> Iterator[Batch]:
        """Batches of ``size`` examples, for ever, each of one length and one format; the same seed gives the same."""
        require_count("size", size)
        assert isinstance(self.shares, Mapping)
        examples = stream(self.task, self.lengths, seed, together=size)
        return batches(examples, self.shares, self.counted, size, seed)


def batches(
    examples: Iterator[Example], shares: Mapping[Format, float], counted: Counted, size: int, seed: int
) -> Iterator[Batch]:
    """Batches of examples as they come, all of a batch in one format.

    Args:
        examples: At least ``size`` a batch; where they end, so do the batches.
        shares: Of the batches in each format, relative to the others.
        counted: What the loss counts.
        size: Examples of a batch.
        seed: Of the formats' turns.
    """
    require_count("size", size)
    rng, formats, weights = Random(f"formats, {seed}"), list(shares), list(shares.values())
    while len(part := list(islice(examples, size))) == size:
        how = _drawn(formats, weights, rng)
        yield batch([sequence(one, how, counted) for one in part])


def _drawn(formats: list[Format], shares: list[float], rng: Random) -> Format:
    left = rng.random() * sum(shares)
    for how, share in zip(formats, shares, strict=True):
        left -= share
        if left < 0:
            return how
    return max(zip(shares, formats, strict=True))[1]  # where a sum was rounded


@dataclass(frozen=True)
class Recipe:
    """What all models of a comparison share.

    Args:
        flops: Operations of a training; it ends with the batch that would go beyond them.
        width: D.
        layers: Blocks.
        heads: Of attention, each D / heads wide.
        batch: B.
        learning_rate: The highest; it falls along a line to a twentieth.
        warmup: Share of the steps over which it rises.
        max_positions: Tokens of the longest sequence that the model may read or write.
        std: Of the weights at the start.

    Raises:
        ValueError: a number is out of its range.
    """

    flops: float
    width: int = 48
    layers: int = 3
    heads: int = 4
    batch: int = 16
    learning_rate: float = 1e-2
    warmup: float = 0.1
    max_positions: int = 256
    std: float = 0.08

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "batch", "max_positions"):
            require_count(name, getattr(self, name))
        for name in ("flops", "learning_rate", "std"):
            value = getattr(self, name)
            if not is_number(value) or value <= 0:
                raise ValueError(f"{name} must be a positive number, got {value!r}")
        if not is_number(self.warmup) or not 0 <= self.warmup < 1:
            raise ValueError(f"warmup must be a share of at least 0 and below 1, got {self.warmup!r}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")

    @property
    def config(self) -> ModelConfig:
        """The model's; a feed-forward network is about 8/3 as wide as the model."""
        inner = 8 * -(-self.width // 3)
        head = self.width // self.heads
        return ModelConfig(
            VOCABULARY_SIZE, self.width, inner, self.layers, self.heads, self.heads, head, self.max_positions
        )

    def model(self, seed: int) -> DecoderLM:
        """A model that has learned nothing."""
        made = DecoderLM(self.config)
        initialize(made, seed=seed, std=self.std)
        return made

    def affordable(self, batches: Iterator[Batch]) -> list[Batch]:
        """As many batches, from the first, as the operations pay for.

        Raises:
            ValueError: not one, or a sequence is longer than ``max_positions``.
        """
        left, found = float(self.flops), list[Batch]()
        for one in batches:
            longest = one.tokens_BT.shape[1]
            if longest > self.max_positions:
                raise ValueError(f"max_positions {self.max_positions} is too little for a sequence of {longest} tokens")
            left -= len(one) * sequence_flops(self.config, longest)
            if left < 0:
                break
            found.append(one)
        if not found:
            raise ValueError(f"flops {self.flops:g} do not pay for one batch of {self.batch}")
        return found

    def trained(self, corpus: Corpus, *, seed: int, start: DecoderLM | None = None) -> tuple[DecoderLM, list[Step]]:
        """A model trained on a corpus, and what its steps measured.

        Args:
            corpus: The examples.
            seed: Of the weights and of the examples.
            start: Trained on, in place; a new model if not given.
        """
        model = self.model(seed) if start is None else start
        return model, self.train(model, self.affordable(corpus.batches(self.batch, seed)))

    def train(self, model: DecoderLM, batches: list[Batch]) -> list[Step]:
        """Train a model in place on all of the batches."""
        steps = len(batches)
        config = TrainConfig(
            steps,
            learning_rate=self.learning_rate,
            warmup=min(steps - 1, round(self.warmup * steps)),
            schedule=partial(linear, floor=0.05),
        )
        return train(model, batches, masked_loss, config)
