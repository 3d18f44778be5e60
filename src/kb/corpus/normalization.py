"""One way to write each text, so that what looks alike is equal: Unicode form, white space, control characters.

Unusual: full-width Latin letters and digits, which Chinese text mixes in, become ASCII, but Chinese punctuation stays,
which NFKC would turn into ASCII punctuation. A key for comparing throws away more than what is kept for training.

Source: Unicode Standard Annex 15 (normalisation forms); Wenzek et al. 2020, CCNet, section 3.2 (the key: lower case,
digits to 0, no punctuation).
"""

import hashlib
import re
import unicodedata

_WIDE = {code: code - 0xFEE0 for code in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))}
_SPACES = re.compile(r"[^\S\n]+")
_EMPTY_LINES = re.compile(r"\n{3,}")


def normalize(text: str) -> str:
    r"""NFC, full-width letters and digits as ASCII, no control characters or zero-width spaces, single spaces.

    Line ends become ``\n``, and more than one empty line becomes one. Doing it twice changes nothing.

    Raises:
        TypeError: ``text`` is no string.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, got {type(text).__name__}")
    text = re.sub(r"\r\n?|[\u2028\u2029\x85]", "\n", text)
    # Category C: control, format (zero-width marks), surrogates and code points without a character.
    # The joiners stay: Persian and Hindi spell with them, and emoji are made with them.
    kept = (c for c in text if c in "\n\t\u200c\u200d" or not unicodedata.category(c).startswith("C"))
    text = unicodedata.normalize("NFC", "".join(kept).translate(_WIDE))
    lines = (_SPACES.sub(" ", line).strip() for line in text.split("\n"))
    return _EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip("\n")


def comparison_key(text: str) -> str:
    """What two texts that should count as the same have in common: letters in lower case, digits as 0, nothing else.

    Raises:
        TypeError: ``text`` is no string.
    """
    kept = (("0" if c.isdigit() else c.lower()) for c in unicodedata.normalize("NFKC", normalize(text)) if c.isalnum())
    return "".join(kept)


def fingerprint(text: str) -> str:
    """SHA-256 of the comparison key in hexadecimal: equal for texts that differ in case, spaces and punctuation alone.

    A text without a letter or digit has an empty key and stands for itself: ":)" is no copy of ":(".

    Raises:
        TypeError: ``text`` is no string.
    """
    return hashlib.sha256((comparison_key(text) or normalize(text)).encode()).hexdigest()
