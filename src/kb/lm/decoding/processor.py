"""What every edit of the next token's scores is: a callable (input_ids, scores) to scores, and a chain of them.

The interface is that of transformers' logits processors, so that theirs and these may stand in one chain. Unusual: the
edits do not commute. A temperature above 1 flattens the distribution, so that a top-p after it keeps more tokens than a
top-p before it, while a top-k keeps the same ones: :func:`kept_in_both_orders` shows which tokens stay either way.

Shapes: B sequences, T tokens so far, V vocabulary.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from kb.lm.sampling import require_logits


class Processor(Protocol):
    """Edits the scores of the next token."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V] after the edit, of the same dtype; the argument is left alone.

        Args:
            input_ids: Integer ids of prompt and tokens so far, [B, T].
            scores: Logits or log-probabilities of the next token, [B, V]; minus infinity is never chosen.
        """


class Processors:
    """Processors one after another, in the order given; none of them changes nothing.

    Raises:
        TypeError: one cannot be called, or there is one that is not in a list.
    """

    def __init__(self, processors: Iterable[Processor] = ()) -> None:
        if not isinstance(processors, Iterable):
            raise TypeError(f"processors must be some callables, one alone in a list, got {processors!r}")
        self._processors = tuple(processors)
        for processor in self._processors:
            if not callable(processor):
                raise TypeError(f"processors must be callables (input_ids, scores) -> scores, got {processor!r}")

    def __len__(self) -> int:
        return len(self._processors)

    def __iter__(self) -> Iterator[Processor]:
        return iter(self._processors)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V] after all of them.

        Raises:
            TypeError: scores that are no floating-point numbers, or ids that are no integers.
            ValueError: scores are no [B, V], ids no [B, T] of the same B, or an id is outside the vocabulary.
        """
        require_scores(input_ids, scores)
        for processor in self._processors:
            scores = processor(input_ids, scores)
        return scores

    def kept(self, input_ids: Tensor, scores: Tensor) -> list[Tensor]:
        """How many tokens of each row may still be chosen, [B] int64: at the beginning, then after each processor."""
        require_scores(input_ids, scores)
        counts = [_alive(scores).sum(-1)]
        for processor in self._processors:
            scores = processor(input_ids, scores)
            counts.append(_alive(scores).sum(-1))
        return counts


def kept_in_both_orders(
    first: Processor, second: Processor, input_ids: Tensor, scores: Tensor
) -> tuple[Tensor, Tensor]:
    """Which tokens may still be chosen after first, then second, and after second, then first: two bool [B, V].

    Raises:
        TypeError: as a call of :class:`Processors`.
        ValueError: as a call of :class:`Processors`.
    """
    forward, backward = Processors((first, second)), Processors((second, first))
    return _alive(forward(input_ids, scores)), _alive(backward(input_ids, scores))


def _alive(scores: Tensor) -> Tensor:
    return scores != -torch.inf


def require_scores(input_ids: Tensor, scores: Tensor) -> None:
    """Refuse scores and ids that no processor can work on.

    Raises:
        TypeError: scores that are no floating-point numbers, or ids that are no integers.
        ValueError: scores are no [B, V], ids no [B, T] of the same B, or an id is outside the vocabulary (looked at on
            a CPU only: on CUDA that would be to wait for the GPU).
    """
    require_logits(scores)
    if input_ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"input_ids must be int64 or int32, got {input_ids.dtype}")
    if input_ids.dim() != 2 or len(input_ids) != len(scores):
        raise ValueError(
            f"wanted input_ids [B, T] and scores [B, V], got {tuple(input_ids.shape)} and {tuple(scores.shape)}"
        )
    V = scores.shape[-1]
    if input_ids.device.type == "cpu" and input_ids.numel():
        low, high = int(input_ids.min()), int(input_ids.max())
        if low < 0 or high >= V:
            raise ValueError(f"input_ids must be in 0 to {V - 1}, got {low if low < 0 else high}")
