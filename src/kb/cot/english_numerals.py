"""Numbers in English words, up to billions: twelve, forty-two, one hundred and five, two thousand.

Read only where no digits are: "one" is mostly a pronoun, and words are seldom how a model gives its answer.
"""

import re
from fractions import Fraction

# fmt: off
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
# fmt: on
_VALUES = {word: value for value, word in enumerate(_ONES)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}
SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}

_WORD = "|".join(sorted([*_VALUES, *SCALES], key=len, reverse=True))
_PARTS = ("half|halve", "third", "quarter|fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_PART = re.compile("[ -](?:" + "|".join(f"({part})" for part in _PARTS) + ")s?\\b", re.IGNORECASE)
_ONE = r"a (?=hundred|thousand|million|billion|trillion)"
_RUN = re.compile(
    rf"(?<![\w-])(?:(negative|minus) )?((?:{_ONE})?(?:{_WORD})(?:(?: and |-| )(?:{_WORD}))*+)(?![\w-])", re.IGNORECASE
)
_AND_PART = re.compile(r" and (?:a|one)[ -](?:(half)|(third)|(quarter))\b(?! of\b)", re.IGNORECASE)
_DOLLARS = re.compile(r" (?:dollars?|euros?|pounds?)(?:,? and)? ", re.IGNORECASE)
_CENTS = re.compile(r" (?:cents?|pence)\b(?![ -](?:coin|piece|stamp))", re.IGNORECASE)
_MOST_WORDS = 40


def numbers_in_words(text: str) -> list[Fraction]:
    """All numbers that words of ``text`` spell, in order; what is not well formed ("two three") is left out.

    >>> numbers_in_words("One hundred and five of them, and forty-two more")
    [Fraction(105, 1), Fraction(42, 1)]
    """
    found: list[Fraction] = []
    last_end = 0
    for match in _RUN.finditer(text):
        words = re.findall(_WORD, match[2].lower())
        value = _value(["one", *words] if match[2][:2].lower() == "a " else words)
        if value is not None:
            part = _PART.match(text, match.end())
            below = (part.lastindex or 0) + 1 if part else 1
            size = Fraction(value, below)
            if more := _AND_PART.match(text, match.end()):  # three and a half
                size += Fraction(1, (more.lastindex or 0) + 1)
            dollars = _DOLLARS.fullmatch(text, last_end, match.start())
            if found and dollars and value < 100 and _CENTS.match(text, match.end()):  # one dollar and fifty cents
                found[-1] += size / (-100 if found[-1] < 0 else 100)
            else:
                found.append(-size if match[1] else size)
            last_end = match.end()
    return found


def _value(words: list[str]) -> int | None:
    if len(words) > _MOST_WORDS:
        return None
    total, section, room = 0, 0, 10**18  # room: what comes next must be smaller
    bound = 10**18
    for word in words:
        if word == "hundred":
            if not 0 < section < 100:
                return None
            section, room = 100 * section, 100
        elif word in SCALES:
            if section == 0 or SCALES[word] >= bound:
                return None
            total, section, bound, room = total + section * SCALES[word], 0, SCALES[word], 10**18
        else:
            value = _VALUES[word]
            if value >= room:
                return None
            section, room = section + value, 10 if value >= 20 else 0
    return total + section
