"""What a beam search may be asked for, with transformers' names, defaults and meaning, and its rule for stopping.

Unusual: a score is the sum of log-probabilities over the number of *new* tokens to the power of ``length_penalty``, so
that a larger penalty favours longer texts. vLLM counts the prompt too (``kb.serving.beam_search``). By default the
search stops on a guess: once the running beams, as long as they are *now*, are worse than all finished ones.

Source: transformers 5.23, ``generation/utils.py``, ``_beam_search``; the penalty is that of Wu et al. 2016, section 7,
without its constant.
"""

from dataclasses import dataclass

from kb.arguments import is_number, require_count


@dataclass(frozen=True)
class BeamConfig:
    """How beams are searched.

    Args:
        num_beams: W, beams kept at every step.
        max_new_tokens: New tokens at most.
        length_penalty: A text's score is its log-probability over its number of new tokens to this power; 0 for none.
        early_stopping: True: stop once W texts have ended. False: stop where the running beams at their present length
            score worse than all of these. "never": as False, but with the length at which a running beam would score
            best, so that nothing better can be missed among them.
        num_return_sequences: Texts returned, best first.
        min_new_tokens: No text ends before it has so many tokens, so that the end itself is one more at the earliest.

    Raises:
        TypeError: ``length_penalty`` is no finite number.
        ValueError: a count is no positive integer, more texts than beams are asked for, ``early_stopping`` is something
            else, or ``min_new_tokens`` is above ``max_new_tokens``.
    """

    num_beams: int
    max_new_tokens: int
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    num_return_sequences: int = 1
    min_new_tokens: int = 0

    def __post_init__(self) -> None:
        for name in ("num_beams", "max_new_tokens", "num_return_sequences"):
            require_count(name, getattr(self, name))
        require_count("min_new_tokens", self.min_new_tokens, least=0)
        if not is_number(self.length_penalty):
            raise TypeError(f"length_penalty must be a finite number, got {self.length_penalty!r}")
        if self.early_stopping not in (True, False, "never") or not isinstance(self.early_stopping, bool | str):
            raise ValueError(f'early_stopping must be True, False or "never", got {self.early_stopping!r}')
        if self.num_return_sequences > self.num_beams:
            raise ValueError(
                f"num_return_sequences must be at most num_beams {self.num_beams}, got {self.num_return_sequences}"
            )
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"min_new_tokens must be at most max_new_tokens {self.max_new_tokens}, got {self.min_new_tokens}"
            )

    def divisor(self, new_tokens: int) -> float:
        """What a sum of log-probabilities of so many new tokens is divided by."""
        return float(new_tokens) ** self.length_penalty

    def hoped_divisor(self, new_tokens: int) -> float:
        """The divisor by which a running beam of so many new tokens is compared with finished ones."""
        longest = self.early_stopping == "never" and self.length_penalty > 0
        return self.divisor(self.max_new_tokens if longest else new_tokens)

    def candidates(self, eos_count: int) -> int:
        """How many successors of all beams are looked at: enough for W of them not to be ends."""
        return max(2, 1 + eos_count) * self.num_beams
