r"""LaTeX of answers made plain: ``\frac{3}{4}`` to 3/4, ``1{,}234`` to 1,234, ``\text{ km}`` to km; boxes found.

Unusual: nothing here backtracks or recurses; every pass reads the text once, so that a megabyte of braces costs no
more than a megabyte of prose. Fractions within fractions stay unread, as they are no numbers that a person would box.
"""

import re

UNREAD = "\x02"  # stands for a fraction that is more than two numbers
MIXED = "\x00"  # stands between the whole and the fraction of a mixed number, and before any fraction of LaTeX

_SYMBOLS = {
    "frac": UNREAD, "dfrac": UNREAD, "tfrac": UNREAD, "cfrac": UNREAD,
    "times": "×", "cdot": "×", "ast": "*", "div": "÷", "approx": "≈", "sqrt": "√", "pi": "π", "pm": "±", "infty": "∞",
    "circ": "°", "degree": "°", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "pounds": "£", "euro": "€",
    "left": "", "right": "", "displaystyle": "",
}  # fmt: skip
_NUMBER = r"\s{0,3}([-+]?[0-9.,]{1,60})\s{0,3}"
_FRACTION = re.compile(
    rf"\\[dtc]?frac(?:\s{{0,3}}\{{{_NUMBER}\}}\s{{0,3}}\{{{_NUMBER}\}}|\s{{0,3}}([0-9])\s{{0,3}}([0-9]))"
)
_EXPONENT = re.compile(r"\^\s{0,3}\{\s{0,3}([-+]?[0-9]{1,9})\s{0,3}\}")
_RECURRING = re.compile(r"([0-9]{1,60})\.([0-9]{0,60})\\(?:overline|bar|dot)\s?\{?([0-9]{1,60})\}?")
_DEGREES = re.compile(r"\^\s{0,3}(?:\{\s{0,3})?\\circ\b(?:\s{0,3}\})?")
_COMMAND = re.compile(r"\\(?:([A-Za-z]+)|(.))", re.DOTALL)
_BOX = re.compile(r"(\\(?:boxed|fbox)\s{0,9}\{)|\\(?:boxed|fbox)\s([^\s{}$\\]{1,60})|\\.|([{}])", re.DOTALL)


def last_box(text: str) -> str | None:
    r"""What the box holds that is closed last: ``\boxed{...}``, braces within it counted; None where there is none.

    A box that was never closed, as where the tokens ran out, may lack digits, and is not read.
    """
    if "boxed" not in text and "fbox" not in text:
        return None
    found, open_braces = None, list[int]()
    for match in _BOX.finditer(text):
        box, bare, brace = match.groups()
        if bare is not None:
            found = bare
        elif box is not None:
            open_braces.append(match.end())
        elif brace == "{":
            open_braces.append(-1)
        elif brace == "}" and open_braces:
            start = open_braces.pop()
            if start >= 0:
                found = text[start : match.start()]
    return found


def plain(text: str) -> str:
    """The text with LaTeX's commands replaced by the characters they stand for, or by a space."""
    if "\\" not in text and "{" not in text:
        return text
    text = (
        _DEGREES.sub("°", text)
        .replace("{,}", ",")
        .replace("{:}", ":")
        .replace("\\!", "")
        .replace("\\,", "\u2009")
        .replace("\\ ", "\u2009")
    )
    text = _RECURRING.sub(_recurring, text)
    text = _FRACTION.sub(_fraction, text)
    text = _COMMAND.sub(_symbol, _EXPONENT.sub(r"^\1", text))
    return text.replace("{", " ").replace("}", " ")


def _recurring(match: re.Match[str]) -> str:
    """A decimal whose last digits recur, as a fraction."""
    whole, fixed, again = match.groups()
    above = int(whole + fixed + again) - int(whole + fixed)
    return f"{MIXED}{above}/{10 ** len(fixed) * (10 ** len(again) - 1)}"


def _fraction(match: re.Match[str]) -> str:
    above, below = match[1] or match[3], match[2] or match[4]
    sign = "-" if above.startswith("-") != below.startswith("-") else ""
    return f"{sign}{MIXED}{above.lstrip('+-')}/{below.lstrip('+-')}"


def _symbol(match: re.Match[str]) -> str:
    name, char = match.groups()
    if name is not None:
        return _SYMBOLS.get(name, " ")
    return char if char in "%$#&_" else "\n" if char == "\\" else " "
