"""What every back end refuses before it computes anything, and the seeds that all of them give their samples.

Unusual: a sample's seed depends on the request's seed, on its prompt and on its number, never on its place in a batch.
Two prompts share no noise, a prompt that is asked for twice in one call is as good as one asked for with twice the n,
and rounds with neighbouring seeds do not overlap, which ``seed + number`` alone would do.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from kb.arguments import is_integer, is_number, require_count
from kb.cot.language_model import Sampling

# vLLM's limits: below the least, quotients of logits lose their precision; OpenAI's protocol takes no more than the
# most.
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.01, 2.0
_SEEDS = 2**62


def require_text(name: str, text: object) -> None:
    """Refuse what is no text.

    Raises:
        TypeError: it is not a string.
        ValueError: it holds half a surrogate pair, which no encoding has bytes for.
    """
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a string, got {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} must be valid Unicode, got {text[error.start]!r} at {error.start}") from None


def require_prompts(prompts: object) -> list[str]:
    """The prompts as a list.

    Raises:
        TypeError: they are one string, or no sequence, or one of them is not a string.
        ValueError: one of them is empty or no valid Unicode.
    """
    return require_texts("prompts", prompts, empty=False)


def require_texts(name: str, texts: object, *, empty: bool = True) -> list[str]:
    """Texts as a list; ``empty`` says whether one of them may be empty. Raises as :func:`require_prompts`."""
    if isinstance(texts, str | bytes) or not isinstance(texts, Sequence):
        raise TypeError(f"{name} must be a sequence of strings, got {type(texts).__name__}")
    for place, text in enumerate(texts):
        require_text(f"{name}[{place}]", text)
        if not text and not empty:
            raise ValueError(f"{name}[{place}] must not be empty")
    return list(texts)


def require_questions(questions: object) -> list[str]:
    """Questions as a list; raises as :func:`require_prompts`, and for a blank one too."""
    texts = require_texts("questions", questions, empty=False)
    for place, text in enumerate(texts):
        if not text.strip():
            raise ValueError(f"questions[{place}] must not be blank, got {text!r}")
    return texts


def require_sampling(sampling: object) -> Sampling:
    """The sampling, checked.

    Raises:
        TypeError: it is something else, or a field is of another kind.
        ValueError: a field is out of its range.
    """
    if not isinstance(sampling, Sampling):
        raise TypeError(f"sampling must be a Sampling, got {type(sampling).__name__}")
    require_count("max_tokens", sampling.max_tokens)
    require_count("n", sampling.n)
    heat = sampling.temperature
    if not is_number(heat) or not (heat == 0 or LEAST_TEMPERATURE <= heat <= MOST_TEMPERATURE):
        raise ValueError(
            f"temperature must be 0 (greedy) or from {LEAST_TEMPERATURE} to {MOST_TEMPERATURE}, got {heat!r}"
        )
    if not is_number(sampling.top_p) or not 0 < sampling.top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {sampling.top_p!r}")
    if not is_integer(sampling.seed):
        raise TypeError(f"seed must be an integer, got {sampling.seed!r}")
    require_texts("stop", sampling.stop, empty=False)
    return sampling


def require_room(prompt_tokens: Sequence[int], max_tokens: int, context_length: int) -> None:
    """Refuse prompts that do not fit.

    Args:
        prompt_tokens: Tokens of each prompt.
        max_tokens: New tokens at most.
        context_length: Of both together.

    Raises:
        ValueError: a prompt has no token, or it and ``max_tokens`` exceed the context; the first such one is named.
    """
    for place, tokens in enumerate(prompt_tokens):
        if not tokens:
            raise ValueError(f"prompts[{place}] has no token for this model")
        if tokens + max_tokens > context_length:
            raise ValueError(
                f"prompts[{place}] has {tokens} tokens, and with max_tokens = {max_tokens} that is "
                f"{tokens + max_tokens}, more than context_length = {context_length}"
            )


def first_seeds(prompts: Sequence[str], sampling: Sampling) -> list[int]:
    """The seed of the first sample of each prompt; those of its others follow it one by one."""
    seen: Counter[str] = Counter()
    seeds = []
    for prompt in prompts:
        digest = hashlib.blake2b(f"{sampling.seed}\n{prompt}".encode(), digest_size=8).digest()
        seeds.append(int.from_bytes(digest, "big") % _SEEDS + seen[prompt])
        seen[prompt] += sampling.n
    return seeds


def prompt_ids(text: str, encode: Callable[..., Any], first_token: str | None) -> list[int]:
    """Token ids of a prompt.

    A chat template has written the token that begins a sequence already, and it must not stand there twice.

    Args:
        text: The prompt.
        encode: A tokenizer's, with the argument ``add_special_tokens``.
        first_token: Text of the token that begins a sequence, None where there is none.
    """
    begun = bool(first_token) and text.startswith(first_token or "")
    return list(encode(text, add_special_tokens=not begun))


def as_it_is(message: str, system: str | None) -> str:
    """What ``chat`` makes of a message where the model has no template."""
    return message if system is None else f"{system}\n\n{message}"


def conversation(message: str, system: str | None) -> list[dict[str, str]]:
    """The messages that a template or a server is given."""
    require_text("message", message)
    if system is not None:
        require_text("system", system)
    told = [] if system is None else [{"role": "system", "content": system}]
    return [*told, {"role": "user", "content": message}]


def cut_at_stop(text: str, stop: Sequence[str]) -> str | None:
    """The text before the stop string that begins first, or None where there is none of them."""
    at = min((place for one in stop if (place := text.find(one)) >= 0), default=math.inf)
    return None if at == math.inf else text[: int(at)]
