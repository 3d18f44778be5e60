"""Requests that several races and measurements serve: prompts of token ids, the same on every machine and Python.

A test pins what they are, as a record is worth nothing once its requests have changed.
"""

import random

Prompt = list[int]


def random_prompts(count: int, shortest: int, longest: int, vocab_size: int, seed: int) -> list[Prompt]:
    """Prompts of random ids, their lengths drawn evenly from ``shortest`` to ``longest``."""
    noise = random.Random(seed)
    return [[noise.randrange(vocab_size) for _ in range(noise.randint(shortest, longest))] for _ in range(count)]


def serving_prompts(vocab_size: int) -> list[Prompt]:
    """The 32 requests of the serving races: 32 to 255 random ids each, 4,684 in all for a vocabulary of 49,152."""
    return random_prompts(32, 32, 255, vocab_size, seed=0)


def shared_prefix_prompts(
    count: int, prefix: int, shortest: int, longest: int, vocab_size: int, seed: int
) -> list[Prompt]:
    """Prompts that begin with the same ``prefix`` ids and go on with ``shortest`` to ``longest`` of their own."""
    (shared,) = random_prompts(1, prefix, prefix, vocab_size, seed)
    return [[*shared, *own] for own in random_prompts(count, shortest, longest, vocab_size, seed + 1)]
