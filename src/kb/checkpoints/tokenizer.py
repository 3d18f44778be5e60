"""Text to token ids and back, and conversations to text by a chat template.

The splitting is done by the ``tokenizers`` library from ``tokenizer.json``; chat templates are Jinja, rendered in a
sandbox with the same settings and helpers as in transformers.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn


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
        settings = _json_or_empty(path.with_name("tokenizer_config.json"))
        settings = {**_json_or_empty(path.with_name("special_tokens_map.json")), **settings}
        return cls(backend, settings, _chat_template(path.parent, settings))

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text; special tokens written in it, such as ``<|im_end|>``, become their ids.

        Args:
            text: Any string, also an empty one.
            add_special_tokens: Whether to add those that the model's ``tokenizer.json`` puts around a text, if any.

        Raises:
            TypeError: ``text`` is not a string.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a string, got {type(text).__name__}")
        ids: list[int] = self._backend.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of token ids; bytes that are no UTF-8, as in half a character, become U+FFFD.

        Raises:
            ValueError: an id is outside the vocabulary.
        """
        listed = [int(token) for token in ids]
        wrong = [token for token in listed if not 0 <= token < self.vocab_size]
        if wrong:
            raise ValueError(f"ids must be in 0 to {self.vocab_size - 1}, got {wrong[0]}")
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

    def token_id(self, token: str) -> int:
        """Id of one token by its text in the vocabulary.

        Raises:
            ValueError: there is no such token.
        """
        found = self._backend.token_to_id(token)
        if found is None:
            raise ValueError(f"token: {token!r} is not in the vocabulary")
        return int(found)

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True, **variables: Any
    ) -> str:
        """The text of a conversation as the model was trained on it; ``encode(…, add_special_tokens=False)`` is next.

        Args:
            messages: Each with a ``role`` and a ``content``.
            add_generation_prompt: Whether to end with the start of the assistant's answer.
            **variables: Handed to the template.

        Raises:
            ValueError: there is no template, a message has no role, or the template refuses the conversation.
        """
        if self.chat_template is None:
            raise ValueError("this tokenizer has no chat template; join the messages yourself")
        for index, message in enumerate(messages):
            if not isinstance(message, Mapping) or "role" not in message:
                raise ValueError(f"messages[{index}] must be a mapping with 'role' and 'content', got {message!r}")
        return _render(
            self.chat_template,
            {
                "messages": list(messages),
                "add_generation_prompt": add_generation_prompt,
                **self.special_tokens,
                **variables,
            },
        )


def _content(token: str | Mapping[str, Any]) -> str:
    return token if isinstance(token, str) else str(token["content"])


def _json_or_empty(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
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
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
        # Jinja's own filter escapes HTML characters.
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    try:
        return environment.from_string(template).render(**variables)
    except jinja2.TemplateError as error:
        raise ValueError(f"the chat template refused the conversation: {error}") from error
