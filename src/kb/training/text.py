"""Text as bytes, and windows of it: at random for training, one after the other for evaluation.

Bytes need no tokenizer and no file: the vocabulary is 256, and a loss in nats, divided by ln 2, is bits per byte, which
can be compared between texts and between models.

Shapes: N tokens of a text, M of them to train with, W windows in all or B at a time of T tokens, each with the token
after its last one.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from kb.arguments import is_integer, require_count


def encode_bytes(text: str | bytes) -> Tensor:
    """[N] int64, 0 to 255: the bytes of a text, in UTF-8 where it is a string.

    Raises:
        TypeError: it is neither a string nor bytes.
    """
    if isinstance(text, str):
        text = text.encode("utf-8")
    if not isinstance(text, bytes):
        raise TypeError(f"text must be str or bytes, got {type(text).__name__}")
    return torch.from_numpy(np.frombuffer(text, dtype=np.uint8).astype(np.int64))


def random_windows(
    tokens_N: Tensor, length: int, batch: int, *, seed: int, steps: int | None = None
) -> Iterator[Tensor]:
    """Batches [B, T + 1] of windows that begin anywhere, each place as likely as any other.

    Args:
        tokens_N: The text.
        length: T.
        batch: B.
        seed: Of the places: the same seed gives the same batches.
        steps: How many batches; None for ever more.

    Raises:
        ValueError: the text is not [N] or has no such window, or a number is none.
    """
    _require_text(tokens_N, length, batch)
    if not is_integer(seed):
        raise ValueError(f"seed must be an integer, got {seed!r}")
    if steps is not None:
        require_count("steps", steps, least=0)
    return _random_windows(tokens_N, length, batch, seed, steps)


def _random_windows(tokens_N: Tensor, length: int, batch: int, seed: int, steps: int | None) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.arange(length + 1)
    done = 0
    while steps is None or done < steps:
        starts = torch.randint(len(tokens_N) - length, (batch, 1), generator=generator)
        yield tokens_N[(starts + offsets).to(tokens_N.device)]
        done += 1


def all_windows(tokens_N: Tensor, length: int, batch: int) -> Iterator[Tensor]:
    """Batches [B, T + 1] that predict each token once: the last token of a window is the first of the next.

    The last batch may hold fewer windows. Tokens after the last whole window, fewer than T, are left out.

    Raises:
        ValueError: as for :func:`random_windows`.
    """
    _require_text(tokens_N, length, batch)
    windows_WT = tokens_N.unfold(0, length + 1, length)
    return iter(windows_WT.split(batch))


def hold_out(tokens_N: Tensor, length: int, *, windows: int = 8, every: int = 10) -> tuple[Tensor, Tensor]:
    """A text in two parts that are alike: one block in so many is held out, evenly over the text, and cut into windows.

    The end of a text is often another play, or another author, than its beginning; held out alone, it measures that
    too. The blocks left to train with are put together, so that of their windows a few run over a seam.

    Args:
        tokens_N: The text.
        length: T.
        windows: Of a held-out block, whose length is ``windows T + 1``.
        every: Of so many blocks one is held out, the middle one; tokens after the last whole block are trained with.

    Returns:
        Tokens [M] to train with, and windows [W, T + 1], as :func:`all_windows` cuts them; ``split`` makes batches.

    Raises:
        ValueError: a number is not positive, ``every`` is below 2, or the text has no block to be held out.
    """
    require_count("windows", windows)
    require_count("every", every, least=2)
    _require_text(tokens_N, length, windows)
    block = windows * length + 1
    numbers_N = torch.arange(len(tokens_N), device=tokens_N.device) // block
    held_N = (numbers_N % every == every // 2) & (numbers_N < len(tokens_N) // block)
    if not held_N.any():
        raise ValueError(f"{len(tokens_N)} tokens are too few to hold out one in {every} blocks of {block}")
    blocks_HB = tokens_N[held_N].view(-1, block)
    return tokens_N[~held_N], blocks_HB.unfold(1, length + 1, length).flatten(0, 1)


def _require_text(tokens_N: Tensor, length: int, batch: int) -> None:
    require_count("length", length)
    require_count("batch", batch)
    if tokens_N.ndim != 1:
        raise ValueError(f"tokens must be [N], got {tuple(tokens_N.shape)}")
    if len(tokens_N) <= length:
        raise ValueError(f"{len(tokens_N)} tokens hold no window of length {length} and the token after it")
