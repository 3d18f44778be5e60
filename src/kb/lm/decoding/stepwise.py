"""Token by token under any chain of processors: the most likely token, or a draw.

What ``kb.lm.generate`` does, for edits that its ``SamplingParams`` does not name: typical sampling, forbidden n-grams,
penalties by count, or a processor of transformers. Unusual: greedy and sampled decoding are one function, since they
differ in nothing but the last line; without a generator the most likely token is taken.

Shapes: B sequences, T prompt tokens, V vocabulary.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from kb.lm.decoding.processor import Processor, Processors
from kb.lm.decoding.stepping import LanguageModel, Stepper, Tokens, read_request
from kb.lm.sampling import draw, require_finite


def decode(
    model: LanguageModel,
    tokens: Tokens,
    max_new_tokens: int,
    *,
    processors: Iterable[Processor] = (),
    generator: torch.Generator | None = None,
    stop_ids: Iterable[int] | None = None,
    use_cache: bool = True,
) -> Tensor:
    """Continue each prompt by up to ``max_new_tokens`` tokens.

    Args:
        model: A :class:`~kb.lm.DecoderLM`, or any callable from tokens [B, T] to logits [B, T, V].
        tokens: Prompt ids, [T] or [B, T].
        max_new_tokens: At least 1.
        processors: Edits of the logits, one after another.
        generator: Source of the noise, on the model's device; rows draw in turn. None takes the most likely token.
        stop_ids: A row that has produced one of these ends and is filled up with it; the model's end-of-sequence ids
            if not given, ``()`` for none.
        use_cache: Whether a :class:`~kb.lm.DecoderLM` keeps keys and values between steps.

    Returns:
        Prompts and new tokens, [B, T + n].

    Raises:
        TypeError: a processor cannot be called, ``generator`` is something else, or ids are no integers.
        ValueError: an empty or ragged prompt, an id outside the vocabulary, more tokens than the model's context, or
            logits of which none is finite after the edits.
    """
    edits = Processors(processors)
    if not (generator is None or isinstance(generator, torch.Generator)):
        raise TypeError(f"generator must be a torch.Generator or None, got {type(generator).__name__}")
    sequence_BT, stops = read_request(model, tokens, max_new_tokens, stop_ids)
    B, T = sequence_BT.shape
    stepper = Stepper(model, batch=B, capacity=T + max_new_tokens, use_cache=use_cache)
    with torch.inference_mode():
        found_BT = _continue(stepper, sequence_BT, max_new_tokens, edits, generator, stops)
    return found_BT.clone()  # outside of inference mode: it may be trained on


def _continue(
    stepper: Stepper,
    sequence_BT: Tensor,
    max_new_tokens: int,
    edits: Processors,
    generator: torch.Generator | None,
    stops: Sequence[int],
) -> Tensor:
    ends = torch.tensor(stops, dtype=torch.long, device=sequence_BT.device)
    ended_B = torch.zeros(len(sequence_BT), dtype=torch.bool, device=sequence_BT.device)
    fresh_BT = sequence_BT
    for _ in range(max_new_tokens):
        scores_BV = edits(sequence_BT, stepper.feed(fresh_BT)[:, -1])
        require_finite(scores_BV)
        chosen_B = scores_BV.argmax(dim=-1) if generator is None else draw(scores_BV, (generator,) * len(scores_BV))
        chosen_B = torch.where(ended_B, sequence_BT[:, -1], chosen_B)
        sequence_BT = torch.cat((sequence_BT, chosen_B[:, None]), dim=1)
        ended_B = ended_B | torch.isin(chosen_B, ends)
        if len(ends) and bool(ended_B.all()):
            break
        fresh_BT = chosen_B[:, None]
    return sequence_BT
