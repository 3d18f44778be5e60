"""Which rows of a step are whose, and where their sequences lie: all that attention must know and no layer changes.

A step computes chunks: tokens [start, end) of a sequence, one token where it decodes, many where its prompt is read.
All chunks stand one after the other in one row of T tokens. Made once a step and used by every layer, so it is built
by numpy from plain lists and reaches the device in a single copy.

Shapes: R requests, T new tokens of all requests, W the widest block table, Z = R + 1, D rows attended one by one.
"""

# ruff: noqa: N815  (fields end in their shapes)

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from kb.arguments import require_count

Chunk = tuple[Sequence[int], int, int]
"""Block table of a sequence, and the tokens [start, end) of it that this step computes."""

# Up to so many queries of one request it is faster to attend to them row by row, in place, than to gather their keys.
_FEW = 8


@dataclass(frozen=True, eq=False)
class StepLayout:
    """Made by :meth:`from_chunks`. All tensors are int64 and lie on the device of the pool.

    Args:
        block_size: S, tokens of a page.
        queries: New tokens of each request.
        lengths: Tokens of each request whose keys and values lie in pages once the new ones are written.
        offsets: The row of each request's first new token, and T at the end.
        chunked: Requests with more than a few new tokens, by index.
        tables_RW: Block tables, each filled up to W with block 0, which is not read.
        lengths_R: ``lengths`` again.
        offsets_Z: ``offsets`` again.
        slots_T: Slot of each new token.
        positions_T: Position of each new token in its sequence.
        rows_D: Rows of the requests that are not in ``chunked``.
        owners_D: The requests that these rows belong to.
    """

    block_size: int
    queries: tuple[int, ...]
    lengths: tuple[int, ...]
    offsets: tuple[int, ...]
    chunked: tuple[int, ...]
    tables_RW: Tensor
    lengths_R: Tensor
    offsets_Z: Tensor
    slots_T: Tensor
    positions_T: Tensor
    rows_D: Tensor
    owners_D: Tensor

    @classmethod
    def from_chunks(
        cls, chunks: Sequence[Chunk], *, block_size: int, num_blocks: int, device: torch.device | str = "cpu"
    ) -> "StepLayout":
        """Lay out one step.

        Args:
            chunks: (block table, start, end) of each request, in the order of their rows; tokens [0, start) are in
                their pages already. A table may be longer than ``end`` needs.
            block_size: S, tokens of a page.
            num_blocks: P, pages in the pool.
            device: Of the pool.

        Raises:
            TypeError: a start, an end or a block id is not an integer.
            ValueError: a chunk is empty or does not fit its table, a block id is not one of the pool, or two new tokens
                have the same slot.
        """
        require_count("block_size", block_size)
        require_count("num_blocks", num_blocks)
        starts_R = _integers("starts", [start for _, start, _ in chunks])
        ends_R = _integers("ends", [end for _, _, end in chunks])
        tables_RW = _tables(chunks, starts_R, ends_R, block_size, num_blocks)
        queries_R = ends_R - starts_R
        offsets_Z = np.concatenate([[0], np.cumsum(queries_R)])
        owners_T = np.repeat(np.arange(len(chunks)), queries_R)
        positions_T = np.arange(offsets_Z[-1]) + (starts_R - offsets_Z[:-1])[owners_T]
        slots_T = tables_RW[owners_T, positions_T // block_size] * block_size + positions_T % block_size
        _require_different(slots_T, owners_T)
        rows_D = np.flatnonzero((queries_R <= _FEW)[owners_T])
        arrays = (tables_RW, ends_R, offsets_Z, slots_T, positions_T, rows_D, owners_T[rows_D])
        # One copy to the device for all of them.
        packed = torch.from_numpy(np.concatenate([array.ravel() for array in arrays])).to(device)
        tables, *rest = packed.split([array.size for array in arrays])
        return cls(
            block_size,
            tuple(queries_R.tolist()),
            tuple(ends_R.tolist()),
            tuple(offsets_Z.tolist()),
            tuple(np.flatnonzero(queries_R > _FEW).tolist()),
            tables.view(tables_RW.shape),
            *rest,
        )


def _integers(name: str, values: Sequence[int]) -> np.ndarray:
    array = np.array(values if len(values) else np.empty(0, np.int64))
    if array.dtype.kind != "i":
        raise TypeError(f"{name} must be integers, got {list(values)!r}")
    return array.astype(np.int64, copy=False)


def _tables(
    chunks: Sequence[Chunk], starts_R: np.ndarray, ends_R: np.ndarray, block_size: int, num_blocks: int
) -> np.ndarray:
    for r in np.flatnonzero((starts_R < 0) | (ends_R <= starts_R))[:1]:
        raise ValueError(f"chunk {r} must have 0 <= start < end, got start {starts_R[r]} and end {ends_R[r]}")
    needed_R = -(-ends_R // block_size)
    given_R = np.fromiter((len(table) for table, _, _ in chunks), np.int64, len(chunks))
    for r in np.flatnonzero(given_R < needed_R)[:1]:
        raise ValueError(
            f"chunk {r} ends at token {ends_R[r]}, which needs {needed_R[r]} blocks of {block_size}, "
            f"but its table has {given_R[r]}"
        )
    blocks = _integers(
        "block ids", list(chain.from_iterable(c[0][:n] for c, n in zip(chunks, needed_R.tolist(), strict=True)))
    )
    for block in blocks[(blocks < 0) | (blocks >= num_blocks)][:1]:
        raise ValueError(f"block ids must be in 0 to {num_blocks - 1}, got {block}")
    tables_RW = np.zeros((len(chunks), needed_R.max(initial=0)), np.int64)
    tables_RW[np.arange(tables_RW.shape[1]) < needed_R[:, None]] = blocks
    return tables_RW


def _require_different(slots_T: np.ndarray, owners_T: np.ndarray) -> None:
    order_T = np.argsort(slots_T, kind="stable")
    twice = np.flatnonzero(np.diff(slots_T[order_T]) == 0)
    for i in twice[:1]:
        first, second = owners_T[order_T[i]], owners_T[order_T[i + 1]]
        raise ValueError(f"chunks {first} and {second} write the same slot {slots_T[order_T[i]]}")
