"""Autoregressive generation: prefill the prompt, then one token at a time, with or without a KV cache.

Without a cache every step runs the model over the whole sequence again; with one, over the newest token alone. The
tokens are the same, with two exceptions, in which each way gives what transformers gives in the same way: where the
angles of RoPE depend on the length (dynamic, longrope) and the sequence outgrows the trained one; and in bfloat16 and
float16, whose rounding decides between candidates that are nearly tied, and falls out otherwise in the other way.

Shapes: B sequences, T prompt tokens, V vocabulary.
"""

from collections.abc import Iterable, Sequence
from numbers import Integral

import torch
from torch import Tensor

from kb.arguments import require_count
from kb.lm.cache import KVCache
from kb.lm.config import ModelConfig
from kb.lm.model import DecoderLM
from kb.lm.sampling import GREEDY, SamplingParams, draw, process, require_finite

Generators = torch.Generator | Sequence[torch.Generator] | None


def generate(
    model: DecoderLM,
    tokens: Tensor | Sequence[int] | Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    use_cache: bool = True,
    sampling: SamplingParams = GREEDY,
    generator: Generators = None,
    stop_ids: Iterable[int] | None = None,
) -> Tensor:
    """Continue each prompt by up to ``max_new_tokens`` tokens.

    Args:
        model: A :class:`~kb.lm.DecoderLM`; put it in ``eval`` mode if it has dropout.
        tokens: Prompt ids, [T] or [B, T] (prompts of one length), as a tensor or lists.
        max_new_tokens: At least 1.
        use_cache: Keep keys and values between steps, or compute them anew at each.
        sampling: How tokens are chosen; greedy if not given.
        generator: Source of the noise, on the model's device: one for all rows (which then draw in turn) or one per
            row. Needed unless ``sampling`` is greedy.
        stop_ids: A row that has produced one of these ends; it is filled up with that id while others go on. The
            model's end-of-sequence ids if not given; ``()`` for none.

    Returns:
        Prompt and new tokens, [T + n] or [B, T + n] as the prompt was given, on the model's device.

    Raises:
        TypeError: ``tokens`` or ``stop_ids`` are not integers, or ``sampling`` or ``generator`` is something else.
        ValueError: an empty or ragged prompt, an id (of a prompt or of ``stop_ids``) outside the vocabulary, more
            tokens than the model's context, sampling without a generator, or logits that are not finite.
    """
    sequence_BT, flat = prompt_ids(tokens, model.config.vocab_size, model.embed_tokens.weight.device)
    _check_length(sequence_BT.shape[1], max_new_tokens, model)
    generators = _generators(generator, len(sequence_BT), sampling)
    stops = torch.tensor(end_ids(stop_ids, model.config), dtype=torch.long, device=sequence_BT.device)
    cache = _cache(model, sequence_BT, max_new_tokens) if use_cache else None
    with torch.inference_mode():
        sequence_BT = _continue(model, sequence_BT, max_new_tokens, cache, sampling, generators, stops)
    sequence_BT = sequence_BT.clone()  # outside of inference mode: it may be trained on
    return sequence_BT[0] if flat else sequence_BT


def _continue(
    model: DecoderLM,
    sequence_BT: Tensor,
    max_new_tokens: int,
    cache: KVCache | None,
    sampling: SamplingParams,
    generators: Sequence[torch.Generator],
    stops: Tensor,
) -> Tensor:
    ended_B = torch.zeros(len(sequence_BT), dtype=torch.bool, device=sequence_BT.device)
    fresh_BT = sequence_BT
    for _ in range(max_new_tokens):
        logits_BV = model(fresh_BT, cache=cache, last_only=True)[:, -1]
        chosen_B = _choose(logits_BV, sequence_BT, sampling, generators)
        chosen_B = torch.where(ended_B, sequence_BT[:, -1], chosen_B)
        sequence_BT = torch.cat((sequence_BT, chosen_B[:, None]), dim=1)
        ended_B = ended_B | torch.isin(chosen_B, stops)
        if len(stops) and bool(ended_B.all()):
            break
        fresh_BT = sequence_BT if cache is None else chosen_B[:, None]
    return sequence_BT


