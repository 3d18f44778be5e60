"""The closed vocabulary of the task lab: one token a character, and two tokens that are no character.

Unusual: nothing is learned and nothing is unknown. A character that no task and no format writes is refused, so that a
misspelt prompt is an error and not a worse answer.
"""

from collections.abc import Iterable

from kb.arguments import is_integer

PAD, END = 0, 1
CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyz +-=:.?#"
VOCABULARY_SIZE = 2 + len(CHARACTERS)
_IDS = {character: number for number, character in enumerate(CHARACTERS, start=2)}


def encode(text: str) -> list[int]:
    """The ids of a text's characters; neither ``PAD`` nor ``END`` is added.

    Raises:
        TypeError: ``text`` is not a string.
        ValueError: a character is not in the vocabulary; the first one and its place are named.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {type(text).__name__}")
    try:
        return [_IDS[character] for character in text]
    except KeyError as error:
        place = text.index(error.args[0])
        raise ValueError(
            f"text has {error.args[0]!r} at {place}, and the vocabulary is {CHARACTERS!r}: got {text!r}"
        ) from None


def decode(ids: Iterable[int]) -> str:
    """The text of ids up to the first ``END``; padding is left out.

    Raises:
        ValueError: an id is not in the vocabulary.
    """
    characters = []
    for token in ids:
        if not is_integer(token) or not 0 <= token < VOCABULARY_SIZE:
            raise ValueError(f"ids must be integers from 0 to {VOCABULARY_SIZE - 1}, got {token!r}")
        if token == END:
            break
        if token != PAD:
            characters.append(CHARACTERS[token - 2])
    return "".join(characters)
