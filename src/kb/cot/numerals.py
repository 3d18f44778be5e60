"""All numbers that a text writes, as exact fractions: 1,234.50, -3/4, 1 1/2, ½, $5, 50%, 1.2×10^3, 3 million, 三百二.

One scan from left to right. What looks like a number and is none (a date, a clock time or ratio such as 3:30, a version
1.2.3, an irrational 2√3) is met with the value None; digits within a name (abc123, x_1) or an exponent of a unit (m^2)
are passed over. A number is weak where it rather names than counts: the marker of a list, an ordinal (3rd, 第三), a
step's number, a single Chinese character (一 of 一共).

Rules that others might set otherwise: 50% is 50, unless percentages are asked for as values (1/2); 3,5 is two numbers,
as a comma alone is no decimal point (1.234,56 is read); 10-15 is two positive numbers; 24/7 is a fraction; 3 dollars
and 50 cents is 3.50, but 7 dozen is 7, since problems of GSM8K ask for dozens, and graders of it read 7. Unusual:
nothing backtracks over digits, so the time is linear in the text, and a number of more than 4,000 digits is not read.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from kb.cot.characters import in_ascii
from kb.cot.chinese_numerals import CHARACTERS, parse_chinese
from kb.cot.chinese_numerals import DIGITS as CHINESE_DIGITS
from kb.cot.english_numerals import SCALES
from kb.cot.latex import MIXED, plain

MOST_DIGITS = 4000

_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec)[a-z]{0,6}"
_NO_NUMBER = re.compile(
    rf"""(?<![0-9.])(?:
    [0-9]++(?:\.[0-9]++){{2,}}+                                               # version, address
    | [0-9]++(?:\.[0-9]++)?+(?::[0-9]++)++                                    # clock time, ratio
    | [12][0-9]{{3}}-[0-9]{{1,2}}-[0-9]{{1,2}}(?![0-9])                     # 2024-05-01
    | [0-9]++(?:/[0-9]++){{2,}}+                                              # 5/1/2024, 1/2/3
    | [0-9]{{1,2}}(?:st|nd|rd|th)?[ ]{_MONTH},?[ ][12][0-9]{{3}}(?![0-9])     # 1 May 2024
    | (?:[0-9]{{4}}年)?[0-9]{{1,2}}月[0-9]{{1,2}}[日号號] | [0-9]{{4}}年[0-9]{{1,2}}月
    ) | \b{_MONTH}\.?[ ](?:[0-9]{{1,2}}(?:st|nd|rd|th)(?:,?[ ][12][0-9]{{3}})?|[0-9]{{1,2}},[ ][12][0-9]{{3}})(?![0-9])
    """,
    re.VERBOSE,
)
_MASK = "\x01"
# 1.234,56 can be nothing else.
_CONTINENTAL = re.compile(r"(?<![0-9.,])([1-9][0-9]{0,2}(?:\.[0-9]{3})++),([0-9]{1,2})(?![0-9.,][0-9]|[0-9])")

# 3 dollars and 50 cents, $3 and 50 cents, 3元5角; a unit or a sign of currency must be there.
_CENTS = re.compile(
    r"(?<![0-9.,])([1-9][0-9]{0,2}(?:,[0-9]{3})++|[0-9]++)([ ](?:dollars?|euros?|pounds?))?(,?[ ]and)?[ ]"
    r"([0-9]{1,2})[ ](?:cents?|pence)\b(?![ -](?:coin|piece|stamp))",
    re.IGNORECASE,
)
_JIAO = re.compile(r"(?<![0-9.,])([0-9]++)([元块塊])([0-9])[角毛](?:([0-9])分)?")
# 3 and a half; but not in: 5, and a third of them.
_AND_PART = re.compile(r"(?<=[0-9])[ ]and[ ](?:a|one)[ -](?:(half)|(third)|(quarter))\b(?![ ]of\b)", re.IGNORECASE)

_DIGITS = "(?:[1-9][0-9]{0,2}(?:[,'’_\u2009\u202f\u00a0][0-9]{3}(?![0-9]))++|[0-9]++)"
_ARABIC = rf"(?>{_DIGITS}(?:\.[0-9]++)?)"
_UNIT_AFTER = "克米瓦卡赫帕焦"  # 千克 is a kilogram
_UNITLESS = CHARACTERS.replace("千", "").replace("仟", "")
_POINT = f"[点點](?=[{''.join(CHINESE_DIGITS)}0-9])"
_CHINESE = f"(?:(?:[{_UNITLESS}]|[千仟](?![{_UNIT_AFTER}])|{_POINT})(?!半))"
_RUN = rf"(?>(?:{_ARABIC}|{_CHINESE})++)"
_NUMBER = re.compile(
    rf"""
    (?P<chinese> (?:{_RUN}又)?{_RUN}分之{_RUN} | (?>{_ARABIC}[ ]?)?+{_CHINESE}(?:{_ARABIC}|{_CHINESE})*+ )
    | (?:{MIXED}(?P<only_above>{_DIGITS})/(?P<only_below>{_DIGITS}))
    | (?P<number> {_ARABIC} | (?<![0-9.])\.[0-9]++ )
      (?: (?P<mixed>[ ]?{MIXED}|[ ])(?P<above>[0-9]++)/(?P<below>[0-9]++)(?![0-9/])
        | [ ]?/[ ]?(?P<over>[0-9]++(?:\.[0-9]++)?)(?![0-9/])
        | [eE](?P<exponent>[-+]?[0-9]++)(?![0-9A-Za-z])
        | [ ]?[×*xX][ ]?10[ ]?(?:\^|\*\*)[ ]?[{{(]?(?P<ten_exponent>[-+]?[0-9]++)[)}}]?
        | [ ]?(?:\^|\*\*)[ ]?[{{(]?(?P<power>[-+]?[0-9]++)[)}}]?
      )?
    | (?P<none>{_MASK})
    """,
    re.VERBOSE,
)
_AFTER = re.compile(
    rf"(?P<permille>[ ]?‰)|(?P<short>(?:[kmb]|bn)\b)"
    rf"|(?P<scale>[ -]?(?:{'|'.join(SCALES)})\b)?(?P<percent>[ ]?%|[ ]percent\b|[ ]per[ ]cent\b)?",
    re.IGNORECASE,
)
_SHORT = {"k": 10**3, "m": 10**6, "b": 10**9, "bn": 10**9}
_CURRENCY = "$€£¥￥₹₩₽฿"
_LABEL = re.compile(r"(?:\b(?:step|part|case|question|problem|option|no\.)|步骤|步驟|第|[^\W\d_]-)[ ]?$", re.I)
# "- 5" is negative only where nothing could be subtracted from, and no list begins.
_SPACED_SIGN = re.compile(r"(?:[=(:≈][ ]*)(-[ ])$|(?:^|[^\w])(negative[ ])$|(?:^|[^\d ][ ])(minus[ ])$", re.IGNORECASE)
_MARKER = re.compile(r"[.)、][ \t]+[^\s=]|[.)、][ \t]*\*\*|、")


@dataclass(frozen=True)
class Mention:
    """One number of a text: its value (None where it only looks like one), where it stands, and whether it is weak.

    ``start`` and ``end`` are places in :func:`readable` of the text; sign and currency are part of the mention.
    """

    value: Fraction | None
    start: int
    end: int
    weak: bool = False


def readable(text: str) -> str:
    """The text as it is scanned: ASCII digits and signs, LaTeX made plain, dates and times masked."""
    written = _CONTINENTAL.sub(lambda match: match[1].replace(".", "") + "." + match[2], plain(in_ascii(text)))
    written = _JIAO.sub(lambda match: f"{match[1]}.{match[3]}{match[4] or ''}{match[2]}", _CENTS.sub(_cents, written))
    written = _AND_PART.sub(lambda match: f"{MIXED}1/{(match.lastindex or 0) + 1}", written)
    return _NO_NUMBER.sub(_MASK, written)


def mentions(text: str, *, percent_as_value: bool = False) -> Iterator[Mention]:
    """The numbers of a text that :func:`readable` gave, from left to right."""
    for match in _NUMBER.finditer(text):
        start = match.start()
        negative, begin, currency = _sign(text, start)
        if _in_a_name(text, begin, start):
            continue
        value, end = _value(match, text, percent_as_value=percent_as_value, currency=currency)
        if text[end : end + 1] in ("√", "π", "^") or text[max(start - 2, 0) : start].strip()[-1:] in ("√", "±"):
            value = None
        if value is not None and negative:
            value = -value
        yield Mention(value, begin, end, _is_weak(match, text, begin, end))


def _cents(match: re.Match[str]) -> str:
    whole, unit, joined, cents = match.groups()
    signed = match.string[: match.start()][-2:].rstrip(" ")[-1:] in tuple(_CURRENCY)
    if not unit and not (signed and joined):
        return match[0]
    return f"{whole}.{cents:0>2}{unit or ''}"


def parse_number(text: str, *, percent_as_value: bool = False) -> Fraction | None:
    """The number that ``text`` is as a whole, with sign, currency and percent sign; None where it is more or less.

    >>> parse_number("-$1,200.50"), parse_number("1½"), parse_number("12 km")
    (Fraction(-2401, 2), Fraction(3, 2), None)
    """
    whole = readable(text.strip()).strip()
    first = next(mentions(whole, percent_as_value=percent_as_value), None)
    alone = first is not None and first.start == 0 and whole[first.end :].strip() in ("", ".", *_CURRENCY)
    return first.value if first is not None and alone else None


def _sign(text: str, start: int) -> tuple[bool, int, bool]:
    """Whether a number that starts there is negative, where sign and currency start, and whether it has a currency."""
    place = start - 1 if text[start - 1 : start] == MIXED else start
    place, currency = _before_currency(text, place)
    before = text[max(place - 12, 0) : place]
    if not before:
        return False, place, currency
    if before[-1] in "-+":
        left, further = before[-2:-1] or " ", before[-3:-2]
        attached = left in f")]%{_MASK}" or (left.isalnum() and left.isascii())
        binary = left == " " and (further.isdigit() or further in tuple(")]%"))
        if attached or binary:
            return False, place, currency
        start, dollar = _before_currency(text, place - 1)
        return before[-1] == "-", start, currency or dollar
    if before[-1] in "负負" or before.endswith("零下"):
        return True, place - 1, currency
    spaced = _SPACED_SIGN.search(before)
    return spaced is not None, place - (len(spaced[spaced.lastindex or 0]) if spaced else 0), currency


def _before_currency(text: str, place: int) -> tuple[int, bool]:
    """Where a currency stands before ``place``, or ``place``."""
    before = text[max(place - 2, 0) : place].rstrip(" ")[-1:]
    if before and before in _CURRENCY:
        return text.rindex(before, 0, place), True
    return place, False


def _in_a_name(text: str, begin: int, start: int) -> bool:
    if start == 0:
        return False
    char = text[start - 1]
    if char in "_^" or (char == "/" and text[start - 2 : start - 1] not in (" ", "")):
        return True
    if begin < start or not char.isalpha() or ord(char) >= 0x2E80:
        return False
    return not (char in "xX" and text[start - 2 : start - 1].isdigit())


def _is_weak(match: re.Match[str], text: str, begin: int, end: int) -> bool:
    if match["chinese"] is not None and len(match["chinese"]) == 1:
        return True
    if text[end : end + 2].lower() in ("st", "nd", "rd", "th") and not text[end + 2 : end + 3].isalpha():
        return True
    if _LABEL.search(text, max(begin - 12, 0), begin):
        return True
    line = text[max(begin - 4, 0) : begin].rpartition("\n")[2] if "\n" in text[max(begin - 4, 0) : begin] else None
    at_line_start = (line is not None and not line.strip("( *")) or (begin <= 2 and not text[:begin].strip("( *"))
    return at_line_start and _MARKER.match(text, end) is not None


def _value(match: re.Match[str], text: str, *, percent_as_value: bool, currency: bool) -> tuple[Fraction | None, int]:
    """What a match is worth before its sign, and where it ends with what scales it."""
    if match["none"]:
        return None, match.end()
    end = match.end()
    if match["chinese"] is not None:
        written = match["chinese"].replace(" ", "")
        value = parse_chinese(written)
        percent = written.startswith("百分之") or text[end : end + 1] == "%"
        end += text[end : end + 1] == "%"
        return (value / 100 if percent and percent_as_value and value is not None else value), end
    value = _arabic(match)
    after = _AFTER.match(text, end)
    if value is None or after is None:
        return value, end
    if after["short"] and not currency:
        return value, end
    if after["scale"]:
        value *= SCALES[after["scale"].strip(" -").lower()]
    if after["short"]:
        value *= _SHORT[after["short"].lower()]
    if after["permille"]:
        value /= 1000
    if after["percent"] and percent_as_value:
        value /= 100
    return value, after.end()


def _arabic(match: re.Match[str]) -> Fraction | None:
    parts = match.groupdict()
    if match.end() - match.start() > MOST_DIGITS:
        return None
    if parts["only_above"]:
        return _quotient(_decimal(parts["only_above"]), _decimal(parts["only_below"]))
    value = _decimal(parts["number"])
    if parts["above"]:
        fraction = _quotient(_decimal(parts["above"]), _decimal(parts["below"]))
        return None if fraction is None else value + fraction
    if parts["over"]:
        return _quotient(value, _decimal(parts["over"]))
    shift = parts["exponent"] or parts["ten_exponent"]
    if shift:
        small = len(shift) < 6 and abs(int(shift)) + len(parts["number"]) <= MOST_DIGITS
        return value * Fraction(10) ** int(shift) if small else None
    if parts["power"]:
        power = parts["power"]
        small = len(power) < 6 and abs(int(power)) * len(parts["number"]) <= MOST_DIGITS
        return value ** int(power) if small and (value or int(power) > 0) else None
    return value


def _quotient(above: Fraction, below: Fraction) -> Fraction | None:
    return above / below if below else None


def _decimal(written: str) -> Fraction:
    return Fraction(re.sub("[,'’_\u2009\u202f\u00a0]", "", written))
