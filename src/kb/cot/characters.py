"""Characters in which numbers come, made ASCII: full-width forms, digits of all scripts, signs, fractions, powers.

Unusual: a full-width comma is a mark of thousands only between full-width digits (１，２３４); elsewhere it ends a
clause of Chinese, as in 有3，100元.
"""

import re
import sys
import unicodedata
from functools import cache

from kb.cot.latex import MIXED

_WIDE_COMMA = re.compile("(?<=[０-９])，(?=[０-９]{3}(?![０-９]))")
_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺"
_POWER = re.compile(f"[{_SUPERSCRIPTS}]+")
_TO_DIGITS = str.maketrans(_SUPERSCRIPTS, "0123456789-+")
_SINGLE = {
    "−": "-",
    "–": "-",
    "‐": "-",
    "‑": "-",
    "﹣": "-",
    "⁄": "/",
    "∕": "/",
    "⋅": "×",
    "·": "×",
    "∗": "*",
    "✕": "×",
    "﹪": "%",
}
_INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad\x00\x01\x02"


def in_ascii(text: str) -> str:
    """The text with each such character replaced; ½ becomes 1/2 behind :data:`kb.cot.latex.MIXED`, m² m^2."""
    if text.isascii() and not any(mark in text for mark in "\x00\x01\x02"):
        return text
    text = _WIDE_COMMA.sub(",", text)
    text = _POWER.sub(lambda match: "^" + match[0].translate(_TO_DIGITS), text)
    return text.translate(_table())


@cache
def _table() -> dict[int, str]:
    table = {ord(char): str(unicodedata.decimal(char)) for char in map(chr, range(128, sys.maxunicode + 1))
             if char.isdecimal()}  # fmt: skip
    table |= {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | {0x3000: " "}
    del table[ord("，")]
    table |= {ord(char): ascii_char for char, ascii_char in _SINGLE.items()}
    table |= {ord(char): "" for char in _INVISIBLE}
    for code in (*range(0xBC, 0xBF), *range(0x2150, 0x215F), 0x2189):
        table[code] = MIXED + unicodedata.normalize("NFKC", chr(code)).replace("⁄", "/")
    return table
