"""Text from tokens as they come: no half characters, and no more of it once a stop string appears.

A byte-level vocabulary cuts characters into tokens, so that the text of a token depends on its neighbours. Decoding all
tokens at every step costs the square of their number; here only a window of the newest is decoded, and what is new in
its text is given out. Unusual: what is held back, a run of U+FFFD at the end that the next token may complete, is at
most three characters, so that neither text nor window grow where the bytes never become UTF-8.

Sources: ``DecodeStream`` of Hugging Face's tokenizers, and vLLM 0.32, ``vllm/v1/engine/detokenizer.py`` and
``vllm/v1/engine/logprobs.py``, whose meaning this has.
"""

import io
from collections.abc import Iterable, Sequence
from typing import Protocol

from kb.serving.sampling_params import SamplingParams

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_LONGEST_CUT = 3  # bytes of a character of UTF-8 that lacks at least one
_CONTEXT = 6  # tokens of the prompt that the first new ones are decoded after
_WINDOW = 16


class Decoder(Protocol):
    """What is needed of a tokenizer here; :class:`kb.checkpoints.Tokenizer` is one."""

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = False) -> str:
        """The text of token ids, with U+FFFD for what is not UTF-8; ValueError for an id that it does not know."""


class DecodeStream:
    """Decodes tokens one by one.

    The texts given out, joined, and then ``unfinished`` are what the tokenizer makes of all tokens at once.

    Args:
        tokenizer: Byte-level, or one that makes more text of more tokens.
        skip_special_tokens: Whether special tokens have no text.
        prompt: What the tokens follow. Some tokenizers drop the space at the beginning of a text; with a prompt it is
            not the beginning.
    """

    def __init__(self, tokenizer: Decoder, *, skip_special_tokens: bool = False, prompt: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._skip = skip_special_tokens
        self._window = list(prompt[-_CONTEXT:])
        try:
            self._text = self._decode(self._window)
        except ValueError:  # the prompt holds an id that the tokenizer does not know: as good as no prompt
            self._window, self._text = [], ""
        # Characters of the window's text that were given; and where its tokens begin that came since a token before
        # them ended between two characters.
        self._given = len(self._text) - _trailing_replacements(self._text)
        self._fresh = len(self._window)

    @property
    def unfinished(self) -> str:
        """The text of what is held back, as it would be if no token came any more: replacement characters."""
        return self._text[self._given :]

    def push(self, token: int) -> str:
        """The text that is certain with one more token; often of it alone, empty within a character.

        A token that the tokenizer does not know, as there are where a model's embedding was padded, has no text.
        """
        try:
            text = self._decode([*self._window, token])
            # Skipped special tokens may come in any number, and must not make the window long.
            if text == self._text and not self._decode([token]):
                return ""
        except ValueError:
            return ""
        self._text = text
        self._window.append(token)
        certain = max(self._given, len(self._text) - _trailing_replacements(self._text))
        text = self._text[self._given : certain]
        self._given = certain
        if certain == len(self._text):
            self._keep(self._fresh)
            self._fresh = len(self._window)
        elif len(self._window) > _WINDOW:
            self._cut()
        return text

    def _keep(self, start: int) -> None:
        """Forget the window's tokens before ``start``, whose text was given and changes no more."""
        held = len(self._text) - self._given
        self._window = self._window[start:]
        self._text = self._decode(self._window)
        self._given = len(self._text) - held

    def _cut(self) -> None:
        """Make a window short that has no end between characters, at a place where the cut changes no text."""
        held = len(self._text) - self._given
        for start in range(len(self._window) - 1, 0, -1):
            left, right = self._decode(self._window[:start]), self._decode(self._window[start:])
            if len(right) >= held and left + right == self._text:
                self._keep(start)
                self._fresh = 0
                return

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=self._skip)


