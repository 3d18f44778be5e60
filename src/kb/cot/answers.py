r"""The final answer in a model's output: a number, a choice, a word; and whether two answers are the same.

Where an answer is looked for, in this order, the last of each kind first: after ``####`` (GSM8K); in ``\boxed{}``;
after words that announce it ("the answer is", "Answer:", 答案是, 答：); in the last line with a number, where it stands
in bold; and else the last number of the text (of its last 20,000 characters), and not that of an aside in parentheses
with which its line ends. A place that holds no number is passed over for the next.

What is unusual is what one place is worth. Of "3 + 4 = 7" it is 7, of "5 of the 10" it is 5 (the first number), and
of "10 to 15", "5 or 6", "20 - 5", "3:30", "5 feet 6 inches" or "2√3", which hold numbers and yet are no one number, it
is None: a grader that took one of them would be guessing. :mod:`kb.cot.numerals` says how numbers are read: 50% is 50.

Sources: Cobbe et al. 2021 (arXiv 2110.14168), ####; Hendrycks et al. 2021 (2103.03874), boxes; Wei et al. 2022
(2201.11903), "The answer is".
"""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

from kb.cot.announcements import after_hashes, announced, clauses
from kb.cot.characters import in_ascii
from kb.cot.english_numerals import numbers_in_words
from kb.cot.latex import UNREAD, last_box, plain
from kb.cot.numerals import Mention, mentions, parse_number, readable

# What may stand between two numbers that are then no one number; a word (a unit) may come first.
_JOINED = re.compile(
    r"\s?(?:[A-Za-z°%]{1,12}\s?)?(?:[-+*/×÷~±]|to|and|till|到|至|和)\s?[(]?"
    r"|\s?(?:years?|weeks?|days?|hours?|hrs?|minutes?|mins?|feet|foot|ft|pounds?|lbs?)\s"  # 5 feet 6 inches
    r"|\s?个?(?:小时|小時|分钟|分鐘|天|米)\s?"
)
_OR = re.compile(r"\bor\b|或")
_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*")
_AFTER_LETTER = r"(?:or|and|nor|not|is|was|as|because|since)\b"  # the A before one of these is a choice, no article
_MINUS_FIRST = re.compile(r"^[-−]\s+(?=[$€£¥0-9.])")
_SPACED = re.compile(r"^[-−$€£¥]{0,2} ?[1-9][0-9]{0,2}(?: [0-9]{3})+(?![0-9])")  # 1 234 567
_THOUSANDS = re.compile(r"(?<![0-9.,])[1-9][0-9]{0,2}(?: [0-9]{3}){0,4} 0[0-9]{2}(?: [0-9]{3}){0,4}(?![0-9])")  # 1 000
_ASIDE = re.compile(r"\s?\([^()]{1,200}\)[\s.]*$")
_LIST = re.compile(r"[\s\[\](){}$.*]*(?:(?:[,;、，和]|and)[\s\[\](){}$.*]*)+")
# No number is longer than the 4,000 digits that are read; a place that goes on and on is prose.
_LONGEST_PLACE = 5_000
_LONGEST_TAIL = 20_000
_SPACE = re.compile(r"\s+")


def extract_number(text: str, *, percent_as_value: bool = False) -> Fraction | None:
    r"""The number that ``text`` gives as its answer, exactly, or None.

    Args:
        text: A model's output, without its prompt.
        percent_as_value: Read 50% as 1/2 rather than as 50.

    Raises:
        TypeError: the text is none.

        >>> extract_number("3 + 4 = 7. The answer is $1,200.50."), extract_number(r"\boxed{\frac{3}{4}}")
        (Fraction(2401, 2), Fraction(3, 4))
    """
    _require_text(text)
    for place in _marked(text):
        found, value = _number_of(place, percent_as_value)
        if found:
            return value
    return _last_number(text, percent_as_value)


