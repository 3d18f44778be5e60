"""Quality and repetition rules by hand, personal data, contamination, the pipeline."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.corpus import (
    THRESHOLDS,
    Decontaminator,
    Drop,
    GopherRules,
    Overlap,
    Step,
    c4_clean,
    find_pii,
    gopher_failures,
    is_identity_number,
    redact,
    repetition_failures,
    repetition_fractions,
    run_pipeline,
)

PROSE = "The night was cold, and the river that ran below the house had frozen to the far bank. " * 3 + "Nobody came."


def test_prose_passes_and_each_rule_can_fail() -> None:
    assert gopher_failures(PROSE) == {}
    assert set(gopher_failures("the and " * 10)) == {"words"}
    assert set(gopher_failures("the and " + "incomprehensibilities " * 60)) == {"word length"}
    assert set(gopher_failures("the of #tag " * 30)) == {"hash signs"}
    assert set(gopher_failures("the of tag... " * 30)) == {"ellipses", "line ellipses"}
    assert set(gopher_failures("\n".join(["- the words of houses"] * 20))) == {"bullets"}
    assert set(gopher_failures("the 1234 of 5678 99 " * 20)) == {"alphabetic"}
    assert gopher_failures("words without such a thing " * 20) == {"stop words": 0.0}
    assert gopher_failures("short and to", GopherRules(words=(1, 10))) == {}


def test_chinese_fails_by_word_length_unless_it_is_cut() -> None:
    text = "这家酒店的房间很大，早餐也不错，下次还会再来住。" * 5
    assert "word length" in gopher_failures(text)
    fitting = GopherRules(words=(20, 100_000), word_length=(1, 3), least_stop_words=1, stop_words=("的", "了", "是"))
    assert gopher_failures(text, fitting, words=list) == {}


def test_c4_by_hand() -> None:
    lines = ["Home", "First one here. Second one here!", "Please enable JavaScript to go on."]
    page = "\n".join([*lines, "Third one here? Fourth one, too.", "No end", "Oh no.", "Fifth one here."])
    text, taken = c4_clean(page)
    assert text == "First one here. Second one here!\nThird one here? Fourth one, too."
    assert taken["no end mark"] == 2
    assert (taken["javascript"], taken["few words"]) == (1, 2)
    assert c4_clean(page, least_sentences=5) == ("", taken | {"few sentences": 1})
    assert c4_clean(page, least_sentences=5, least_words=3)[0].endswith("\nFifth one here.")
    assert c4_clean("int main() { }")[0] == c4_clean("Lorem ipsum dolor.")[0] == c4_clean("One here now.")[0] == ""
    assert c4_clean("One here now.", least_sentences=1, least_words=3)[0] == "One here now."


def test_repetition_by_hand() -> None:
    found = repetition_fractions("a b\na b\nc d\ne f")
    assert found["duplicate lines"] == 0.25
    assert found["characters in duplicate lines"] == 0.25
    # "a b" occurs twice: 4 of 8 characters.
    assert found["top 2-gram"] == 0.5
    assert found["duplicate 5-grams"] == 0
    words = "q w e r t y " * 2
    assert repetition_fractions(words)["duplicate 5-grams"] == 1
    assert repetition_fractions(words)["duplicate 7-grams"] == 0
    assert set(found) == set(THRESHOLDS)
    assert repetition_failures("every word here differs from all others") == {}
    assert "top 2-gram" in repetition_failures("buy now " * 30)
    # "a b" comes three times and "longer words" twice: the most frequent counts, 6 of 32 characters.
    assert repetition_fractions("a b 1 a b 2 a b 3 longer words 4 longer words")["top 2-gram"] == pytest.approx(6 / 32)


@settings(max_examples=40)
@given(st.lists(st.sampled_from("abc"), max_size=40))
def test_fractions_are_fractions(letters: list[str]) -> None:
    found = repetition_fractions(" ".join(letters))
    assert all(0 <= value <= 1 for value in found.values())
    repeated = [found[f"duplicate {n}-grams"] for n in range(5, 11)]
    assert repeated == sorted(repeated, reverse=True)


def test_identity_numbers_have_a_date_and_a_check_digit() -> None:
    assert is_identity_number("11010519491231002X")  # the example of GB 11643
    assert is_identity_number("11010519491231002x")
    assert not is_identity_number("110105194912310021")
    assert not is_identity_number("11010519491331002X")
    body = "44052418800101001"
    assert sum(is_identity_number(body + last) for last in "0123456789X") == 1


def test_personal_data_by_hand() -> None:
    text = (
        "Write to ann.lee@mail.example.org or call +1 415-555-0100, 13800138000; id 11010519491231002X; from 8.8.8.8."
    )
    redacted, counts = redact(text)
    chinese = "写信到li.na@example.cn或打13800138000，座机010-62345678转分机，号(555) 123-4567。"
    assert redact(chinese)[0] == "写信到<email>或打<mobile>，座机<phone>转分机，号<phone>。"
    assert redacted == "Write to <email> or call <phone>, <mobile>; id <identity>; from <ip>."
    assert sum(counts.values()) == 5
    assert [one.kind for one in find_pii(text)] == ["email", "phone", "mobile", "identity", "ip"]
    for harmless in ("192.168.0.1", "version 1.2.3.4.5", "999.1.1.1", "12345678901234567890", "a@b", "3.14159 26535"):
        assert redact(harmless)[0] == harmless


@settings(max_examples=40)
@given(st.text(alphabet="0123456789 .-@abX+()", max_size=60))
def test_redacting_twice_changes_nothing(text: str) -> None:
    once = redact(text)[0]
    assert redact(once)[0] == once
    found = find_pii(text)
    assert all(one.end <= other.start for one, other in itertools.pairwise(found))


def test_contamination_by_hand() -> None:
    checker = Decontaminator(["The quick brown fox jumps over it.", "short one"], 4)
    assert checker.contaminates("A QUICK, brown fox jumps away") == [0]
    assert checker.contaminates("a short one") == [1]
    assert checker.contaminates("quick brown fox") == []
    assert checker.overlaps() == [Overlap(7, 4), Overlap(2, 2)]
    assert checker.overlaps()[0].share == pytest.approx(4 / 7)
    chinese = Decontaminator(["小明有五个苹果"], 4)
    assert chinese.contaminates("我知道小明有五本书") == [0]


def without_copies(texts: list[str]) -> list[str | Drop]:
    return [Drop("copy") if text in texts[:at] else text for at, text in enumerate(texts)]


def test_pipeline_counts() -> None:
    steps = [
        Step("short", each=lambda text: Drop("too short") if len(text) < 2 else text),
        Step("upper", each=str.upper),
        Step(
            "same", whole=lambda texts: [Drop("copy") if text in texts[:at] else text for at, text in enumerate(texts)]
        ),
    ]
    found = run_pipeline(["a", "bb", "BB", "ccc"], steps)
    assert found.texts == ("BB", "CCC")
    assert found.sources == (1, 3)
    assert [one.documents for one in found.reports] == [(4, 3), (3, 3), (3, 2)]
    assert found.reports[0].reasons == {"too short": 1}
    assert found.reports[1].changed == 2
    assert found.reports[2].characters == (7, 5)
    assert "copy 1" in found.table()


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        Step("x")
    with pytest.raises(RuntimeError, match="'boom' failed on document 1"):
        run_pipeline(["1", "x"], [Step("boom", each=lambda text: str(int(text)))])
    with pytest.raises(ValueError, match="answer for 2"):
        run_pipeline(["a", "b"], [Step("w", whole=lambda texts: texts[:1])])
    with pytest.raises(RuntimeError, match=r"'w' failed: .*index"):
        run_pipeline(["a"], [Step("w", whole=lambda texts: [texts[7]])])
    with pytest.raises(TypeError, match="text or a Drop"):
        run_pipeline(["a"], [Step("n", each=lambda text: None)])  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match=r"texts\[0\]"):
        run_pipeline([1], [])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"items\[0\]"):
        Decontaminator(["!!"])
    with pytest.raises(TypeError, match="items"):
        Decontaminator("one text")
    for call in (gopher_failures, c4_clean, repetition_fractions, find_pii):
        with pytest.raises(TypeError, match="string"):
            call(3)  # type: ignore[operator]