class Detokenizer:
    """The text of one completion: streamed, and ended by its stop strings.

    A stop string may begin in one token and end in another, and begin before ``min_tokens``; it counts where it ends
    after them. While the completion is running, one character less than the longest stop string has is held back, so
    that a stream never shows the beginning of a stop string that the final text does not have.

    Args:
        tokenizer: None, or ``params.detokenize`` False, for no text at all.
        params: Of the request.
        prompt: Its tokens.

    Raises:
        ValueError: there are stop strings, but no tokenizer to find them with.
    """

    def __init__(self, tokenizer: Decoder | None, params: SamplingParams, prompt: Sequence[int] = ()) -> None:
        if tokenizer is None and params.stop:
            raise ValueError(f"stop must be empty without a tokenizer, got {list(params.stop)!r}")
        self._params = params
        self._stream = None
        if tokenizer is not None and params.detokenize:
            skip = params.skip_special_tokens
            self._stream = DecodeStream(tokenizer, skip_special_tokens=skip, prompt=prompt)
        self._longest = max(map(len, params.stop), default=0)
        self._text = io.StringIO(newline="")  # appends and cuts in time of the change
        self._length = 0
        self._shown = 0
        self._tokens = 0

    @property
    def text(self) -> str:
        """All text so far, what is held back for a stop string included, half characters not."""
        return self._text.getvalue()

    def append(self, token: int, *, stop_terminated: bool = False) -> str | None:
        """Take one more token.

        Args:
            token: The newest.
            stop_terminated: Whether it is an end-of-sequence or stop token that ended the completion. It then has no
                text, unless ``include_stop_str_in_output``.

        Returns:
            The stop string that now ends the text, the first one to be complete, or None. The text is cut before it,
            or after it with ``include_stop_str_in_output``.
        """
        self._tokens += 1
        if self._stream is None or (stop_terminated and not self._params.include_stop_str_in_output):
            return None
        new = self._stream.push(token)
        self._text.seek(0, io.SEEK_END)
        self._text.write(new)
        self._length += len(new)
        return self._stopped(len(new)) if new and self._tokens > self._params.min_tokens else None

    def get_next_output_text(self, finished: bool, delta: bool) -> str:
        """The text to show now.

        Args:
            finished: Whether no more tokens come, so that nothing has to be held back.
            delta: Whether to leave out what was returned before.
        """
        held = 0 if finished or self._params.include_stop_str_in_output else max(self._longest - 1, 0)
        end = max(self._length - held, 0)
        if not delta:
            return self._text.getvalue()[:end]
        self._text.seek(self._shown)
        text = self._text.read(max(end - self._shown, 0))
        self._shown = max(end, self._shown)
        return text

    def _stopped(self, new: int) -> str | None:
        begin = max(self._length - new - self._longest + 1, 0)
        self._text.seek(begin)
        text = self._text.read()
        found = []
        for place, stop in enumerate(self._params.stop):
            # What does not reach into the new text was looked at before, or came too early.
            at = text.find(stop, max(self._length - new - len(stop) + 1 - begin, 0))
            if at >= 0:
                found.append((at + len(stop), place, stop))
        if not found:
            return None
        end, _, stop = min(found)  # ties go to the first in the list
        self._length = begin + end - (0 if self._params.include_stop_str_in_output else len(stop))
        self._text.truncate(self._length)
        return stop


def decode_token(tokenizer: Decoder, token: int, before: Sequence[int] = ()) -> str:
    """The text of one token for a list of log-probabilities, as vLLM's ``decoded_token``.

    A token that ends within a character has none; the one that completes the character has all of it. Nor has one that
    the tokenizer does not know, or that follows such a one within a character.

    Args:
        tokenizer: As above.
        token: Chosen, or a candidate for its place.
        before: The tokens that it follows; the last four are looked at.
    """
    for count in range(min(4, len(before)) + 1):
        context = list(before[len(before) - count :])
        try:
            whole = tokenizer.decode([*context, token])
        except ValueError:
            return ""
        if not whole.endswith(_REPLACEMENT):
            while context and tokenizer.decode(context[-1:]).endswith(_REPLACEMENT):
                context.pop()
            return whole[len(tokenizer.decode(context)) :]
    return ""


def _trailing_replacements(text: str) -> int:
    """How many replacement characters at the end may still become another character."""
    kept = text[-_LONGEST_CUT:].rstrip(_REPLACEMENT)
    return min(len(text), _LONGEST_CUT) - len(kept)
