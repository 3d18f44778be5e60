"""Documents of all lengths in rows of one length: padded, concatenated and cut, or packed whole.

Padding wastes places; concatenating wastes none and cuts documents at the seams; packing whole documents by best fit
wastes little and cuts only what is longer than a row. Unusual: rows carry the number of each token's document and its
position in it, from which the block-diagonal mask follows, so that a packed row has the losses of the documents alone.

Sources: Raffel et al. 2020, section 3.1.2 (packing); Krell et al. 2021, Efficient Sequence Packing without
Cross-contamination; Ding et al. 2024, Fewer Truncations Improve Language Modeling (best fit). Shapes: R rows of T
places, B documents.
"""

# Names of fields end in their shapes.
# ruff: noqa: N815

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kb.arguments import require_count

PADDING = -1


@dataclass(frozen=True)
class Packed:
    """Rows of tokens.

    Args:
        tokens_RT: int64; padding holds the padding id.
        documents_RT: Which document each token belongs to, -1 for padding.
        positions_RT: Its place in the piece of its document that the row holds, 0 for padding.
        cuts: How many documents stand in more than one piece.
    """

    tokens_RT: Tensor
    documents_RT: Tensor
    positions_RT: Tensor
    cuts: int

    @property
    def waste(self) -> float:
        """Share of padding."""
        return float((self.documents_RT == PADDING).float().mean())

    def mask(self) -> Tensor:
        """[R, T, T] bool, True where a token may look: back, and inside its own document; padding at itself alone."""
        T = self.tokens_RT.shape[1]
        same = self.documents_RT[:, :, None] == self.documents_RT[:, None, :]
        real = (self.documents_RT != PADDING)[:, None, :]
        causal = torch.ones(T, T, dtype=torch.bool).tril()
        return (same & real & causal) | torch.eye(T, dtype=torch.bool)

    def targets(self, ignore: int = -100) -> Tensor:
        """[R, T] the token after each in its own document, ``ignore`` at the last of each and for padding."""
        targets_RT = torch.full_like(self.tokens_RT, ignore)
        follows = (self.documents_RT[:, 1:] == self.documents_RT[:, :-1]) & (self.documents_RT[:, 1:] != PADDING)
        targets_RT[:, :-1] = torch.where(follows, self.tokens_RT[:, 1:], targets_RT[:, :-1])
        return targets_RT


def pad(documents: Sequence[Sequence[int]], length: int, *, pad_id: int = 0) -> Packed:
    """One document a row, cut at the end of the row where it is longer: what does not fit is lost."""
    _require(documents, length)
    pieces = [[(place, 0, list(document[:length]))] for place, document in enumerate(documents)]
    return _rows(pieces, length, pad_id, sum(len(document) > length for document in documents))


def concatenate(
    documents: Sequence[Sequence[int]], length: int, *, separator: int | None = None, pad_id: int = 0
) -> Packed:
    """All documents in one stream, a separator after each, cut into rows; the last row is filled up with padding."""
    _require(documents, length)
    rows: list[list[tuple[int, int, list[int]]]] = [[]]
    room, cuts = length, 0
    for place, document in enumerate(documents):
        rest, pieces = [*document, *([] if separator is None else [separator])], 0
        while rest:
            if not room:
                rows.append([])
                room = length
            rows[-1].append((place, 0, rest[:room]))
            pieces += 1
            rest, room = rest[room:], room - min(room, len(rest))
        cuts += pieces > 1
    return _rows(rows, length, pad_id, cuts)


def best_fit(documents: Sequence[Sequence[int]], length: int, *, pad_id: int = 0) -> Packed:
    """Whole documents, the longest first, each into the row with the least room that is enough.

    What is longer than a row is cut into pieces of a row's length first.
    """
    _require(documents, length)
    pieces = [
        (place, 0, list(document[start : start + length]))
        for place, document in enumerate(documents)
        for start in range(0, len(document), length)
    ]
    rows: list[list[tuple[int, int, list[int]]]] = []
    rooms: list[tuple[int, int]] = []  # room and row, sorted
    for piece in sorted(pieces, key=lambda one: -len(one[2])):
        size = len(piece[2])
        at = bisect_left(rooms, (size, -1))
        room, row = rooms.pop(at) if at < len(rooms) else (length, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(piece)
        if room - size:
            insort(rooms, (room - size, row))
    return _rows(rows, length, pad_id, sum(len(document) > length for document in documents))


def _rows(rows: list[list[tuple[int, int, list[int]]]], length: int, pad_id: int, cuts: int) -> Packed:
    tokens_RT = torch.full((len(rows), length), pad_id)
    documents_RT = torch.full((len(rows), length), PADDING)
    positions_RT = torch.zeros(len(rows), length, dtype=torch.int64)
    for row, pieces in enumerate(rows):
        at = 0
        for document, first, ids in pieces:
            end = at + len(ids)
            tokens_RT[row, at:end] = torch.tensor(ids)
            documents_RT[row, at:end] = document
            positions_RT[row, at:end] = torch.arange(first, first + len(ids))
            at = end
    return Packed(tokens_RT, documents_RT, positions_RT, cuts)


def _require(documents: Sequence[Sequence[int]], length: int) -> None:
    require_count("length", length, least=2)
    if not len(documents):
        raise ValueError("documents must hold at least one")
    if empty := [place for place, document in enumerate(documents) if not len(document)]:
        raise ValueError(f"documents[{empty[0]}] has no token")
