"""A language model that says what a test gives it, and remembers what it was asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kb.cot import Completion, Sampling


@dataclass
class Scripted:
    """Its n-th sample of a prompt under a seed is ``say(prompt, seed, n)``; a token is a word.

    With a template, a user's message stands between ``<user>`` and ``<assistant>``.
    """

    say: Callable[[str, int, int], str]
    context_length: int = 1000
    template: bool = False
    name: str = "scripted"
    calls: list[tuple[list[str], Sampling]] = field(default_factory=list)

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def chat(self, message: str, system: str | None = None) -> str:
        return f"{system or ''}<user>{message}<assistant>" if self.template else message

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> list[list[Completion]]:
        self.calls.append((list(prompts), sampling))
        return [[self._one(prompt, sampling, place) for place in range(sampling.n)] for prompt in prompts]

    def _one(self, prompt: str, sampling: Sampling, place: int) -> Completion:
        words = self.say(prompt, sampling.seed, place).split(" ")
        reason = "length" if len(words) > sampling.max_tokens else "stop"
        text = " ".join(words[: sampling.max_tokens])
        return Completion(text, min(len(words), sampling.max_tokens), reason, -0.5 * len(words))
