"""Whether two contenders wrote the same greedy tokens, and what counts as a tie of floats.

Sums in another order give logits that differ in the last bits, so where the two best candidates are closer than that,
either may win, and from there on the texts go their own ways. Such a step is accepted, counted and shown; any other
difference is an error.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

TIE = 1e-3  # of logits: a hundred times what float32 leaves uncertain, far below the usual gap of more than 0.1
LARGEST_SHARE = 0.005  # of all steps

Tokens = Sequence[int]
Gap = Callable[[Tokens], float]


@dataclass(frozen=True)
class Agreement:
    """What a comparison found.

    Args:
        requests: Answers that were compared.
        tokens: Tokens in them.
        ties: Request, step and gap of the first token that differs, for each answer that does.
    """

    requests: int
    tokens: int
    ties: tuple[tuple[int, int, float], ...]

    @property
    def sentence(self) -> str:
        """The finding in words."""
        if not self.ties:
            return f"the same {self.tokens} tokens in {self.requests} requests, greedy"
        parted = len(self.ties)
        widest = max(gap for _, _, gap in self.ties)
        return (
            f"the same tokens in {self.requests - parted} of {self.requests} requests, greedy; {parted} part at a "
            f"float tie, where the two best logits are within {widest:.1g}"
        )


def agree(prompts: Sequence[Tokens], ours: Sequence[Tokens], theirs: Sequence[Tokens], gap: Gap) -> Agreement:
    """Compare two lists of answers.

    Args:
        prompts: Ids of each request.
        ours: Tokens that one side answered with.
        theirs: Tokens that the other side answered with.
        gap: Distance of the two best logits after the given ids, from a reference that is neither side.

    Raises:
        AssertionError: an answer differs where there is no tie, or more than ``LARGEST_SHARE`` of the steps are ties.
    """
    assert len(prompts) == len(ours) == len(theirs), f"{len(ours)} and {len(theirs)} answers to {len(prompts)} requests"
    ties = []
    for request, (prompt, a, b) in enumerate(zip(prompts, ours, theirs, strict=True)):
        step = next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
        if step is None:
            assert len(a) == len(b), f"request {request}: {len(a)} tokens and {len(b)}"
            continue
        width = gap([*prompt, *a[:step]])
        assert width < TIE, f"request {request}: token {step} is {a[step]} and {b[step]}, {width:.3g} apart: no tie"
        ties.append((request, step, width))
    tokens = sum(map(len, ours))
    assert len(ties) <= LARGEST_SHARE * tokens, f"{len(ties)} of {tokens} steps are ties: too many to be chance"
    return Agreement(len(prompts), tokens, tuple(ties))
