"""A vocabulary of whole words, enough for the names of pictures.

Unusual: no unknown word: a text with one is an error, so that no measurement is of a word that was never learnt.
"""

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

PAD, START, END = 0, 1, 2


def split(text: str) -> list[str]:
    """The words of a text in lower case; a hyphen joins, other signs part."""
    return re.findall(r"[^\W_]+(?:[-'’][^\W_]+)*", text.lower())


class Words:
    """Texts to rows of numbers and back: start, words, end, padding."""

    def __init__(self, texts: Iterable[str]) -> None:
        if isinstance(texts, str):
            raise ValueError(f"texts must be several texts, got the one text {texts!r}")
        words = sorted({word for text in texts for word in split(text)})
        if not words:
            raise ValueError("texts must hold at least one word, got none")
        self.words = ("", "<start>", "<end>", *words)
        self.ids = {word: number for number, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, texts: Sequence[str], length: int | None = None) -> Tensor:
        """[B, T] of int64, padded to the longest text or to ``length``.

        Raises:
            ValueError: a word is not in the vocabulary, there is no text, or one is longer than ``length``.
        """
        if isinstance(texts, str) or not len(texts):
            raise ValueError(f"texts must be a sequence of at least one text, got {texts!r}")
        rows = []
        for text in texts:
            unknown = [word for word in split(text) if word not in self.ids]
            if unknown:
                raise ValueError(f"texts: {unknown[0]!r} of {text!r} is not in the vocabulary")
            rows.append([START, *(self.ids[word] for word in split(text)), END])
        longest = max(map(len, rows))
        if length is not None and longest > length:
            raise ValueError(f"texts must have at most {length} tokens, got {longest}")
        table = torch.full((len(rows), length or longest), PAD)
        for row, ids in zip(table, rows, strict=True):
            row[: len(ids)] = torch.tensor(ids)
        return table

    def decode(self, ids: Sequence[int]) -> str:
        """The words up to the first end token.

        Raises:
            ValueError: a number stands for no word.
        """
        kept: list[str] = []
        for number in ids:
            if number == END:
                break
            if not 0 <= number < len(self):
                raise ValueError(f"ids must be from 0 to {len(self) - 1}, got {number}")
            if number not in (PAD, START):
                kept.append(self.words[number])
        return " ".join(kept)
