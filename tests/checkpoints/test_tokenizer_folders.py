"""Tokenizers of hand-made folders against transformers: special tokens of every file, chat templates, broken files."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, processors
from transformers import AutoTokenizer

from kb.checkpoints import Checkpoint, Tokenizer

QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]


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
