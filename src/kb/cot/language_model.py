"""What the tools of this package ask of a language model, whatever runs it: text in, texts out.

Three back ends wear this interface: our engine (``engine_model``), a transformers model (``transformers_model``) and
any server that speaks OpenAI's protocol (``endpoint_model``). Unusual: ``n`` is part of the call, not a loop around it,
since n samples of one prompt may share the work on the prompt (self-consistency lives on that).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Sampling:
    """How to continue a prompt.

    ``max_tokens``: at most so many new tokens; ``temperature`` 0 is greedy; ``n`` samples of each prompt; a sample ends
    before the first of the ``stop`` strings, which are not part of its text; the same ``seed`` gives the same samples.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    n: int = 1
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Completion:
    """One continuation: its text, how many tokens it took, why it ended, and ln p of its tokens where known.

    ``finish_reason`` is "stop" (an end token or a stop string) or "length" (the token budget ran out).
    """

    text: str
    num_tokens: int
    finish_reason: str
    log_probability: float | None = None


@runtime_checkable
class LanguageModel(Protocol):
    """Continues prompts. A prompt is plain text; ``chat`` wraps a user's message in the model's own template."""

    @property
    def name(self) -> str:
        """What to call the model in a table."""
        ...

    @property
    def context_length(self) -> int:
        """How many tokens a prompt and its continuation may have together."""
        ...

    def count_tokens(self, text: str) -> int:
        """How many tokens ``text`` is for this model, special tokens that a prompt begins with included."""
        ...

    def chat(self, message: str, system: str | None = None) -> str:
        """The prompt in which a user says ``message``, ready for the assistant's turn; as it is without a template."""
        ...

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> list[list[Completion]]:
        """``sampling.n`` continuations of each prompt, in order.

        Raises ValueError, before any work, if a prompt and ``max_tokens`` do not fit into ``context_length`` together.
        """
        ...
