"""Numbers in Chinese characters, read exactly: 三百二十五, 两万五, 3万5千, 一点五亿, 三分之二, 百分之五十.

A numeral is a sum of sections: within one, digits stand before 十, 百 and 千; 万, 亿 and 兆 multiply all smaller parts
before them. Unusual: Arabic digits may stand wherever Chinese ones do (1.5亿), digits without units are read one by one
(二〇二四), and a last digit without 零 before it counts tenths of the unit before it, as people say it (两万五 is
25,000, 三百零五 is 305). 兆 is 10^12. Simplified, traditional and banker's characters are all read.
"""

import re
from fractions import Fraction

DIGITS = {
    char: str(value) for value, row in enumerate(("零〇○", "一壹", "二贰貳两兩", "三叁參", "四肆")) for char in row
}
DIGITS |= {char: str(value + 5) for value, row in enumerate(("五伍", "六陆陸", "七柒", "八捌", "九玖")) for char in row}
SMALL = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
BIG = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8, "兆": 10**12}
TENS = {"廿": "二十", "卅": "三十"}
CHARACTERS = "".join([*DIGITS, *SMALL, *BIG, *TENS])

_DIGIT = f"[{''.join(DIGITS)}0-9]"
_TOKEN = re.compile(rf"({_DIGIT}[{''.join(DIGITS)}0-9,]*+)?(?:[点點.]({_DIGIT}++))?|(.)")
_TO_ARABIC = str.maketrans(DIGITS)
_TENS = str.maketrans(TENS)
_MOST_DIGITS = 4000


def parse_chinese(text: str) -> Fraction | None:
    """The number that ``text`` is from its first to its last character; None where it is none.

    百分之五十 is 50, as 50% is 50 in :mod:`kb.cot.numerals`.

        >>> parse_chinese("一千零五"), parse_chinese("三分之二"), parse_chinese("負三")
        (Fraction(1005, 1), Fraction(2, 3), Fraction(-3, 1))
    """
    text = text.translate(_TENS)
    negative = text[:1] in ("负", "負")
    value = _fraction(text[1:] if negative else text)
    return -value if negative and value is not None else value


def _fraction(text: str) -> Fraction | None:
    below, parted, above = text.partition("分之")
    if not parted:
        return _plain(text)
    if below in ("百", "一百"):
        return Fraction(100) if above == "百" else _plain(above)
    whole_text, mixed, below_text = below.rpartition("又")
    whole = _plain(whole_text) if mixed else Fraction(0)
    # 百, 千 and 万 may stand alone before 分之.
    denominator = Fraction({**SMALL, **BIG}.get(below_text, 0)) or _plain(below_text)
    numerator = _plain(above)
    if whole is None or not denominator or numerator is None:
        return None
    return whole + numerator / denominator


def _plain(text: str) -> Fraction | None:
    """A numeral without sign and fraction."""
    if not text or len(text) > _MOST_DIGITS:
        return None
    parts: list[tuple[int, Fraction]] = []  # sections that a unit of 万 or more has closed, and those units
    section, least = Fraction(0), 0  # least: the unit that came last in the section
    pending: Fraction | None = None  # a number that waits for its unit
    scaled = False  # whether what waits may count tenths of the unit before it
    tokens = [match for match in _TOKEN.finditer(text) if match.group()]
    for match in tokens:
        whole, decimals, unit = match.groups()
        if unit is None:
            if pending is not None:
                return None
            pending = _literal(whole or "", decimals or "")
            scaled = decimals is None and len(whole) == 1 and whole.translate(_TO_ARABIC) != "0"
        elif unit in SMALL:
            size = SMALL[unit]
            if (least and size >= least) or (pending is None and size != 10):
                return None
            section, least, pending = section + (1 if pending is None else pending) * size, size, None
        elif unit in BIG:
            size, closed = BIG[unit], section + (pending or 0)
            while parts and parts[-1][0] < size:
                closed += parts.pop()[1]
            if not closed or (parts and parts[-1][0] == size):
                return None
            parts.append((size, closed * size))
            section, least, pending = Fraction(0), 0, None
        else:
            return None
    before = least or (parts[-1][0] if parts and not section else 0)
    last = (pending or Fraction(0)) * (Fraction(before, 10) if scaled and before else 1)
    return sum((value for _, value in parts), section + last)


def _literal(whole: str, decimals: str) -> Fraction:
    digits = (whole + decimals).translate(_TO_ARABIC).replace(",", "")
    return Fraction(int(digits), 10 ** len(decimals))
