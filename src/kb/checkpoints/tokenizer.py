"""Text to token ids and back, and conversations to text by a chat template.

The splitting is done by the ``tokenizers`` library from ``tokenizer.json``; chat templates are Jinja, rendered in a
sandbox with the same settings and helpers as in transformers.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NoReturn, overload


class Tokenizer:
    """The tokenizer of a Hugging Face folder.

    Args:
        backend: A ``tokenizers.Tokenizer``.
        settings: The ``tokenizer_config.json``.
        chat_template: A Jinja template, or None where the model has none.
    """

    def __init__(self, backend: Any, settings: Mapping[str, Any], chat_template: str | None = None) -> None:
        self._backend = backend
        self._settings = dict(settings)
        self.chat_template = chat_template

    @classmethod
    def from_folder(cls, folder: str | Path) -> "Tokenizer":
        """Read ``tokenizer.json``, and ``tokenizer_config.json`` and ``chat_template.jinja`` where there are any.

        Raises:
            ValueError: there is no ``tokenizer.json``, or a file is broken.
        """
        from tokenizers import Tokenizer as Backend

        path = Path(folder) / "tokenizer.json"
        if not path.exists():
            raise ValueError(f"{folder} has no tokenizer.json; save one with transformers' fast tokenizer")
        try:
            backend = Backend.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"{path} is not a tokenizer that the tokenizers library can read: {error}") from error
        # A folder may ask for texts to be cut or filled up; transformers does so only when told.
        backend.no_truncation()
        backend.no_padding()
        settings = _json_or_empty(path.with_name("tokenizer_config.json"))
        settings = {**_json_or_empty(path.with_name("special_tokens_map.json")), **settings}
        _add_missing(backend, settings.get("added_tokens_decoder") or {}, path)
        return cls(backend, settings, _chat_template(path.parent, settings))

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text; special tokens written in it, such as ``<|im_end|>``, become their ids.

        A byte that the vocabulary has no token for is dropped, as in transformers: SmolLM2 lacks a few, all of them
        rare or impossible in UTF-8.

        Args:
            text: Any string, also an empty one.
            add_special_tokens: Whether to add those that the model's ``tokenizer.json`` puts around a text, if any.

        Raises:
            TypeError: ``text`` is not a string.
            ValueError: ``text`` holds half a surrogate pair, which no encoding has bytes for.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a string, got {type(text).__name__}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"text must be valid Unicode, got {text[error.start]!r} at {error.start}") from error
        ids: list[int] = self._backend.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of token ids; bytes that are no UTF-8, as in half a character, become U+FFFD.

        Raises:
            ValueError: an id is outside the vocabulary.
        """
        listed = [int(token) for token in ids]
        for token in listed:
            self.token(token)
        text: str = self._backend.decode(listed, skip_special_tokens=skip_special_tokens)
        return text

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones included."""
        size: int = self._backend.get_vocab_size(with_added_tokens=True)
        return size

    @cached_property
    def special_tokens(self) -> dict[str, str]:
        """Texts of the special tokens by role: ``bos_token``, ``eos_token``, ``pad_token``, ``unk_token``."""
        roles = ("bos_token", "eos_token", "pad_token", "unk_token")
        found = {role: self._settings.get(role) for role in roles}
        return {role: _content(token) for role, token in found.items() if token is not None}

    @property
    def bos_id(self) -> int | None:
        """Id of the token that begins a sequence, None where the model has none."""
        return self._role_id("bos_token")

    @property
    def eos_id(self) -> int | None:
        """Id of the token that ends a sequence, None where the model has none."""
        return self._role_id("eos_token")

    def _role_id(self, role: str) -> int | None:
        return self.token_id(self.special_tokens[role]) if role in self.special_tokens else None

    def token(self, index: int) -> str:
        """Text of one token as the vocabulary spells it: byte-level BPE writes a leading space as ``Ġ``.

        Raises:
            ValueError: the vocabulary has no token of that id.
        """
        found: str | None = self._backend.id_to_token(index) if 0 <= index < 2**32 else None
        if found is None:
            raise ValueError(f"id {index} is not in the vocabulary of {self.vocab_size} tokens")
        return found

    def token_id(self, token: str) -> int:
        """Id of one token by its text in the vocabulary.

        Raises:
            ValueError: there is no such token.
        """
        found = self._backend.token_to_id(token)
        if found is None:
            raise ValueError(f"token: {token!r} is not in the vocabulary")
        return int(found)

    @overload
    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tokenize: Literal[True] = True,
        **variables: Any,
    ) -> list[int]: ...

    @overload
    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tokenize: Literal[False],
        **variables: Any,
    ) -> str: ...

    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tokenize: bool = True,
        **variables: Any,
    ) -> list[int] | str:
        """A conversation as the model was trained on it, as token ids or as text.

        Args:
            messages: Each with a ``role`` and a ``content``.
            add_generation_prompt: Whether to end with the start of the assistant's answer.
            tokenize: Whether to return ids; False for the text.
            **variables: Handed to the template.

        Raises:
            ValueError: there is no template, a message has no role, or the template refuses the conversation.
        """
        if self.chat_template is None:
            raise ValueError("this tokenizer has no chat template; join the messages yourself")
        for index, message in enumerate(messages):
            if not isinstance(message, Mapping) or "role" not in message:
                raise ValueError(f"messages[{index}] must be a mapping with 'role' and 'content', got {message!r}")
        given = {"messages": list(messages), "add_generation_prompt": add_generation_prompt}
        # Templates test whether tools are None; an undefined name is not.
        absent = {"tools": None, "documents": None}
        text = _render(self.chat_template, {**self.special_tokens, **absent, **given, **variables})
        # The template writes all special tokens itself.
        return self.encode(text, add_special_tokens=False) if tokenize else text


def _add_missing(backend: Any, added: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Add the tokens that only ``tokenizer_config.json`` lists, as transformers does.

    Raises:
        ValueError: such a token would not get the id that it is listed with.
    """
    from tokenizers import AddedToken

    for index, token in sorted((int(index), token) for index, token in added.items()):
        text = token["content"]
        if backend.token_to_id(text) is None:
            flags = {name: token[name] for name in ("single_word", "lstrip", "rstrip", "normalized") if name in token}
            new = AddedToken(text, special=bool(token.get("special")), **flags)
            (backend.add_special_tokens if token.get("special") else backend.add_tokens)([new])
        if backend.token_to_id(text) != index:
            raise ValueError(f"{path}: {text!r} has the id {backend.token_to_id(text)}, its configuration says {index}")


def _content(token: str | Mapping[str, Any]) -> str:
    return token if isinstance(token, str) else str(token["content"])


def _json_or_empty(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(found).__name__}")
    return found


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    jinja = folder / "chat_template.jinja"
    if jinja.exists():
        return jinja.read_text(encoding="utf-8")
    template = settings.get("chat_template") or _json_or_empty(folder / "chat_template.json").get("chat_template")
    if isinstance(template, list):  # several, by name
        named = {entry["name"]: entry["template"] for entry in template}
        template = named.get("default")
    return template


def _render(template: str, variables: Mapping[str, Any]) -> str:
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}`` marks what the assistant wrote, for training; it changes no text."""

        tags = {"generation"}  # noqa: RUF012 (as Jinja declares it)

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
        # Jinja's own filter escapes HTML characters.
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    try:
        return environment.from_string(template).render(**variables)
    except (jinja2.TemplateError, TypeError) as error:
        raise ValueError(f"the chat template refused the conversation: {error}") from error
