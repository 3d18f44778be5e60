"""Personal data by pattern: e-mail addresses, phone numbers, IP addresses, Chinese mobile and identity numbers.

Unusual: what has a check digit is checked, so that a random number of 18 digits is left alone: one in eleven passes by
chance, fewer than one in ten thousand if its digits must hold a date that exists as well. Names and addresses have no
pattern, and are not found. Patterns end at ASCII letters alone: Chinese puts no space before an address or a number.

Sources: GB 11643-1999 with ISO 7064 MOD 11-2 (identity numbers); RFC 1918 and others by ``ipaddress``; China's mobile
numbers have 11 digits and begin with 13 to 19, its lines an area code from 0 on and 7 or 8 digits.
"""

import ipaddress
import re
from collections import Counter
from dataclasses import dataclass
from datetime import date

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECKS = "10X98765432"
# In this order: what an earlier pattern took, a later one does not see.
_PATTERNS = {
    "email": re.compile(
        r"(?<![\w.+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}(?![\w-])", re.ASCII
    ),
    "identity": re.compile(r"(?<!\d)\d{17}[\dXx](?![\dXx])"),
    "ip": re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)"),
    "mobile": re.compile(r"(?<![\d.])(?:\+?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?!\d)"),
    "phone": re.compile(
        r"(?<![\w.-])(?:(?:\+\d{1,3}[ -]?)?(?:\(\d{3}\) ?|\d{3}[ -])\d{3}[ -]\d{4}|0\d{2,3}-\d{7,8})(?![\w-])", re.ASCII
    ),
}


@dataclass(frozen=True)
class Finding:
    """Something personal: its kind, and where it stands in the text."""

    kind: str
    start: int
    end: int


def is_identity_number(number: str) -> bool:
    """Whether 18 characters are a Chinese identity number: a date of birth that exists, and the right check digit."""
    if not re.fullmatch(r"[1-9]\d{16}[\dXx]", number, re.ASCII):
        return False
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(number[:17], _WEIGHTS, strict=True))
    return 1850 <= born.year <= 2100 and number[17].upper() == _CHECKS[total % 11]


def find_pii(text: str) -> list[Finding]:
    """All findings in the order of the text; none overlaps another.

    Of IP addresses only those that are public count: 127.0.0.1 and 192.168.0.1 say nothing about anybody.

    Raises:
        TypeError: ``text`` is no string.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, got {type(text).__name__}")
    found: list[Finding] = []
    for kind, pattern in _PATTERNS.items():
        for match in pattern.finditer(text):
            free = all(match.end() <= one.start or one.end <= match.start() for one in found)
            if free and _holds(kind, match[0]):
                found.append(Finding(kind, match.start(), match.end()))
    return sorted(found, key=lambda one: one.start)


def redact(text: str) -> tuple[str, Counter[str]]:
    """The text with ``<email>``, ``<mobile>`` and so on in the place of what was found, and how many of each.

    Doing it twice changes nothing. Errors as in :func:`find_pii`.
    """
    pieces, last, counts = [], 0, Counter[str]()
    for finding in find_pii(text):
        pieces += [text[last : finding.start], f"<{finding.kind}>"]
        last = finding.end
        counts[finding.kind] += 1
    return "".join([*pieces, text[last:]]), counts


def _holds(kind: str, match: str) -> bool:
    if kind == "identity":
        return is_identity_number(match)
    if kind == "ip":
        try:
            return ipaddress.ip_address(match).is_global
        except ValueError:
            return False
    return True
