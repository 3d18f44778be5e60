"""What each head of a decoder looks at: its weights, three scores of what they look like, and the model without it.

A fused kernel keeps no weights, so the model is run with a cache that attends by einsum and keeps them; nothing of the
model is changed. Heads that are silenced add zero to the residual stream, whatever they looked at (zero ablation).

Unusual: the scores speak of weights alone. An induction head by definition also raises the logit of the token that it
looks at; that is not in the score, and is what silencing is for.

Source: Olsson et al. 2022, In-context Learning and Induction Heads (heads on repeated sequences of random tokens);
Xiao et al. 2024, section 3.1 (weight on the first tokens).
Shapes: L layers, B sequences, T tokens, N query heads, G key-value heads, H head width, V vocabulary.
"""

# ruff: noqa: N815
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from kb.arguments import is_integer, require_count
from kb.lm.cache import NoCache
from kb.lm.model import DecoderLM
from kb.nn import causal_mask, masked_attention_einsum

Head = tuple[int, int]


@dataclass(frozen=True)
class AttentionMaps:
    """One forward pass of a model, and what its heads looked at.

    Args:
        logits_BTV: What the model gave.
        weights_LBNTT: Of query t (last but one axis) on key s; rows sum to 1 and are 0 where s > t.
        values_LBTGH: The values that were mixed; query head n mixes those of head n // (N / G).
    """

    logits_BTV: Tensor
    weights_LBNTT: Tensor
    values_LBTGH: Tensor


class _WatchingCache(NoCache):
    """No cache: causal attention by einsum, whose weights and values are kept layer by layer."""

    def __init__(self, silenced: frozenset[Head]) -> None:
        self.silenced = silenced
        self.weights: list[Tensor] = []
        self.values: list[Tensor] = []

    def attend(
        self, layer: int, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, *, window: int | None = None
    ) -> Tensor:
        """Causal attention among the tokens given; zeros of the heads that are silenced."""
        T = q_BTNH.shape[1]
        hidden_TT = causal_mask(T, device=q_BTNH.device)
        if window is not None:
            hidden_TT = hidden_TT | torch.ones_like(hidden_TT).tril(-window)
        mask_TT = torch.zeros_like(hidden_TT, dtype=q_BTNH.dtype).masked_fill(hidden_TT, -math.inf)
        out_BTNH, weights_BNTT = masked_attention_einsum(q_BTNH, k_BTGH, v_BTGH, mask_TT)
        self.weights.append(weights_BNTT)
        self.values.append(v_BTGH)
        silent = [n for at, n in self.silenced if at == layer]
        if silent:
            out_BTNH = out_BTNH.index_fill(2, torch.tensor(silent, device=out_BTNH.device), 0.0)
        return out_BTNH


def attention_maps(model: DecoderLM, tokens_BT: Tensor, *, silenced: Iterable[Head] = ()) -> AttentionMaps:
    """Run a model and keep what its heads looked at. All weights are in memory, 4 L B N T² bytes in float32.

    Args:
        model: Whose heads.
        tokens_BT: Integer ids.
        silenced: Heads, as (layer, head), that add nothing to the residual stream.

    Raises:
        TypeError: a silenced head is not a pair of integers.
        ValueError: the model has no such head, or the ids are none of its vocabulary.
    """
    config = model.config
    chosen = frozenset(silenced)
    for head in chosen:
        if not (isinstance(head, tuple) and len(head) == 2 and all(map(is_integer, head))):
            raise TypeError(f"silenced must be pairs (layer, head) of integers, got {head!r}")
        if not (0 <= head[0] < config.num_layers and 0 <= head[1] < config.num_heads):
            raise ValueError(
                f"silenced head {head}: the model has {config.num_layers} layers of {config.num_heads} heads"
            )
    cache = _WatchingCache(chosen)
    logits_BTV = model(tokens_BT, cache=cache)
    return AttentionMaps(logits_BTV, torch.stack(cache.weights), torch.stack(cache.values))


def head_scores(weights_LBNTT: Tensor, period: int) -> dict[str, Tensor]:
    """Three numbers from 0 to 1 for each head, [L, N]: means of a weight over the queries that could give it.

    ``previous token``: on the token before the query's. ``induction``: on the token after the last copy of the query's
    own, in a sequence that repeats every ``period`` tokens; queries from the second copy on. ``first token``: on the
    first token, by all queries but the first two, which could not look elsewhere or only at the token before.

    Args:
        weights_LBNTT: As :func:`attention_maps` gives them, of sequences that repeat.
        period: After how many tokens they repeat, at least 3 and less than T.

    Raises:
        ValueError: the weights are not [L, B, N, T, T], or ``period`` is out of its range.
    """
    _check(weights_LBNTT, period)
    # The diagonal of offset -d holds the weights of queries d, d + 1, ... on the key d places before.
    induction_LBNQ = weights_LBNTT.diagonal(1 - period, -2, -1)[..., 1:]
    return {
        "previous token": weights_LBNTT.diagonal(-1, -2, -1).mean((1, 3)),
        "induction": induction_LBNQ.mean((1, 3)),
        "first token": weights_LBNTT[..., 2:, 0].mean((1, 3)),
    }


def head_scores_loop(weights_LBNTT: Tensor, period: int) -> dict[str, Tensor]:
    """Reference: one head, sequence and query at a time. Arguments and errors as of :func:`head_scores`."""
    _check(weights_LBNTT, period)
    L, B, N, T, _ = weights_LBNTT.shape
    found = {name: weights_LBNTT.new_zeros(L, N) for name in ("previous token", "induction", "first token")}
    for layer in range(L):
        for n in range(N):
            looks: dict[str, list[float]] = {name: [] for name in found}
            for b in range(B):
                for t in range(T):
                    row = weights_LBNTT[layer, b, n, t].tolist()
                    if t >= 1:
                        looks["previous token"].append(row[t - 1])
                    if t >= period:
                        looks["induction"].append(row[t - period + 1])
                    if t >= 2:
                        looks["first token"].append(row[0])
            for name, seen in looks.items():
                found[name][layer, n] = sum(seen) / len(seen)
    return found


def _check(weights_LBNTT: Tensor, period: int) -> None:
    if weights_LBNTT.dim() != 5 or weights_LBNTT.shape[3] != weights_LBNTT.shape[4] or not weights_LBNTT.numel():
        raise ValueError(f"weights must be a non-empty [L, B, N, T, T], got {tuple(weights_LBNTT.shape)}")
    require_count("period", period, least=3)
    if period >= weights_LBNTT.shape[3]:
        raise ValueError(f"period must be less than the {weights_LBNTT.shape[3]} tokens, got {period}")
