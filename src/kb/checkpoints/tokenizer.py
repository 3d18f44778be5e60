"""Text to token ids and back, and conversations to text by a chat template.

The splitting is done by the ``tokenizers`` library from ``tokenizer.json``; what other files say of special tokens is
added to it, as in transformers.
"""

import operator
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, overload

from kb.checkpoints import chat_template as chat
from kb.checkpoints.files import json_or_empty

_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized")


class Tokenizer:
    """The tokenizer of a Hugging Face folder.

    Args:
        backend: A ``tokenizers.Tokenizer``.
        special_tokens: Texts of the special tokens by role: ``bos_token``, ``eos_token``, ``pad_token`` and others.
        chat_template: A Jinja template, or None where the model has none.
    """

    def __init__(self, backend: Any, special_tokens: Mapping[str, str], chat_template: str | None = None) -> None:
        self._backend = backend
        self.special_tokens = dict(special_tokens)
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
        filled_with = {"pad_token": backend.padding["pad_token"]} if backend.padding else {}
        # A folder may ask for texts to be cut or filled up; transformers does so only when told.
        backend.no_truncation()
        backend.no_padding()
        settings = json_or_empty(path.with_name("tokenizer_config.json"))
        settings = {**filled_with, **json_or_empty(path.with_name("special_tokens_map.json")), **settings}
        _add_listed(backend, settings.get("added_tokens_decoder") or {}, path)
        _add_special(backend, settings, path)
        roles = {role: _content(settings[role], path) for role in _ROLES if settings.get(role) is not None}
        return cls(backend, roles, chat.read(path.parent, settings))

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

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
        """The text of token ids; bytes that are no UTF-8, as in half a character, become U+FFFD.

        Raises:
            TypeError: ``ids`` are not integers.
            ValueError: an id is outside the vocabulary.
        """
        try:
            listed = [operator.index(token) for token in ids]
        except TypeError as error:
            raise TypeError(f"ids must be integers: {error}") from error
        for token in listed:
            self.token(token)
        text: str = self._backend.decode(listed, skip_special_tokens=skip_special_tokens)
        return text

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones included."""
        size: int = self._backend.get_vocab_size(with_added_tokens=True)
        return size

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
        messages: Iterable[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tokenize: Literal[True] = True,
        **variables: Any,
    ) -> list[int]: ...

    @overload
    def apply_chat_template(
        self,
        messages: Iterable[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tokenize: Literal[False],
        **variables: Any,
    ) -> str: ...

    def apply_chat_template(
        self,
        messages: Iterable[Mapping[str, Any]],
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
            ValueError: there is no template, no message, a message without a role, or the template refuses the
                conversation.
        """
        messages = list(messages)
        if self.chat_template is None:
            raise ValueError("this tokenizer has no chat template; join the messages yourself")
        if not messages:
            raise ValueError("messages must hold at least one message, got none")
        for index, message in enumerate(messages):
            if not isinstance(message, Mapping) or "role" not in message:
                raise ValueError(f"messages[{index}] must be a mapping with 'role' and 'content', got {message!r}")
        given = {"messages": messages, "add_generation_prompt": add_generation_prompt}
        # Templates test whether tools are None; an undefined name is not.
        absent = {"tools": None, "documents": None}
        text = chat.render(self.chat_template, {**self.special_tokens, **absent, **given, **variables})
        # The template writes all special tokens itself.
        return self.encode(text, add_special_tokens=False) if tokenize else text


def _add_listed(backend: Any, listed: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Add the tokens that only ``added_tokens_decoder`` lists, as transformers does.

    Raises:
        ValueError: such a token would not get the id that it is listed with.
    """
    if not isinstance(listed, Mapping) or not all(index.isdecimal() for index in listed):
        raise ValueError(f"{path}: added_tokens_decoder must map ids to tokens, got {listed!r}")
    for index, token in sorted((int(index), token) for index, token in listed.items()):
        text = _content(token, path)
        if backend.token_to_id(text) is None:
            _add(backend, token, text, special=bool(token.get("special")))
        if backend.token_to_id(text) != index:
            raise ValueError(f"{path}: {text!r} has the id {backend.token_to_id(text)}, its configuration says {index}")


def _add_special(backend: Any, settings: Mapping[str, Any], path: Path) -> None:
    """Make a special token of each that has a role or is listed as special, and is none yet, as transformers does."""
    listed = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or []
    named = listed.values() if isinstance(listed, Mapping) else listed
    added = {token.content for token in backend.get_added_tokens_decoder().values()}
    for token in [*(settings.get(role) for role in _ROLES), *named]:
        if token is not None and (text := _content(token, path)) not in added:
            added.add(text)
            _add(backend, token, text, special=True)


def _add(backend: Any, token: str | Mapping[str, Any], text: str, *, special: bool) -> None:
    from tokenizers import AddedToken

    flags = {} if isinstance(token, str) else {name: token[name] for name in _FLAGS if name in token}
    new = AddedToken(text, special=special, **flags)
    (backend.add_special_tokens if special else backend.add_tokens)([new])


def _content(token: object, path: Path) -> str:
    text = token.get("content") if isinstance(token, Mapping) else token
    if not isinstance(text, str):
        raise ValueError(
            f"{path.with_name('tokenizer_config.json')}: a token must be a text or hold one, got {token!r}"
        )
    return text
