"""The copying memory task: some symbols, a long silence, a signal; then the symbols again, in order.

Only what comes through the silence helps; no local pattern does. A model that remembers nothing gives each symbol the
probability 1 / A, a loss of ln A.

Unusual: loss and accuracy are of the recalled symbols alone. Over all positions, as the task was published, the silence
would be most of the mean and hide what the task is about; ``blank_loss`` turns the one number into the other.

Sources: Arjovsky et al. 2016, Unitary Evolution Recurrent Neural Networks, arXiv 1511.06464 (A = 8, K = 10, T + 20
steps); Bai et al. 2018, arXiv 1803.01271, whose code repeats the signal where blanks are here.
Shapes: B sequences, K symbols, A size of the alphabet, L = 2 K + delay steps, V = A + 2 words.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kb.arguments import is_integer, require_count


@dataclass(frozen=True)
class CopyTask:
    """How long what has to be remembered for how long.

    Args:
        delay: Steps between the last symbol and the first that is wanted: blanks, then one signal.
        symbols: K.
        alphabet: A; the symbols are 0 to A - 1, the blank is A, the signal A + 1.

    Raises:
        ValueError: one is not a positive integer.
    """

    delay: int
    symbols: int = 10
    alphabet: int = 8

    def __post_init__(self) -> None:
        for name in ("delay", "symbols", "alphabet"):
            require_count(name, getattr(self, name))

    @property
    def length(self) -> int:
        """Steps of a sequence: T + 20 of the paper, whose T is our delay."""
        return 2 * self.symbols + self.delay

    @property
    def vocab_size(self) -> int:
        """Symbols, blank and signal."""
        return self.alphabet + 2

    @property
    def chance_loss(self) -> float:
        """Nats per recalled symbol of a model that remembers nothing."""
        return math.log(self.alphabet)

    def blank_loss(self, recall_loss: float) -> float:
        """The mean over all steps, where all blanks are foreseen, of a mean over the recalled ones."""
        return recall_loss * self.symbols / self.length

    def batch(self, size: int, generator: torch.Generator) -> "CopyBatch":
        """So many sequences.

        Raises:
            ValueError: ``size`` is not a positive integer.
        """
        require_count("size", size)
        symbols_BK = torch.randint(self.alphabet, (size, self.symbols), generator=generator)
        tokens_BL = torch.full((size, self.length), self.alphabet)
        tokens_BL[:, : self.symbols] = symbols_BK
        tokens_BL[:, self.length - self.symbols - 1] = self.alphabet + 1
        return CopyBatch(tokens_BL, symbols_BK)

    def batches(self, size: int, *, seed: int) -> Iterator["CopyBatch"]:
        """Batches without end; the same seed gives the same.

        Raises:
            ValueError: ``size`` is not a positive integer, or the seed not an integer.
        """
        require_count("size", size)
        if not is_integer(seed):
            raise ValueError(f"seed must be an integer, got {seed!r}")
        return self._batches(size, torch.Generator().manual_seed(seed))

    def _batches(self, size: int, generator: torch.Generator) -> Iterator["CopyBatch"]:
        while True:
            yield self.batch(size, generator)


@dataclass(frozen=True)
class CopyBatch:
    """Inputs [B, L], and what is wanted at their last K steps, [B, K]."""

    tokens: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.tokens)


def copy_loss(model: Any, batch: CopyBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean cross-entropy of the recalled symbols, in nats, and their ``accuracy``; a loss for ``kb.training``.

    Args:
        model: Of tokens [B, L], logits [B, L, V].
        batch: Of :class:`CopyTask`.
    """
    logits_BKV = model(batch.tokens)[:, -batch.targets.shape[1] :]
    loss = F.cross_entropy(logits_BKV.flatten(0, 1), batch.targets.flatten())
    accuracy = (logits_BKV.detach().argmax(-1) == batch.targets).float().mean()
    return loss, {"accuracy": accuracy}
