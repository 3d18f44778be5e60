"""Streamed text is decoded text; stop strings end it wherever the tokens fall; nothing is shown that is taken back."""

import random
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models

from kb import checkpoints
from kb.serving.detokenizer import DecodeStream, Detokenizer, decode_token
from kb.serving.sampling_params import SamplingParams

SPECIAL = 300
PIECES = {301: b"a\xf0", 302: b"\x9f\x98", 303: "中".encode()}
TEXTS = [
    "Hello 😀 world!\r\n",
    "世界，你好。",
    "naïve café – Ünder",
    "👩‍👩‍👧‍👦🇩🇪",
    "مرحبا",
    "a\ufffdb",
    "<|im_start|>user\n",
    "   x\t",
]


class Bytes:
    """A tokenizer with one token a byte, one special token, some of several bytes, and no other."""

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
        pieces = []
        for one in ids:
            if one > max(PIECES):
                raise ValueError(f"id {one} is not in the vocabulary")
            special = b"" if skip_special_tokens else b"<end>"
            pieces.append(special if one == SPECIAL else PIECES.get(one) or bytes([one]))
        return b"".join(pieces).decode("utf-8", errors="replace")


@pytest.fixture(scope="module")
def tokenizer() -> checkpoints.Tokenizer:
    return checkpoints.load("smollm2-135m").tokenizer


@pytest.fixture(scope="module")
def cut(tokenizer: checkpoints.Tokenizer) -> list[int]:
    """Tokens that end within a character."""
    return [one for one in range(tokenizer.vocab_size) if tokenizer.decode([one]).endswith("\ufffd")]


def streamed(stream: DecodeStream, ids: Iterable[int]) -> list[str]:
    return [stream.push(one) for one in ids]


PARTS = st.sampled_from([0xF0, 0x9F, 0x98, 0x80, 0xE4, SPECIAL, *PIECES])
BYTES = st.lists(st.one_of(st.integers(0, 255), PARTS), max_size=60)


@settings(max_examples=400)
@given(ids=BYTES, skip=st.booleans())
def test_any_bytes_stream_to_what_they_decode_to(ids: list[int], skip: bool) -> None:
    stream = DecodeStream(Bytes(), skip_special_tokens=skip)
    text = "".join(streamed(stream, ids))
    assert text + stream.unfinished == Bytes().decode(ids, skip_special_tokens=skip)
    assert stream.unfinished in ("", "\ufffd", "\ufffd\ufffd", "\ufffd\ufffd\ufffd")


@pytest.mark.parametrize("before", range(12, 24))
def test_a_long_window_is_not_cut_within_a_character(before: int) -> None:
    ids = [*[301] * before, 302, 0x80]  # no token before the last one ends between characters
    assert "".join(streamed(DecodeStream(Bytes()), ids)) == "a\ufffd" * (before - 1) + "a😀"


@settings(max_examples=100)
@given(text=st.text())
def test_no_half_character_of_a_valid_text_is_shown(text: str) -> None:
    shown = ""
    stream = DecodeStream(Bytes())
    for one in text.encode():
        shown += stream.push(one)
        assert text.startswith(shown)
    assert shown + stream.unfinished == text


@settings(max_examples=60)
@given(text=st.lists(st.sampled_from(TEXTS), max_size=4).map("".join), skip=st.booleans())
def test_the_real_tokenizer_streams_as_hugging_faces_does(
    tokenizer: checkpoints.Tokenizer, text: str, skip: bool
) -> None:
    ids = tokenizer.encode(text)
    ours, theirs = DecodeStream(tokenizer, skip_special_tokens=skip), decoders.DecodeStream(skip_special_tokens=skip)
    shown, expected = "", ""
    for one in ids:
        shown += ours.push(one)
        step = theirs.step(tokenizer._backend, one)
        expected += step or ""
        # Theirs waits with " " of " 😀" until the emoji is whole.
        assert shown == expected if step else shown.startswith(expected)
    assert shown + ours.unfinished == tokenizer.decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize("skip", [False, True])
