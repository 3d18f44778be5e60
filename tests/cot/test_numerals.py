"""Numerals in Chinese and English against writers of our own, and what is a whole number text."""

from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kb.cot import extract_number, parse_chinese, parse_number
from kb.cot.english_numerals import numbers_in_words

TRADITIONAL = str.maketrans("零一二三四五六七八九十百千万亿", "零壹貳參肆伍陸柒捌玖拾佰仟萬億")


def section(value: int) -> str:
    """0 to 9999, digit by digit, with 零 for gaps within; not the way the reader goes."""
    text, gap = "", False
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = value // unit % 10
        if digit:
            text += ("零" if gap and text else "") + "零一二三四五六七八九"[digit] + name
            gap = False
        else:
            gap = True
    return text


def chinese(value: int) -> str:
    """0 to 10^16 - 1, by sections of four digits."""
    if value == 0:
        return "零"
    text, below = "", False
    for unit, name in ((10**12, "万亿"), (10**8, "亿"), (10**4, "万"), (1, "")):
        part = value // unit % 10**4
        if part:
            name = "万" if unit == 10**12 and value // 10**8 % 10**4 else name
            text += ("零" if text and (part < 1000 or below) else "") + section(part) + name
        below = bool(text) and not part
    return text


def test_the_writer_is_right() -> None:
    written = [chinese(value) for value in (0, 10, 15, 305, 1005, 20000, 10**8 + 5, 10**12)]
    assert written == ["零", "一十", "一十五", "三百零五", "一千零五", "二万", "一亿零五", "一万亿"]


@given(st.integers(0, 10**12) | st.integers(0, 30_000))
@example(10**12)
@example(10**8 + 10**4)
@settings(max_examples=300)
def test_chinese_comes_back(value: int) -> None:
    for written in (chinese(value), chinese(value).translate(TRADITIONAL)):
        assert parse_chinese(written) == value
        assert parse_chinese("负" + written) == -value
        assert extract_number(f"答案是{written}个。") == value
    if 10 <= value < 20:
        assert parse_chinese(chinese(value).removeprefix("一")) == value


@given(st.integers(0, 10**8), st.integers(1, 10**6))
@settings(max_examples=50)
def test_chinese_fractions_come_back(above: int, below: int) -> None:
    assert parse_chinese(f"{chinese(below)}分之{chinese(above)}") == (above if below == 100 else Fraction(above, below))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("两万五", 25000),
        ("一百二", 120),
        ("三百零二", 302),
        ("三亿五", 350_000_000),
        ("三万五千二", 35200),
        ("十", 10),
        ("二百十五", 215),
        ("三十二点五", Fraction(65, 2)),
        ("一点五亿", 150_000_000),
        ("十二点五万", 125_000),
        ("百分之十二点五", Fraction(25, 2)),
        ("千分之五", Fraction(1, 200)),
        ("廿", 20),
        ("卅五", 35),
        ("千万", None),
        ("百", None),
        ("十百", None),
        ("一百三百", None),
        ("三十二百", None),
        ("一万三亿", 10_003 * 10**8),
        ("", None),
        ("苹果", None),
        ("三分之零", 0),
        ("零分之三", None),
        ("三苹果", None),
    ],
)
def test_chinese_by_hand(text: str, value: int | None) -> None:
    assert parse_chinese(text) == value


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("One hundred and five of them, forty-two more", [105, 42]),
        ("two thousand three hundred", [2300]),
        ("nineteen", [19]),
        ("twenty-five hundred", [2500]),
        ("three million and one", [3_000_001]),
        ("minus seven", [-7]),
        ("two three", []),
        ("a hundred", [100]),
        ("two thirds of it", [Fraction(2, 3)]),
        ("minus two and a half, four and a third of them", [Fraction(-5, 2), 4]),
        ("minus one dollar and five cents, nine dollars, fifty cents", [Fraction(-21, 20), 9, 50]),
        ("three and", [3]),
        ("someone, attend", []),
    ],
)
def test_english_words(text: str, values: list[Fraction | int]) -> None:
    assert numbers_in_words(text) == values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-$1,200.50", "-2401/2"),
        ("$-5", "-5"),
        ("50%", "50"),
        (" 1½ ", "3/2"),
        ("5.", "5"),
        ("５元", None),
        ("5€", "5"),
        ("12 km", None),
        ("3 4", None),
        ("", None),
        ("x", None),
    ],
)
def test_a_text_that_is_a_number_as_a_whole(text: str, value: str | None) -> None:
    assert parse_number(text) == (None if value is None else Fraction(value))
