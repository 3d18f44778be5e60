"""Tokenizer against transformers and against byte-pair encoding written out here; chat templates."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, processors
from transformers import AutoTokenizer

from kb.checkpoints import Checkpoint, Tokenizer

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


@settings(max_examples=150, deadline=None)
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


def make(folder: Path, settings: dict[str, Any], files: dict[str, str] | None = None) -> Tokenizer:
    backend = Backend(models.BPE(vocab={"<s>": 0, "a": 1, "b": 2, "ab": 3}, merges=[("a", "b")]))
    backend.add_special_tokens(["<s>"])
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    backend.enable_truncation(3)
    backend.enable_padding(length=9, pad_token="<s>", pad_id=0)
    backend.save(str(folder / "tokenizer.json"))
    for name, content in {"tokenizer_config.json": json.dumps(settings), **(files or {})}.items():
        (folder / name).write_text(content, encoding="utf-8")
    return Tokenizer.from_folder(folder)


def test_special_tokens_around_a_text_and_no_silent_cut(tmp_path: Path) -> None:
    ours = make(tmp_path, {})
    assert ours.encode("abababab") == [0, 3, 3, 3, 3]
    assert ours.encode("ab", add_special_tokens=False) == [3]
    assert ours.decode([0, 3], skip_special_tokens=True) == "ab"
    assert ours.bos_id is None
    assert ours.chat_template is None


@pytest.mark.parametrize(
    ("settings", "files"),
    [
        ({"chat_template": "from config"}, {}),
        ({"chat_template": [{"name": "tool", "template": "x"}, {"name": "default", "template": "from config"}]}, {}),
        ({}, {"chat_template.json": '{"chat_template": "from config"}'}),
        ({}, {"chat_template.jinja": "from config"}),
        ({"chat_template": "old"}, {"chat_template.jinja": "from config"}),
    ],
)
def test_chat_template_is_found_in_each_place(settings: dict[str, Any], files: dict[str, str], tmp_path: Path) -> None:
    assert make(tmp_path, settings, files).apply_chat_template(QUESTION, tokenize=False) == "from config"


@pytest.mark.parametrize(
    "token", ["<s>", {"content": "<s>", "lstrip": False, "__type": "AddedToken"}], ids=["text", "mapping"]
)
def test_roles_are_read_from_both_files(token: Any, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert make(tmp_path / "one", {"bos_token": token}).bos_id == 0
    assert make(tmp_path / "two", {}, {"special_tokens_map.json": json.dumps({"bos_token": token})}).bos_id == 0


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}\n  {% if m.role == 'user' %}\n{{ m.content | trim }}\n  {% endif %}\n{% endfor %}",
        "{{ messages | tojson }} {{ {'a': '<b>', 'z': '中'} | tojson(indent=2) }}",
        "{{ bos_token }}{{ messages[0]['content'] + extra }}{% if tools is not none %}tools{% endif %}",
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{% break %}{% endfor %}x",
        "{% generation %}{{ messages[0].content }}{% endgeneration %}!",
        "{{ strftime_now('%Y') | length }}{% set ns = namespace(n=1) %}{% set ns.n = 2 %}{{ ns.n }}",
    ],
)
def test_templates_render_as_in_transformers(template: str, tmp_path: Path) -> None:
    ours = make(tmp_path, {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "chat_template": template})
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    messages = [{"role": "user", "content": "  hi  "}, {"role": "assistant", "content": "<b>"}]
    found = ours.apply_chat_template(messages, tokenize=False, extra="more")
    assert found == theirs.apply_chat_template(messages, tokenize=False, extra="more", add_generation_prompt=True)


@pytest.mark.parametrize(
    ("template", "messages", "message"),
    [
        (None, QUESTION, "no chat template"),
        ("x", [{"content": "no role"}], r"messages\[0\] must be a mapping with 'role' and 'content'"),
        ("x", ["text"], r"messages\[0\] must be a mapping with 'role' and 'content', got 'text'"),
        ("{{ raise_exception('roles must alternate') }}", QUESTION, "refused the conversation: roles must alternate"),
        ("{{ 'x' + messages[0].content }}", [{"role": "user", "content": None}], "refused the conversation"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", QUESTION, "refused the conversation: .*unsafe"),
        ("{% if %}", QUESTION, "refused the conversation"),
        ("{{ 1 / 0 }}", QUESTION, "refused the conversation: ZeroDivisionError"),
        ("{{ range(10 ** 9) | length }}", QUESTION, "refused the conversation: OverflowError"),
        ("x", [], "at least one message"),
    ],
)
def test_bad_conversations_are_refused(template: Any, messages: Any, message: str, tmp_path: Path) -> None:
    ours = make(tmp_path, {"chat_template": template} if template else {})
    with pytest.raises(ValueError, match=message):
        ours.apply_chat_template(messages)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "{}", r"tokenizer\.json is not a tokenizer that the tokenizers library can read"),
        ("tokenizer_config.json", "{", r"tokenizer_config\.json is not valid JSON"),
        ("tokenizer_config.json", '{"bos_token": {}}', r"tokenizer_config\.json: a token must be a text"),
        ("tokenizer_config.json", '{"bos_token": 5}', r"tokenizer_config\.json: a token must be a text"),
        ("tokenizer_config.json", '{"added_tokens_decoder": [1]}', "added_tokens_decoder must map ids to tokens"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"3": {}}}', "a token must be a text or hold one"),
        ("tokenizer_config.json", "[]", r"tokenizer_config\.json must hold a JSON object, got list"),
    ],
)
def test_broken_files_are_refused(name: str, content: str, message: str, tmp_path: Path) -> None:
    make(tmp_path, {})
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_folder(tmp_path)


def added_token(folder: Path, smollm2: Checkpoint, index: int) -> None:
    """A copy of the tokenizer whose configuration lists one more token than ``tokenizer.json``."""
    for name in ("tokenizer.json", "config.json"):
        shutil.copy(smollm2.folder / name, folder)
    settings = json.loads((smollm2.folder / "tokenizer_config.json").read_text())
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    settings["added_tokens_decoder"] = {str(index): {"content": "<extra>", **flags}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def test_tokens_that_only_the_configuration_lists_are_tokens(smollm2: Checkpoint, tmp_path: Path) -> None:
    added_token(tmp_path, smollm2, 49_152)
    ours, theirs = Tokenizer.from_folder(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    text = "one <extra> two<extra>"
    assert ours.encode(text) == theirs.encode(text)
    assert ours.encode(text).count(49_152) == 2
    assert ours.decode(ours.encode(text), skip_special_tokens=True) == "one  two"


def test_an_added_token_with_another_id_is_refused(smollm2: Checkpoint, tmp_path: Path) -> None:
    added_token(tmp_path, smollm2, 50_000)
    with pytest.raises(ValueError, match="'<extra>' has the id 49152, its configuration says 50000"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"unk_token": "<unk>", "bos_token": "<s>"},
        {"eos_token": "a"},
        {"additional_special_tokens": ["<tool>", "b"]},
        {"extra_special_tokens": ["<tool>"]},
        {"sep_token": {"content": "<sep>", "lstrip": True, "rstrip": True, "special": False, "__type": "AddedToken"}},
    ],
)
def test_special_tokens_that_only_the_configuration_names_are_tokens(settings: dict[str, Any], tmp_path: Path) -> None:
    ours = make(tmp_path, {"tokenizer_class": "PreTrainedTokenizerFast", **settings})
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    text = "ab<unk>ab <tool> a<sep>b <s> ba"
    assert ours.encode(text) == theirs.encode(text)
    assert ours.vocab_size == len(theirs)
    ids = ours.encode(text)
    assert ours.decode(ids, skip_special_tokens=True) == theirs.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("ids", ["12", [1.5], [None], 3])
def test_ids_that_are_no_integers_are_refused(ids: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"ids must be integers|not iterable"):
        make(tmp_path, {}).decode(ids)


def test_messages_may_come_from_an_iterator(tmp_path: Path) -> None:
    ours = make(tmp_path, {"chat_template": "{{ messages | length }}"})
    assert ours.apply_chat_template(iter(QUESTION), tokenize=False) == "1"