def extract_choice(text: str, choices: str = "ABCDE") -> str | None:
    r"""The letter that ``text`` chooses, or None: "(C)", "C", ``\boxed{\text{C}}``, "the answer is c", 选C.

    Of two letters in one answer ("A or B") none is chosen. Without an announcement, the last letter in parentheses or
    in bold counts, then the last capital that stands alone; "A" or "I" before a small letter is a word.

    Args:
        text: A model's output.
        choices: The letters there are, capital.

    Raises:
        TypeError: an argument is no text.
        ValueError: the choices are not distinct capital letters.
    """
    _require_text(text)
    if not isinstance(choices, str):
        raise TypeError(f"choices must be text, got {type(choices).__name__}")
    if not re.fullmatch("[A-Z]+", choices) or len(set(choices)) != len(choices):
        raise ValueError(f"choices must be distinct capital letters such as ABCDE, got {choices!r}")
    word = re.compile(rf"(?<![A-Za-z0-9'’])([{choices}])(?![A-Za-z0-9'’])(?!(?<=[AI])\s(?!{_AFTER_LETTER})[a-z])")
    for place in _marked(text):
        for clause in clauses(plain(in_ascii(place))):
            letters = set(word.findall(clause))
            small = re.match(rf"\W*([{choices.lower()}])\W*$", clause)
            if letters or small:
                return None if len(letters) > 1 else letters.pop() if letters else small[1].upper() if small else None
    whole = in_ascii(text)
    framed = re.findall(rf"\(([{choices}])\)|\*\*\(?([{choices}])\)?[.:]?\*\*", whole)
    if framed:
        return framed[-1][0] or framed[-1][1]
    small = re.fullmatch(rf"\W*([{choices.lower()}])\W*", whole)
    alone = word.findall(whole)
    return alone[-1] if alone else small[1].upper() if small else None


def extract_text(text: str, options: Sequence[str] = ("yes", "no")) -> str | None:
    """Which of some words or phrases ``text`` answers, as it stands in ``options``; None if none.

    An announced answer counts by the option that comes first in it; else the last option in the text does. Capitals
    do not matter, and an option within a longer word is none ("no" in "know"), but for Chinese (是 in 是的).

    Args:
        text: A model's output.
        options: What may be answered; where one begins with another, the longer is meant.

    Raises:
        TypeError: the text is none, or an option is none.
        ValueError: there are no options, or one is empty.
    """
    _require_text(text)
    if isinstance(options, str) or not all(isinstance(option, str) for option in options):
        raise TypeError(f"options must be a sequence of texts, got {options!r}")
    if not options or not all(option.strip() for option in options):
        raise ValueError(f"options must hold at least one text and none that is empty, got {options!r}")
    by_text = {normalised(option): option for option in options}
    longest_first = sorted(by_text, key=len, reverse=True)
    word = re.compile("|".join(rf"{_edge(one[0], '<!')}{re.escape(one)}{_edge(one[-1], '!')}" for one in longest_first))
    for place in _marked(text):
        found = word.search(_SPACE.sub(" ", plain(in_ascii(place)).casefold()))
        if found:
            return by_text[found[0]]
    everywhere = word.findall(_SPACE.sub(" ", plain(in_ascii(text)).casefold()))
    return by_text[everywhere[-1]] if everywhere else None


def same_answer(a: object, b: object) -> bool:
    """Whether two answers are equal: numbers exactly, texts but for capitals, spaces and marks at their ends.

    A text that is a number as a whole equals that number ("1,200" and 1200; "0.50" and 1/2); a float is what it is
    written as (0.1 is 1/10). None, where nothing was answered, is the same as nothing, not even as None.

    Raises:
        TypeError: an answer is neither number nor text nor None.
    """
    left, right = _comparable(a), _comparable(b)
    return left is not None and left == right


def normalised(text: str) -> str:
    """A text as it is compared: ASCII where it can be, folded, single spaces, no marks at its ends."""
    return _SPACE.sub(" ", plain(in_ascii(text)).casefold()).strip(" .。!！?？,，;；:：\"'“”‘’()*`")