def test_random_tokens_stream_to_what_they_decode_to(
    tokenizer: checkpoints.Tokenizer, cut: list[int], skip: bool
) -> None:
    choose = random.Random(0)
    assert len(cut) > 200
    for _ in range(300):
        kinds = [range(tokenizer.vocab_size), cut, range(3)]
        ids = [choose.choice(choose.choices(kinds, (3, 6, 1))[0]) for _ in range(choose.randint(1, 60))]
        stream = DecodeStream(tokenizer, skip_special_tokens=skip)
        text = "".join(streamed(stream, ids))
        assert text + stream.unfinished == tokenizer.decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize("kind", ["text", "no UTF-8", "half a character, then special tokens"])
def test_a_token_costs_as_much_after_many(kind: str) -> None:
    ids = {
        "text": list(("Hello 😀 " * 600).encode()),
        "no UTF-8": [0xF0, 0xFF] * 3000,
        "half a character, then special tokens": [0xF0, *[SPECIAL] * 6000],
    }[kind]

    class Counting(Bytes):
        decoded = 0

        def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
            listed = list(ids)
            self.decoded += len(listed)
            return super().decode(listed, skip_special_tokens=skip_special_tokens)

    counting = Counting()
    streamed(DecodeStream(counting, skip_special_tokens=True), ids)
    assert counting.decoded < 40 * len(ids)


def test_a_token_that_the_tokenizer_does_not_know_has_no_text() -> None:
    assert "".join(streamed(DecodeStream(Bytes()), [0xE4, 0xB8, 500, 0xAD, 500, 65])) == "中A"
    assert streamed(DecodeStream(Bytes(), prompt=[500]), [65]) == ["A"]


def test_after_a_prompt_the_first_space_is_kept() -> None:
    backend = Backend(models.BPE(vocab={"▁Paris": 0, "▁is": 1, "<0xE4>": 2, "<0xB8>": 3, "<0xAD>": 4}, merges=[]))
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    llama = checkpoints.Tokenizer(backend, {})
    assert streamed(DecodeStream(llama), [0, 1, 2, 3, 4, 1]) == ["Paris", " is", "", "", "中", " is"]
    assert streamed(DecodeStream(llama, prompt=[1, 1]), [0, 1]) == [" Paris", " is"]
    for count in range(24):  # bytes that never become a character, as many as make the window short, and fewer
        stream = DecodeStream(llama, prompt=[1] * 6)
        assert "".join(streamed(stream, [*[2] * count, 1, 1])) == "\ufffd" * count + " is is"


def test_a_prompt_that_ends_within_a_character_is_continued() -> None:
    assert streamed(DecodeStream(Bytes(), prompt=[65, 0xE4]), [0xB8, 0xAD, 66]) == ["", "中", "B"]


def detokenized(ids: Sequence[int], *, delta: bool = False, **options: Any) -> tuple[str | None, list[str]]:
    """The stop string, and what was shown after every token."""
    detokenizer = Detokenizer(Bytes(), SamplingParams(max_tokens=None, **options))
    shown = []
    for place, one in enumerate(ids, 1):
        stop = detokenizer.append(one)
        finished = stop is not None or place == len(ids)
        shown.append(detokenizer.get_next_output_text(finished, delta))
        if stop is not None:
            return stop, shown
    return None, shown


def first_stop(text: str, stops: list[str]) -> tuple[str, int] | None:
    """Reference: the stop string that ends first, and where it begins; ties go to the first in the list."""
    ends = [(text.find(stop) + len(stop), place) for place, stop in enumerate(stops) if stop in text]
    if not ends:
        return None
    end, place = min(ends)
    return stops[place], end - len(stops[place])


@settings(max_examples=400)
@given(
    text=st.text("ab中😀", max_size=25),
    stops=st.lists(st.text("ab中😀", min_size=1, max_size=4), max_size=3, unique=True),
    include=st.booleans(),
    delta=st.booleans(),
)
def test_stop_strings_cut_the_text_wherever_tokens_fall(
    text: str, stops: list[str], include: bool, delta: bool
) -> None:
    stop, shown = detokenized(list(text.encode()), delta=delta, stop=stops, include_stop_str_in_output=include)
    found = first_stop(text, stops)
    assert stop == (found[0] if found else None)
    final = text if found is None else text[: found[1] + (len(found[0]) if include else 0)]
    so_far = ["".join(shown[:place]) for place in range(1, len(shown) + 1)] if delta else shown
    assert all(final.startswith(one) for one in so_far)  # nothing is taken back
    assert (so_far or [""])[-1] == final


