"""A beam search inside the engine: which sequence is which beam, and what each has offered so far."""

from dataclasses import dataclass, field

from kb.serving.beam_search import BeamSearch, Candidates
from kb.serving.inputs import TextTokenizer
from kb.serving.outputs import BeamSearchOutput, BeamSearchSequence, FinishReason, Logprob, LogprobsOnePosition
from kb.serving.scheduler import Scheduler
from kb.serving.sequence import Sequence, Status


@dataclass(eq=False)
class BeamRequest:
    """One prompt's search; its beams are sequences that advance together.

    Args:
        id: Its name.
        search: The beams.
        sequences: One a beam.
        arrival: First part of their ranks.
    """

    id: str
    search: BeamSearch
    sequences: list[Sequence]
    arrival: int
    offers: dict[int, Candidates] = field(default_factory=dict)
    forks: int = 0
    failed: bool = False

    @property
    def done(self) -> bool:
        """Whether nothing more comes; with ``failed``, because a beam's logits held no distribution."""
        return self.failed or self.search.done

    def offer(self, sequence: Sequence, candidates: Candidates) -> None:
        """A beam's most likely next tokens; after a preemption it may offer them a second time."""
        self.offers[sequence.id] = candidates

    @property
    def ready(self) -> bool:
        """Whether all beams have offered."""
        return len(self.offers) == len(self.sequences)

    def advance(self, scheduler: Scheduler, new_id: int) -> list[Sequence]:
        """One step of the search: beams with several successors are forked, those with none end.

        Args:
            scheduler: Where the sequences are.
            new_id: The first of the ids for forks.

        Returns:
            The forks.
        """
        parents = self.sequences
        moves = self.search.advance([self.offers[parent.id] for parent in parents])
        forks: list[Sequence] = []
        grown: list[tuple[Sequence, int]] = []
        continued: set[int] = set()
        for place, token in moves:
            child = parents[place]
            if place in continued:
                child = self._fork(parents[place], scheduler, new_id + len(forks))
                forks.append(child)
            continued.add(place)
            grown.append((child, token))
        for place, parent in enumerate(parents):
            if place not in continued:
                scheduler.finish(parent)
        for child, token in grown:  # only now: a fork takes the tokens of its parent
            child.tokens.append(token)
            child.width = 1
        self.sequences = [child for child, _ in grown]
        if self.sequences:  # seats of beams that ended stay with the search, which may need them again
            self.sequences[0].width += self.search.params.beam_width - len(self.sequences)
        self.offers = {}
        if self.search.done:
            self.stop(scheduler)
        return forks

    def stop(self, scheduler: Scheduler) -> None:
        """Release all that the beams hold."""
        for sequence in self.sequences:
            scheduler.finish(sequence)
        self.sequences = []

    def output(self, tokenizer: TextTokenizer | None) -> BeamSearchOutput:
        """The best beams, with their texts where there is a tokenizer."""
        params = self.search.params
        found = []
        for beam in self.search.best():
            ended = len(beam.tokens) > len(self.search.prompt) and beam.tokens[-1] in self.search.eos_ids
            ended = ended and not params.ignore_eos
            text = None
            if tokenizer is not None:
                text = tokenizer.decode(beam.tokens, skip_special_tokens=params.skip_special_tokens)
            logprobs: list[LogprobsOnePosition] = [
                {token: Logprob(logprob, rank) for token, logprob, rank in offered} for offered in beam.steps
            ]
            reason: FinishReason = "stop" if ended else "error" if self.failed else "length"
            found.append(BeamSearchSequence(beam.tokens, logprobs, beam.cumulative, text, reason))
        return BeamSearchOutput(found)

    def _fork(self, parent: Sequence, scheduler: Scheduler, new_id: int) -> Sequence:
        self.forks += 1
        rank = (self.arrival, self.forks)
        child = Sequence(new_id, rank, list(parent.tokens), parent.prompt_length, salt=parent.salt)
        if parent.status is Status.RUNNING:
            scheduler.fork(parent, child)
        else:  # it had to make room after it made its offer: there is nothing to share
            scheduler.add(child)
        return child