def _comparable(answer: object) -> Fraction | str | None:
    if answer is None:
        return None
    if isinstance(answer, bool) or not isinstance(answer, str | int | float | Fraction):
        raise TypeError(f"an answer must be a number, a text or None, got {answer!r}")
    if isinstance(answer, str):
        number = parse_number(answer)
        return normalised(answer) if number is None else number
    if isinstance(answer, float):
        written = repr(float(answer))  # numpy's are floats too, and write their type
        return Fraction(written) if answer - answer == 0 else written
    return Fraction(answer)


def _marked(text: str) -> Iterator[str]:
    """The places at which an answer is said to stand, best first."""
    for place in (after_hashes(text), last_box(text)):
        if place is not None:
            yield place[:_LONGEST_PLACE]
    for place in announced(text):
        yield place[:_LONGEST_PLACE]


def _number_of(place: str, percent_as_value: bool) -> tuple[bool, Fraction | None]:
    """Whether a place holds anything like a number, and the number that it is."""
    place = _MINUS_FIRST.sub("-", place.strip())
    place = readable(_SPACED.sub(lambda match: match[0].replace(" ", ""), place))
    if _is_list(place):
        return True, None
    for clause in clauses(place):
        if UNREAD in clause[max(clause.rfind("="), clause.rfind("≈")) + 1 :]:
            return True, None
        found = list(mentions(clause, percent_as_value=percent_as_value))
        equals = max(clause.rfind("="), clause.rfind("≈"))
        for choice in _OR.finditer(clause):
            if found and found[0].end <= choice.start() and choice.end() <= found[-1].start:
                return True, None
        after = [mention for mention in found if mention.start > equals]
        if chosen := (after or found):
            return True, _one_of(clause, chosen)
        if words := numbers_in_words(clause):
            return True, words[0]
    return False, None


def _is_list(place: str) -> bool:
    """Whether a place is several numbers and nothing else: (3, 4), or 1, 2 and 3."""
    found = list(mentions(place))
    if len(found) < 2:
        return False
    ends = [0, *(mention.end for mention in found)]
    starts = [*(mention.start for mention in found), len(place)]
    gaps = [place[end:start] for end, start in zip(ends, starts, strict=True)]
    return all(_LIST.fullmatch(gap) for gap in gaps[1:-1]) and not (gaps[0] + gaps[-1]).strip(" []()$.*")


def _one_of(clause: str, found: Sequence[Mention]) -> Fraction | None:
    """The first number of a clause that counts, or None where it is joined to another."""
    first = found[0].start == 0 and clause[0].isascii()  # as 5 in "5th of 8", but not 一 in 一共8个
    strong = found if first else [mention for mention in found if not mention.weak] or found
    if len(strong) > 1 and _JOINED.fullmatch(clause, strong[0].end, strong[1].start):
        return None
    return strong[0].value


def _last_number(text: str, percent_as_value: bool) -> Fraction | None:
    weak: Fraction | None = None
    for line in reversed(text[-_LONGEST_TAIL:].splitlines()):
        found = _counting(_ASIDE.sub("", line), percent_as_value) or _counting(line, percent_as_value)
        strong = next((mention.value for mention in reversed(found) if not mention.weak), None)
        if weak is None and found:
            weak = found[0].value
        if strong is not None:
            bold = [parse_number(part, percent_as_value=percent_as_value) for part in _BOLD.findall(line)]
            return next((value for value in reversed(bold) if value is not None), strong)
    if weak is not None:
        return weak
    words = [number for number in numbers_in_words(text[-_LONGEST_TAIL:]) if number != 1]  # "no one", "which one"
    return words[-1] if words else None


def _counting(line: str, percent_as_value: bool) -> list[Mention]:
    """The mentions of a line that are numbers."""
    scanned = readable(_THOUSANDS.sub(lambda match: match[0].replace(" ", ""), line))
    return [one for one in mentions(scanned, percent_as_value=percent_as_value) if one.value is not None]


def _edge(char: str, kind: str) -> str:
    """A look to one side of a word for letters that would continue it; Chinese has no such edges."""
    return rf"(?{kind}\w)" if char.isalnum() and ord(char) < 0x2E80 else ""


def _require_text(text: object) -> None:
    if not isinstance(text, str):
        raise TypeError(f"text must be a text, got {type(text).__name__}")
