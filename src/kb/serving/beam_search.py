"""Beam search: the bookkeeping of one prompt's beams, and a reference that runs the model over whole sequences.

Every step, each beam offers its 2w most likely next tokens; those that end a text are set aside, and of the others the
w best beams go on. A score is the sum of log-probabilities over length to the power of the length penalty, the length
being that of prompt and output together: vLLM's rule, which makes the penalty weaker than in other libraries.

In the engine a beam is a sequence, and a beam with two successors is forked: they share all blocks, and the last one is
copied when it is first written to.

Source: Kwon et al. 2023, section 4.4 (shared blocks of beams); the score is that of Wu et al. 2016, section 7, without
its constant. Shapes: V vocabulary.
"""

from collections.abc import Iterable
from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field

import torch

from kb.lm import DecoderLM
from kb.serving.beam_search_params import BeamSearchParams

Candidates = list[tuple[int, float, int]]  # (token, log-probability, rank)


@dataclass(frozen=True)
class Beam:
    """One candidate text: its tokens, prompt included, and the sum of its log-probabilities."""

    tokens: list[int]
    cumulative: float = 0.0
    steps: tuple[Candidates, ...] = ()  # what was offered at each step

    def grown(self, token: int, logprob: float, offered: Candidates) -> "Beam":
        """The beam with one more token."""
        return Beam([*self.tokens, token], self.cumulative + logprob, (*self.steps, offered))


@dataclass
class BeamSearch:
    """The beams of one prompt.

    Args:
        prompt: Its ids.
        params: Width, length, penalty.
        eos_ids: Tokens that end a text, unless they are ignored.
    """

    prompt: list[int]
    params: BeamSearchParams
    eos_ids: tuple[int, ...]
    beams: list[Beam] = field(init=False)
    completed: list[Beam] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.beams = [Beam(list(self.prompt))]

    @property
    def steps(self) -> int:
        """Steps taken, of ``params.max_tokens``; all of them where every beam ended."""
        return len(self.beams[0].tokens) - len(self.prompt) if self.beams else self.params.max_tokens

    @property
    def done(self) -> bool:
        """Whether the beams are as long as they may get, or all ended."""
        return self.steps >= self.params.max_tokens

    def advance(self, offers: Tokens[Candidates]) -> list[tuple[int, int]]:
        """Take one step.

        Args:
            offers: For each beam its 2w most likely next tokens.

        Returns:
            For each of the new beams, which of the old ones it continues, and its token.
        """
        grown: list[tuple[int, Beam]] = []
        for place, (beam, offered) in enumerate(zip(self.beams, offers, strict=True)):
            for token, logprob, _ in offered:
                successor = beam.grown(token, logprob, offered)
                if token in self.eos_ids and not self.params.ignore_eos:
                    self.completed.append(successor)
                else:
                    grown.append((place, successor))
        grown.sort(key=lambda one: self.score(one[1]), reverse=True)
        kept = grown[: self.params.beam_width]
        self.beams = [beam for _, beam in kept]
        return [(place, beam.tokens[-1]) for place, beam in kept]

    def score(self, beam: Beam) -> float:
        """What beams are ranked by; a last token that ends the text does not count for the length."""
        length = len(beam.tokens) - (beam.tokens[-1] in self.eos_ids)
        return beam.cumulative / max(length, 1) ** self.params.length_penalty

    def best(self) -> list[Beam]:
        """The w best of the texts that ended and of those cut off, best first."""
        return sorted([*self.completed, *self.beams], key=self.score, reverse=True)[: self.params.beam_width]


def top_candidates(logits_V: torch.Tensor, width: int) -> Candidates:
    """The 2w most likely tokens of a row of float32 logits, most likely first."""
    top = logits_V.log_softmax(dim=-1).topk(min(2 * width, len(logits_V)))
    ranked = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return [(token, logprob, rank) for rank, (token, logprob) in enumerate(ranked, start=1)]


@torch.inference_mode()
def beam_search_loop(
    model: DecoderLM, prompt: list[int], params: BeamSearchParams, eos_ids: Iterable[int] | None = None
) -> list[Beam]:
    """Reference: every beam through the whole model at every step, without a cache."""
    search = BeamSearch(prompt, params, model.config.eos_ids if eos_ids is None else tuple(eos_ids))
    device = model.embed_tokens.weight.device
    while not search.done:
        rows = [model(torch.tensor([beam.tokens], device=device), last_only=True)[0, -1] for beam in search.beams]
        search.advance([top_candidates(row.float(), params.beam_width) for row in rows])
    return search.best()
