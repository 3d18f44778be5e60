"""Speculative decoding: a draft proposes some tokens, the target verifies all of them in one pass, and nothing changes.

Greedy output is the target's own; sampled output has the target's own distribution (``kb.lm.decoding.acceptance`` has
the rule and its arithmetic). Unusual: one pass of the target yields at least one token, as the place behind the kept
drafts is drawn from the target anyway, so that a useless draft costs its own time and no more passes.

Source: Leviathan et al. 2023, Fast Inference from Transformers via Speculative Decoding, algorithm 1.
Shapes: T tokens so far, g drafts, V vocabulary.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kb.arguments import require_count
from kb.lm.decoding.acceptance import verify
from kb.lm.decoding.drafts import Draft, distribution
from kb.lm.decoding.stepping import LanguageModel, Stepper, Tokens, read_request
from kb.lm.sampling import GREEDY, SamplingParams


@dataclass(frozen=True)
class SpeculativeOutput:
    """What came out, and what it took.

    Args:
        tokens: Prompt and output, int64 [T + n].
        proposed: Drafts in each pass of the target.
        accepted: Of these, those that were kept, before an end of the text cut them.
    """

    tokens: Tensor
    proposed: tuple[int, ...]
    accepted: tuple[int, ...]

    @property
    def calls(self) -> int:
        """Passes of the target."""
        return len(self.proposed)

    @property
    def acceptance(self) -> float:
        """Drafts kept over drafts that were looked at: those after a rejected one were not. NaN where there were none.

        An estimate of alpha, the probability that a draft is kept.
        """
        looked_at = sum(kept + (kept < made) for made, kept in zip(self.proposed, self.accepted, strict=True))
        return sum(self.accepted) / looked_at if looked_at else float("nan")


def speculative_decode(
    model: LanguageModel,
    draft: Draft,
    tokens: Tokens,
    max_new_tokens: int,
    *,
    gamma: int = 4,
    sampling: SamplingParams = GREEDY,
    generator: torch.Generator | None = None,
    stop_ids: Iterable[int] | None = None,
    use_cache: bool = True,
) -> SpeculativeOutput:
    """Continue one prompt by up to ``max_new_tokens`` tokens.

    Args:
        model: The target: a :class:`~kb.lm.DecoderLM`, or any callable from tokens [B, T] to logits [B, T, V].
        draft: Proposes tokens: a :class:`ModelDraft`, a :class:`PromptLookup`, or what has their method.
        tokens: Prompt ids, [T] or [1, T].
        max_new_tokens: At least 1.
        gamma: Drafts per pass of the target, at least 1; fewer where the end is near.
        sampling: How the target draws; greedy if not given.
        generator: Source of the noise, on the model's device; needed unless ``sampling`` is greedy.
        stop_ids: What ends the text; the model's end-of-sequence ids if not given, ``()`` for nothing.
        use_cache: Whether a :class:`~kb.lm.DecoderLM` keeps keys and values between passes.

    Raises:
        TypeError: ``model``, ``draft``, ``sampling`` or ``generator`` is something else, or ids are no integers.
        ValueError: more than one prompt or an empty one, an id outside the vocabulary, a count below 1, more tokens
            than the model's context, sampling without a generator, or logits that are not finite.
    """
    _check(draft, gamma, sampling, generator)
    prompt_1T, stops = read_request(model, tokens, max_new_tokens, stop_ids)
    if len(prompt_1T) != 1:
        raise ValueError(f"tokens must be one prompt, [T] or [1, T], got {len(prompt_1T)} of them")
    stepper = Stepper(model, batch=1, capacity=prompt_1T.shape[1] + max_new_tokens, use_cache=use_cache)
    noise = None if sampling.greedy else generator
    with torch.inference_mode():
        return _decode(stepper, draft, prompt_1T[0], max_new_tokens, gamma, sampling, noise, stops)


def _decode(
    stepper: Stepper,
    draft: Draft,
    sequence_T: Tensor,
    max_new_tokens: int,
    gamma: int,
    sampling: SamplingParams,
    generator: torch.Generator | None,
    stops: Sequence[int],
) -> SpeculativeOutput:
    proposed, accepted = [], []
    wanted = len(sequence_T) + max_new_tokens
    while len(sequence_T) < wanted:
        # The target adds a token of its own, so that one draft fewer fits than tokens are left.
        count = min(gamma, wanted - len(sequence_T) - 1)
        drafts, kept, after = _step(stepper, draft, sequence_T, count, sampling, generator)
        proposed.append(len(drafts))
        accepted.append(kept)
        fresh = [*drafts[:kept], after]
        end = next((place for place, token in enumerate(fresh, start=1) if token in stops), None)
        sequence_T = torch.cat((sequence_T, sequence_T.new_tensor(fresh[:end])))
        if end is not None:
            break
        stepper.truncate(len(sequence_T) - 1)  # rejected drafts are forgotten; the newest token is yet to be fed
    with torch.inference_mode(False):
        return SpeculativeOutput(
            torch.tensor(sequence_T.tolist(), device=sequence_T.device), tuple(proposed), tuple(accepted)
        )


def _step(
    stepper: Stepper,
    draft: Draft,
    sequence_T: Tensor,
    count: int,
    sampling: SamplingParams,
    generator: torch.Generator | None,
) -> tuple[list[int], int, int]:
    """The drafts, how many of them are kept, and the token after these."""
    drafts_g, q_gV = sequence_T[:0], None
    if count:
        drafts_g, q_gV = draft.propose(sequence_T, count, generator)
    g, whole_1T = len(drafts_g), torch.cat((sequence_T, drafts_g))[None]
    logits_GV = stepper.feed(whole_1T[:, stepper.length :])[0, -g - 1 :]
    lengths = range(len(sequence_T), whole_1T.shape[1] + 1)
    p_GV = torch.cat(
        [
            distribution(row_V[None], whole_1T[:, :length], sampling)
            for row_V, length in zip(logits_GV, lengths, strict=True)
        ]
    )
    if q_gV is None or not g:
        q_gV = p_GV[:0]
    kept, after = verify(p_GV, q_gV, drafts_g, generator)
    return drafts_g.tolist(), kept, after


def _check(draft: Draft, gamma: int, sampling: SamplingParams, generator: torch.Generator | None) -> None:
    require_count("gamma", gamma)
    if not callable(getattr(draft, "propose", None)):
        raise TypeError(f"draft must have a method propose, got {type(draft).__name__}")
    if not isinstance(sampling, SamplingParams):
        raise TypeError(f"sampling must be a SamplingParams, got {type(sampling).__name__}")
    if not (generator is None or isinstance(generator, torch.Generator)):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    if generator is None and not sampling.greedy:
        raise ValueError("sampling needs a generator, torch.Generator().manual_seed(...): no hidden global state")
