"""Contrastive search: of the k most likely tokens, the one that looks least like anything said before.

Step t takes the argmax over the k most likely v of (1 - alpha) p(v | x_<t) - alpha max_j cos(h_v, h_j), where h_v is
the hidden state that v would get as token t, and j runs over prompt and output. Unusual: the last summand needs the
model's answer to every candidate before one is chosen; that answer holds the next step's distribution too, so that a
step is one pass over k rows. Here h is the last hidden state behind the final norm, transformers' hidden_states[-1].

Source: Su et al. 2022, A Contrastive Framework for Neural Text Generation (its decoding method). transformers 5.23
has it no more (it is sent to the Hub, transformers-community/contrastive-search), so that this file's own reference and
greedy decoding (alpha 0, or k 1) are what it is held against.
Shapes: B sequences, K candidates, T tokens so far, D model width, V vocabulary.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kb.arguments import is_number, require_count
from kb.lm.cache import Cache, KVCache, NoCache
from kb.lm.decoding.stepping import Tokens, read_request
from kb.lm.model import DecoderLM
from kb.lm.sampling import require_finite

States = Callable[[Tensor], tuple[Tensor, Tensor]]  # tokens [B, T] to logits [B, T, V] and hidden states [B, T, D]


@dataclass(frozen=True)
class ContrastiveConfig:
    """How contrastive search chooses.

    Args:
        max_new_tokens: New tokens at most.
        top_k: Candidates at every step.
        penalty_alpha: Weight of the degeneration penalty, between 0 (greedy) and 1 (the penalty alone).

    Raises:
        TypeError: ``penalty_alpha`` is no finite number.
        ValueError: it is not between 0 and 1, or a count is no positive integer.
    """

    max_new_tokens: int
    top_k: int = 4
    penalty_alpha: float = 0.6

    def __post_init__(self) -> None:
        require_count("max_new_tokens", self.max_new_tokens)
        require_count("top_k", self.top_k)
        if not is_number(self.penalty_alpha):
            raise TypeError(f"penalty_alpha must be a finite number, got {self.penalty_alpha!r}")
        if not 0 <= self.penalty_alpha <= 1:
            raise ValueError(f"penalty_alpha must be between 0 and 1, got {self.penalty_alpha}")


def contrastive_scores_loop(
    confidences: Sequence[float],
    candidates: Sequence[Sequence[float]],
    context: Sequence[Sequence[float]],
    alpha: float,
) -> list[float]:
    """Reference of the rule over lists: one score per candidate.

    Args:
        confidences: The model's probability of each of the k candidates.
        candidates: The hidden state of each.
        context: The hidden states of all tokens before, at least one.
        alpha: Weight of the penalty.
    """
    scores = []
    for confidence, state in zip(confidences, candidates, strict=True):
        penalty = max(_cosine(state, before) for before in context)
        scores.append((1 - alpha) * confidence - alpha * penalty)
    return scores


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    product = math.fsum(x * y for x, y in zip(a, b, strict=True))
    norms = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(y * y for y in b))
    return product / norms if norms else 0.0  # a state of zeros is like nothing


def contrastive_scores(confidences_BK: Tensor, candidates_BKD: Tensor, context_BTD: Tensor, alpha: float) -> Tensor:
    """The rule for all candidates at once, [B, K].

    Args:
        confidences_BK: The model's probabilities of the candidates.
        candidates_BKD: Their hidden states.
        context_BTD: The hidden states of all tokens before, at least one.
        alpha: Weight of the penalty, between 0 and 1.

    Raises:
        ValueError: the shapes do not fit each other, or ``alpha`` is out of its range.
    """
    B, D = len(context_BTD), context_BTD.shape[-1]
    wanted = (*confidences_BK.shape, D)
    if (
        (confidences_BK.dim(), context_BTD.dim()) != (2, 3)
        or candidates_BKD.shape != wanted
        or len(confidences_BK) != B
        or not context_BTD.shape[1]
    ):
        raise ValueError(
            f"wanted confidences [B, K], candidates [B, K, D] and context [B, T, D] of at least one token, got "
            f"{tuple(confidences_BK.shape)}, {tuple(candidates_BKD.shape)} and {tuple(context_BTD.shape)}"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha}")
    cosines_BKT = F.normalize(candidates_BKD, dim=-1) @ F.normalize(context_BTD, dim=-1).mT
    return (1 - alpha) * confidences_BK - alpha * cosines_BKT.amax(dim=-1)


@torch.inference_mode()
def contrastive_search_loop(
    states: States, prompt: Sequence[int], config: ContrastiveConfig, *, eos_ids: Sequence[int] = ()
) -> list[int]:
    """Reference: every candidate of every step alone through the whole model; prompt and output.

    Args:
        states: Tokens [1, T] to logits [1, T, V] and hidden states [1, T, D], as :func:`states_of` makes it.
        prompt: Ids, at least one.
        config: How to choose.
        eos_ids: What ends the text.
    """
    tokens = list(prompt)
    for _ in range(config.max_new_tokens):
        logits, context = states(torch.tensor([tokens]))
        probabilities = logits[0, -1].float().softmax(dim=-1)
        confidences, candidates = probabilities.topk(min(config.top_k, len(probabilities)))
        hidden = [states(torch.tensor([[*tokens, token]]))[1][0, -1].tolist() for token in candidates.tolist()]
        scores = contrastive_scores_loop(confidences.tolist(), hidden, context[0].tolist(), config.penalty_alpha)
        tokens.append(int(candidates[max(range(len(scores)), key=scores.__getitem__)]))
        if tokens[-1] in eos_ids:
            break
    return tokens


def states_of(model: DecoderLM) -> States:
    """The model as a function to logits and to the hidden states that contrastive search compares."""

    def states(tokens_BT: Tensor) -> tuple[Tensor, Tensor]:
        return _pass(model, tokens_BT, NoCache())

    return states


def _pass(model: DecoderLM, tokens_BT: Tensor, cache: Cache) -> tuple[Tensor, Tensor]:
    hidden_BTD = model.norm(model.hidden(tokens_BT, cache))
    logits_BTV = model.lm_head(hidden_BTD)
    cache.advance(tokens_BT.shape[1])
    return logits_BTV, hidden_BTD


def contrastive_search(
    model: DecoderLM, tokens: Tokens, config: ContrastiveConfig, *, stop_ids: Iterable[int] | None = None
) -> Tensor:
    """Continue each prompt by contrastive search, one pass of B * K rows a token.

    Args:
        model: A :class:`~kb.lm.DecoderLM`, whose hidden states are compared.
        tokens: Prompt ids, [T] or [B, T].
        config: How to choose.
        stop_ids: A row that has produced one of these ends and is filled up with it; the model's end-of-sequence ids
            if not given, ``()`` for none.

    Returns:
        Prompts and new tokens, [B, T + n].

    Raises:
        TypeError: ``model`` or ``config`` is something else, or ids are no integers.
        ValueError: an empty or ragged prompt, an id outside the vocabulary, more tokens than the model's context, or
            logits that are not finite.
    """
    if not isinstance(model, DecoderLM):
        raise TypeError(f"model must be a DecoderLM, whose hidden states are known, got {type(model).__name__}")
    if not isinstance(config, ContrastiveConfig):
        raise TypeError(f"config must be a ContrastiveConfig, got {type(config).__name__}")
    prompt_BT, stops = read_request(model, tokens, config.max_new_tokens, stop_ids)
    with torch.inference_mode():
        found_BT = _search(model, prompt_BT, config, torch.tensor(stops, device=prompt_BT.device).long())
    return found_BT.clone()  # outside of inference mode: it may be trained on


def _search(model: DecoderLM, tokens_BT: Tensor, config: ContrastiveConfig, stops: Tensor) -> Tensor:
    (B, T), K = tokens_BT.shape, min(config.top_k, model.config.vocab_size)
    weight = model.embed_tokens.weight
    capacity = T + config.max_new_tokens
    cache = KVCache(model.config, batch=B, capacity=capacity, dtype=weight.dtype, device=weight.device)
    logits_BTV, context_BTD = _pass(model, tokens_BT, cache)
    logits_BV = logits_BTV[:, -1]
    rows_B = kept_B = torch.arange(B, device=tokens_BT.device)
    ended_B = torch.zeros(B, dtype=torch.bool, device=tokens_BT.device)
    for _ in range(config.max_new_tokens):
        require_finite(logits_BV)
        confidences_BK, candidates_BK = logits_BV.float().softmax(dim=-1).topk(K)
        cache.select(kept_B.repeat_interleave(K))
        logits_R1V, hidden_R1D = _pass(model, candidates_BK.reshape(-1, 1), cache)
        hidden_BKD = hidden_R1D[:, 0].unflatten(0, (B, K))
        scores_BK = contrastive_scores(confidences_BK, hidden_BKD.float(), context_BTD.float(), config.penalty_alpha)
        best_B = scores_BK.argmax(dim=-1)
        kept_B = rows_B * K + best_B
        chosen_B = torch.where(ended_B, tokens_BT[:, -1], candidates_BK[rows_B, best_B])
        tokens_BT = torch.cat((tokens_BT, chosen_B[:, None]), dim=1)
        context_BTD = torch.cat((context_BTD, hidden_BKD[rows_B, best_B][:, None]), dim=1)
        logits_BV = logits_R1V[kept_B, 0]
        ended_B = ended_B | torch.isin(chosen_B, stops)
        if len(stops) and bool(ended_B.all()):
            break
    return tokens_BT
