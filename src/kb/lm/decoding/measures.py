"""What a generated text is measured by: how much of it is new, how much repeats, how likely a model finds it.

Unusual: the two measures of n-grams differ in what they divide by. distinct-n is over the number of *tokens*, of all
texts together; rep-n is over the number of *n-grams* of one text. Only for n = 1 and one text do they add up to 1.

Sources: Li et al. 2016, A Diversity-Promoting Objective Function for Neural Conversation Models (distinct-n);
Welleck et al. 2020, Neural Text Generation with Unlikelihood Training (seq-rep-n); Su et al. 2022, A Contrastive
Framework for Neural Text Generation (rep-n in percent, and diversity).
Shapes: B sequences, T tokens, V vocabulary.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from kb.arguments import require_count
from kb.lm.decoding.stepping import LanguageModel, Tokens, read_tokens


def _ngrams(tokens: Sequence[object] | Tensor, n: int) -> list[tuple[object, ...]]:
    if isinstance(tokens, Tensor):  # whose elements are equal to nothing but themselves in a set
        if tokens.dim() != 1:
            raise ValueError(f"a text must be one sequence of tokens, got a tensor {tuple(tokens.shape)}")
        tokens = tokens.tolist()
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]


def distinct_n(texts: Sequence[Sequence[object] | Tensor], n: int) -> float:
    """Distinct n-grams of all texts over the number of their tokens, between 0 and 1.

    Args:
        texts: Each a sequence of ids or words, or a tensor [T] of ids.
        n: At least 1.

    Raises:
        ValueError: ``n`` is no positive integer, or there is no token at all.
    """
    require_count("n", n)
    total = sum(len(text) for text in texts)
    if not total:
        raise ValueError("texts must hold at least one token")
    return len({gram for text in texts for gram in _ngrams(text, n)}) / total


def repetition(tokens: Sequence[object] | Tensor, n: int) -> float:
    """rep-n, 1 - distinct n-grams / n-grams of one text: 0 where none comes twice; Su et al. give percent.

    Args:
        tokens: The continuation, a sequence of ids or words or a tensor [T] of ids, without its prompt.
        n: At least 1.

    Raises:
        ValueError: ``n`` is no positive integer, or the text is shorter than n.
    """
    require_count("n", n)
    grams = _ngrams(tokens, n)
    if not grams:
        raise ValueError(f"tokens must be at least n = {n}, got {len(tokens)}")
    return 1 - len(set(grams)) / len(grams)


def overlap(texts: Sequence[Sequence[object] | Tensor], n: int) -> float:
    """How alike several texts are: distinct n-grams that two share over those that either has, mean over all pairs.

    1 where all are the same, 0 where no two share anything (the Jaccard index; for self-BLEU, see Zhu et al. 2018).

    Args:
        texts: At least two, each a sequence of ids or words or a tensor [T] of ids, of at least n.
        n: At least 1.

    Raises:
        ValueError: ``n`` is no positive integer, fewer than two texts, or one that is shorter than n.
    """
    require_count("n", n)
    grams = [set(_ngrams(text, n)) for text in texts]
    if len(grams) < 2 or not all(grams):
        raise ValueError(f"texts must be at least two, each of n = {n} tokens or more, got {[len(t) for t in texts]}")
    pairs = [(one, other) for place, one in enumerate(grams) for other in grams[:place]]
    return math.fsum(len(one & other) / len(one | other) for one, other in pairs) / len(pairs)


def diversity(tokens: Sequence[object] | Tensor) -> float:
    """Product over n = 2, 3, 4 of 1 - rep-n: 1 where nothing repeats, near 0 in a loop.

    Raises:
        ValueError: the text is shorter than four tokens.
    """
    return math.prod(1 - repetition(tokens, n) for n in (2, 3, 4))


@torch.inference_mode()
def mean_log_likelihood(model: LanguageModel, tokens: Tokens, *, prompt_length: int = 1) -> Tensor:
    """Mean log-probability in nats of each text's tokens under a model, [B] float32; its negative's exp is perplexity.

    Args:
        model: Tokens [B, T] to logits [B, T, V].
        tokens: Ids, [T] or [B, T].
        prompt_length: So many tokens at the beginning are given and not counted, at least 1.

    Raises:
        TypeError: the model cannot be called, or ids are no integers.
        ValueError: an empty or ragged text, an id outside the vocabulary, or nothing behind the prompt.
    """
    require_count("prompt_length", prompt_length)
    tokens_BT = read_tokens(model, tokens)
    if tokens_BT.shape[1] <= prompt_length:
        raise ValueError(f"tokens must be more than the prompt's {prompt_length}, got {tokens_BT.shape[1]}")
    log_p_BTV = model(tokens_BT[:, :-1])[:, prompt_length - 1 :].float().log_softmax(dim=-1)
    return log_p_BTV.gather(2, tokens_BT[:, prompt_length:, None]).mean(dim=(1, 2))