def _cache(model: DecoderLM, sequence_BT: Tensor, max_new_tokens: int) -> KVCache:
    weight = model.embed_tokens.weight
    B, T = sequence_BT.shape
    # The last token is never fed back, so its keys and values need no room.
    capacity = T + max_new_tokens - 1
    return KVCache(model.config, batch=B, capacity=capacity, dtype=weight.dtype, device=weight.device)


def _choose(
    logits_BV: Tensor, sequence_BT: Tensor, sampling: SamplingParams, generators: Sequence[torch.Generator]
) -> Tensor:
    processed_BV = process(logits_BV.float(), sequence_BT, sampling)
    if not sampling.greedy:
        return draw(processed_BV, generators)
    require_finite(processed_BV)
    return processed_BV.argmax(dim=-1)


def prompt_ids(
    tokens: Tensor | Sequence[int] | Sequence[Sequence[int]], vocab_size: int | None, device: torch.device | None
) -> tuple[Tensor, bool]:
    """Prompts as int64 ids [B, T] on a device (None: where they are), and whether they came as one [T].

    Raises:
        TypeError: the ids are no integers.
        ValueError: an empty or ragged prompt, or an id outside the vocabulary.
    """
    try:
        prompt = torch.as_tensor(tokens)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"tokens must be integer ids [T] or [B, T], all prompts of one length: {error}") from error
    if prompt.numel() == 0 or prompt.dim() not in (1, 2):
        raise ValueError(f"tokens must be a non-empty [T] or [B, T], got {tuple(prompt.shape)}")
    if prompt.dtype == torch.bool or prompt.is_floating_point() or prompt.is_complex():
        raise TypeError(f"tokens must be integer ids, got {prompt.dtype}")
    prompt = prompt.to(torch.long)  # some of torch's integers have no minimum
    low, high = int(prompt.min()), int(prompt.max())
    if low < 0 or (vocab_size is not None and high >= vocab_size):
        most = "any" if vocab_size is None else vocab_size - 1
        raise ValueError(f"token ids must be in 0 to {most}, got {low if low < 0 else high}")
    return prompt.to(device).reshape(-1, prompt.shape[-1]), prompt.dim() == 1


def end_ids(stop_ids: Iterable[int] | None, config: ModelConfig) -> tuple[int, ...]:
    """The ids that end a sequence: those given, or the model's own.

    Raises:
        TypeError: they are no integers.
        ValueError: one is outside the vocabulary.
    """
    if stop_ids is None:
        return config.eos_ids
    if not isinstance(stop_ids, Iterable):
        raise TypeError(f"stop_ids must be a sequence of integers, got {stop_ids!r}")
    stop_ids = tuple(stop_ids)
    for stop in stop_ids:
        if not isinstance(stop, Integral) or isinstance(stop, bool):
            raise TypeError(f"stop_ids must be integers, got {stop!r}")
    wrong = [stop for stop in stop_ids if not 0 <= stop < config.vocab_size]
    if wrong:
        raise ValueError(f"stop_ids must be in 0 to {config.vocab_size - 1}, got {wrong[0]}")
    return stop_ids


def _check_length(T: int, max_new_tokens: int, model: DecoderLM) -> None:
    require_count("max_new_tokens", max_new_tokens)
    limit = model.config.context_length
    if T + max_new_tokens > limit:
        raise ValueError(f"{T} prompt tokens and {max_new_tokens} new ones exceed the model's context of {limit}")


def _generators(generator: Generators, B: int, sampling: SamplingParams) -> Sequence[torch.Generator]:
    if not isinstance(sampling, SamplingParams):
        raise TypeError(f"sampling must be a SamplingParams, got {type(sampling).__name__}")
    if sampling.greedy:
        return ()
    if generator is None:
        raise ValueError("sampling needs a generator, torch.Generator().manual_seed(...): no hidden global state")
    if isinstance(generator, torch.Generator):
        return (generator,) * B
    if not isinstance(generator, Sequence) or not all(isinstance(one, torch.Generator) for one in generator):
        raise TypeError(f"generator must be a torch.Generator or a sequence of them, got {type(generator).__name__}")
    if len(generator) != B:
        raise ValueError(f"wanted one generator or {B}, one per prompt, got {len(generator)}")
    return tuple(generator)
