"""SmolLM2's tokenizer against transformers, and against byte-pair encoding written out here."""

import itertools
import json
from typing import Any

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from kb.checkpoints import Checkpoint

NASTY = [
    "",
    " ",
    "   leading and trailing   ",
    "Hello, world!",
    "don't we'll I'VE 'S",
    "12345 3.14 ½ Ⅷ ²³ ٣٤ 1,000,000",
    "a1b2c3 x=10;y =20",
    "中文文本,標點。日本語テキスト 한국어",
    "emoji 😀👩‍👩‍👧‍👦🇩🇪 done",
    "\n\n\t \r\n  \u00a0\u3000\u2028 x",
    "<|im_start|>user\nhi<|im_end|><|endoftext|> <|im_sta",
    "<|im_end|><|im_end|>x<repo_name>",
    "é vs e\u0301, \u202eright to left, \x00 zero, \x7f",
    "def f(x):\n    return x**2  # square\n",
    "Ġ is a letter here, and so is Ċ",
    "a" * 300 + " " * 50 + "\n" * 20,
]
QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]


@pytest.fixture(scope="module")
def theirs(smollm2: Checkpoint) -> Any:
    return AutoTokenizer.from_pretrained(smollm2.folder)


@pytest.mark.parametrize("text", NASTY)
def test_ids_and_text_are_those_of_transformers(text: str, smollm2: Checkpoint, theirs: Any) -> None:
    ids = smollm2.tokenizer.encode(text)
    assert ids == theirs.encode(text)
    assert smollm2.tokenizer.decode(ids) == theirs.decode(ids) == text
    assert smollm2.tokenizer.decode(ids, skip_special_tokens=True) == theirs.decode(ids, skip_special_tokens=True)


class ReferenceBPE:
    """llama.cpp's rule for the pre-tokenizer "smollm", then the merge of lowest rank until there is none."""

    split = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")

    def __init__(self, backend: dict[str, Any]) -> None:
        self.ids = backend["model"]["vocab"]
        self.ranks = {tuple(pair): rank for rank, pair in enumerate(backend["model"]["merges"])}
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in printable]
        self.letters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}

    def encode(self, text: str) -> list[int]:
        pieces = [piece for part in regex.split(r"(\p{N})", text) if part for piece in self.split.findall(part)]
        return [self.ids[token] for piece in pieces for token in self.merge(piece) if token in self.ids]

    def spells(self, text: str) -> bool:
        return all(self.letters[byte] in self.ids for byte in text.encode())

    def merge(self, piece: str) -> list[str]:
        tokens = [self.letters[byte] for byte in piece.encode()]
        while pairs := [pair for pair in itertools.pairwise(tokens) if pair in self.ranks]:
            first, second = min(pairs, key=self.ranks.__getitem__)
            merged: list[str] = []
            for token in tokens:
                if merged and (merged[-1], token) == (first, second):
                    merged[-1] += token
                else:
                    merged.append(token)
            tokens = merged
        return tokens


@pytest.fixture(scope="module")
def reference(smollm2: Checkpoint) -> ReferenceBPE:
    return ReferenceBPE(json.loads((smollm2.folder / "tokenizer.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("text", [text for text in NASTY if "<" not in text])
def test_ids_are_those_of_the_written_out_rule(text: str, smollm2: Checkpoint, reference: ReferenceBPE) -> None:
    assert smollm2.tokenizer.encode(text) == reference.encode(text)


@settings(max_examples=150)
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="<"), max_size=40))
def test_any_text_splits_by_the_rule_and_comes_back(text: str, smollm2: Checkpoint, reference: ReferenceBPE) -> None:
    ids = smollm2.tokenizer.encode(text)
    assert ids == reference.encode(text)
    if reference.spells(text):
        assert smollm2.tokenizer.decode(ids) == text


def test_ids_and_roles(smollm2: Checkpoint, theirs: Any) -> None:
    ours = smollm2.tokenizer
    assert ours.vocab_size == len(theirs) == 49152
    assert (ours.bos_id, ours.eos_id) == (theirs.bos_token_id, theirs.eos_token_id) == (1, 2)
    assert [ours.token(index) for index in (0, 1, 2)] == ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert ours.token_id("<|im_end|>") == 2
    assert ours.token(ours.encode(" sky")[0]) == "Ġsky"


def test_half_a_character_decodes_to_the_replacement(smollm2: Checkpoint) -> None:
    ids = smollm2.tokenizer.encode("😀")
    assert len(ids) > 1
    assert smollm2.tokenizer.decode(ids[:1]) == "\ufffd"


def test_bad_input_is_named(smollm2: Checkpoint) -> None:
    ours = smollm2.tokenizer
    with pytest.raises(TypeError, match="text must be a string, got bytes"):
        ours.encode(b"a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"text must be valid Unicode, got .* at 1"):
        ours.encode("a\ud83d")
    for index in (-1, 49152, 2**40):
        with pytest.raises(ValueError, match=f"id {index} is not in the vocabulary of 49152 tokens"):
            ours.decode([5, index])
    with pytest.raises(ValueError, match="token: 'nothing of that kind' is not in the vocabulary"):
        ours.token_id("nothing of that kind")


@pytest.mark.parametrize("prompted", [True, False])
@pytest.mark.parametrize(
    "messages",
    [
        QUESTION,
        [{"role": "system", "content": "Be short. <|im_end|>"}, *QUESTION],
        [*QUESTION, {"role": "assistant", "content": "天空 😀"}, {"role": "user", "content": ""}],
    ],
)
def test_chat_is_that_of_transformers(
    messages: list[dict[str, str]], prompted: bool, smollm2: Checkpoint, theirs: Any
) -> None:
    options: dict[str, Any] = {"add_generation_prompt": prompted}
    text = smollm2.tokenizer.apply_chat_template(messages, tokenize=False, **options)
    assert text == theirs.apply_chat_template(messages, tokenize=False, **options)
    ids = smollm2.tokenizer.apply_chat_template(messages, **options)
    assert ids == theirs.apply_chat_template(messages, return_dict=False, **options)
