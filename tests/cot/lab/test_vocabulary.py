"""The closed vocabulary: there and back, and what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.cot.lab.vocabulary import CHARACTERS, END, PAD, VOCABULARY_SIZE, decode, encode


@given(st.text(CHARACTERS, max_size=30))
def test_decoding_gives_back_the_text(text: str) -> None:
    ids = encode(text)
    assert len(ids) == len(text)
    assert decode(ids) == text
    assert decode([PAD, *ids, PAD, END, 5]) == text


def test_ids_by_hand() -> None:
    assert (PAD, END) == (0, 1)
    assert encode("09a#") == [2, 11, 12, VOCABULARY_SIZE - 1]
    assert len(set(CHARACTERS)) == len(CHARACTERS) == VOCABULARY_SIZE - 2


def test_what_is_unknown_is_refused() -> None:
    with pytest.raises(ValueError, match=r"text has 'X' at 2.*got '1\+X'"):
        encode("1+X")
    with pytest.raises(ValueError, match="'１'"):  # a digit, but not one of these
        encode("１")
    with pytest.raises(TypeError, match="text must be a str, got int"):
        encode(3)  # type: ignore[arg-type]
    for wrong in (-1, VOCABULARY_SIZE, True, 2.0):
        with pytest.raises(ValueError, match="ids must be integers from 0 to"):
            decode([wrong])  # type: ignore[list-item]