@settings(max_examples=150)
@given(
    text=st.text("abc", max_size=20),
    stops=st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=2, unique=True),
    least=st.integers(0, 8),
)
def test_a_stop_string_counts_where_it_ends_after_min_tokens(text: str, stops: list[str], least: int) -> None:
    stop, shown = detokenized(text.encode(), stop=stops, min_tokens=least)
    ends = [(end, one) for end in range(least + 1, len(text) + 1) for one in stops if text[:end].endswith(one)]
    assert stop == (ends[0][1] if ends else None)
    assert (shown or [""])[-1] == (text[: ends[0][0] - len(ends[0][1])] if ends else text)


def test_the_first_of_two_stop_strings_that_end_together() -> None:
    assert detokenized(b"xab", stop=["b", "ab"]) == ("b", ["", "x", "xa"])
    assert detokenized(b"xab", stop=["ab", "b"])[0] == "ab"


def test_one_token_that_holds_two_stop_strings_ends_at_the_first_one() -> None:
    class Words:
        def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
            return "".join(("one STOP two END three", "x")[one] for one in ids)

    for include, text in ((False, "one "), (True, "one STOP")):
        params = SamplingParams(stop=["END", "STOP"], include_stop_str_in_output=include)
        detokenizer = Detokenizer(Words(), params)
        assert detokenizer.append(0) == "STOP"
        assert detokenizer.text == text


@pytest.mark.parametrize(("include", "text"), [(False, "ab"), (True, "ab<end>")])
def test_the_token_that_ends_a_completion_has_text_only_where_asked(include: bool, text: str) -> None:
    params = SamplingParams(include_stop_str_in_output=include, skip_special_tokens=False, stop="<e")
    detokenizer = Detokenizer(Bytes(), params)
    assert [detokenizer.append(one) for one in b"ab"] == [None, None]
    stop = detokenizer.append(SPECIAL, stop_terminated=True)
    assert stop == ("<e" if include else None)  # a stop string in the text of the end is found, as in vLLM
    assert detokenizer.get_next_output_text(finished=True, delta=False) == text[: 4 if include else 2]


def test_half_a_character_at_the_end_is_left_out_as_in_vllm() -> None:
    assert detokenized("a😀".encode()[:-1])[1][-1] == "a"


def test_line_ends_are_kept() -> None:
    assert detokenized(b"a\r\nb\rc\n", delta=True)[1] == ["a", "\r", "\n", "b", "\r", "c", "\n"]


def test_without_text_nothing_is_decoded() -> None:
    for detokenizer in (Detokenizer(None, SamplingParams()), Detokenizer(Bytes(), SamplingParams(detokenize=False))):
        assert detokenizer.append(65) is None
        assert detokenizer.get_next_output_text(finished=True, delta=False) == detokenizer.text == ""


def test_refuses_stop_strings_without_a_tokenizer() -> None:
    with pytest.raises(ValueError, match="stop must be empty without a tokenizer"):
        Detokenizer(None, SamplingParams(stop="a"))


@pytest.mark.parametrize(
    ("token", "before", "expected"),
    [
        (65, [], "A"),
        (0xE4, [], ""),  # begins a character
        (0xB8, [65, 0xE4], ""),
        (0xAD, [65, 0xE4, 0xB8], "中"),  # has all of it, as the others had nothing
        (0x80, [0xF0, 0x9F, 0x98], "😀"),
        (0x80, [65], ""),
        (0xAD, [500, 0xB8], ""),
        (500, [65], ""),
    ],
)
def test_the_text_of_one_token(token: int, before: list[int], expected: str) -> None:
    assert decode_token(Bytes(), token, before) == expected


@settings(max_examples=50)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\ufffd"), max_size=12))
def test_the_texts_of_all_tokens_are_the_text(text: str) -> None:
    ids = list(text.encode())
    assert "".join(decode_token(Bytes(), one, ids[:place]) for place, one in enumerate(ids)) == text
