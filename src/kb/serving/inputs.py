"""What a caller may give as a prompt, read and checked: a text, token ids, or vLLM's mappings with one of these."""

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Values
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Protocol

Prompt = str | Values[int] | Mapping[str, Any]

_KEYS = {"prompt", "prompt_token_ids", "cache_salt"}


class TextTokenizer(Protocol):
    """What the engine needs of a tokenizer; :class:`kb.checkpoints.Tokenizer` is one."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Ids of a text."""

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
        """Text of ids."""


@dataclass(frozen=True)
class PromptTokens:
    """A prompt that can be run: its ids, its text where it came as one, its salt."""

    ids: list[int]
    text: str | None = None
    salt: str | None = None


def read_prompt(
    prompt: Prompt, tokenizer: TextTokenizer | None, *, vocab_size: int, longest: int, name: str = "prompt"
) -> PromptTokens:
    """Read and check one prompt.

    Args:
        prompt: A text; ids; or a mapping with ``prompt`` or ``prompt_token_ids``, and perhaps ``cache_salt``.
        tokenizer: For texts; None where there is none.
        vocab_size: Of the model.
        longest: Most tokens of a sequence. The prompt must leave room for one more.
        name: How errors call it.

    Raises:
        TypeError: it is something else, or ids are not integers.
        ValueError: it is empty or too long, an id is not in the vocabulary, or a text comes without a tokenizer.
    """
    text: str | None = None
    ids: Any = prompt
    salt: str | None = None
    if isinstance(prompt, Mapping):
        text, ids, salt = _entries(prompt, name)
    elif isinstance(prompt, str):
        text, ids = prompt, None
    if text is not None and ids is None:
        if tokenizer is None:
            raise ValueError(f"{name} is a text, and there is no tokenizer to read it: give token ids")
        ids = tokenizer.encode(text)
    ids = _checked_ids(ids, name, vocab_size)
    if len(ids) >= longest:
        raise ValueError(
            f"{name} has {len(ids)} tokens, and at most {longest - 1} leave room for one more (max_model_len)"
        )
    return PromptTokens(ids, text, salt)


def _entries(prompt: Mapping[str, Any], name: str) -> tuple[str | None, Any, str | None]:
    if unknown := sorted(map(str, set(prompt) - _KEYS)):
        raise ValueError(f"{name} has {unknown[0]!r}; wanted one of {', '.join(sorted(_KEYS))}")
    text, ids, salt = prompt.get("prompt"), prompt.get("prompt_token_ids"), prompt.get("cache_salt")
    if text is None and ids is None:
        raise ValueError(f"{name} must have prompt or prompt_token_ids")
    if text is not None and not isinstance(text, str):
        raise TypeError(f"{name}: prompt must be a string, got {type(text).__name__}")
    if salt is not None and not isinstance(salt, str):
        raise TypeError(f"{name}: cache_salt must be a string, got {type(salt).__name__}")
    if salt == "":
        raise ValueError(f"{name}: cache_salt must not be empty")
    return text, ids, salt


def _checked_ids(ids: Any, name: str, vocab_size: int) -> list[int]:
    if hasattr(ids, "tolist"):  # an array or a tensor
        ids = ids.tolist()
    if isinstance(ids, str | bytes) or not isinstance(ids, Values):
        raise TypeError(f"{name} must be a text, token ids or a mapping, got {type(ids).__name__}")
    if not ids:
        raise ValueError(f"{name} is empty: at least one token is needed")
    for token in ids:
        if not isinstance(token, Integral) or isinstance(token, bool):
            raise TypeError(f"{name} must hold integer ids, got {token!r}")
    checked = [int(token) for token in ids]
    if wrong := [token for token in checked if not 0 <= token < vocab_size]:
        raise ValueError(f"{name}: token ids must be in 0 to {vocab_size - 1}, got {wrong[0]}")
    return checked
