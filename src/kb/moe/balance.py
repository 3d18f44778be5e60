"""How evenly experts are used, and what pushes towards evenness: losses, and the bias that is no loss.

Every loss is returned, without a factor; nothing is stored on a module. Loads count what tokens chose, before pairs
were dropped for want of room: that is what a router is to learn from.

Sources: Fedus et al. 2021, Switch Transformer, equations 4-6; Zoph et al. 2022, ST-MoE, equation 5 (z-loss);
DeepSeek-V3, equations 17-20 (sequence-wise); Wang et al. 2024, arXiv 2408.15664, algorithm 1 (bias) and equation 4
(MaxVio).
Shapes: T tokens, E experts, K choices of a token, B sequences, N tokens of one; ``...`` leading axes.
"""

import torch
from torch import Tensor

from kb.arguments import is_number, require_count
from kb.moe.routing import Routing


def expert_load(routing: Routing, *, served: bool = False) -> Tensor:
    """[E]: how many pairs chose each expert; with ``served``, how many it serves (wanted where experts choose)."""
    experts_P = routing.experts_TK.reshape(-1)
    ones_P = torch.ones_like(experts_P)
    if served and routing.kept_TK is not None:
        ones_P = routing.kept_TK.reshape(-1).to(experts_P.dtype)
    load_E = torch.zeros(routing.num_experts, dtype=torch.int64, device=experts_P.device)
    # Not bincount, for which a GPU would stop.
    # In half precision a count above 2048 would not be one.
    return load_E.scatter_add_(0, experts_P, ones_P).to(torch.promote_types(routing.scores_TE.dtype, torch.float32))


def switch_loss(routing: Routing) -> Tensor:
    """E times the sum over experts of (share of pairs) x (mean share of score): 1 at balance, at most E.

    The share of pairs has no gradient; scores are divided by their sum, which changes nothing for softmax.

    Raises:
        ValueError: there are no tokens.
    """
    return sequence_loss(routing, 1)


def sequence_loss(routing: Routing, num_sequences: int) -> Tensor:
    """The mean of :func:`switch_loss` over sequences, each balanced in itself.

    Args:
        routing: Of sequences of equal length, one after the other.
        num_sequences: B.

    Raises:
        ValueError: there are no tokens, or they are not as many sequences of one length.
    """
    require_count("num_sequences", num_sequences)
    T, E = routing.scores_TE.shape
    if not T or T % num_sequences:
        raise ValueError(f"{T} tokens are not num_sequences {num_sequences} of equal length")
    scores_TE = routing.scores_TE.to(torch.promote_types(routing.scores_TE.dtype, torch.float32))
    # Sigmoids may all be 0.
    share_BE = (scores_TE / (scores_TE.sum(-1, keepdim=True) + 1e-20)).unflatten(0, (num_sequences, -1)).mean(1)
    with torch.no_grad():
        chosen_TE = torch.zeros_like(scores_TE)
        chosen_TE.scatter_add_(1, routing.experts_TK, chosen_TE.new_ones(routing.experts_TK.shape))
        load_BE = chosen_TE.unflatten(0, (num_sequences, -1)).sum(1)
        pairs_BE = load_BE / load_BE.sum(-1, keepdim=True)
    return E * (pairs_BE * share_BE).sum(-1).mean()


def z_loss(routing: Routing) -> Tensor:
    """Mean over tokens of the squared log-sum-exp of the logits: keeps that near 0.

    Raises:
        ValueError: there are no tokens.
    """
    if not len(routing.logits_TE):
        raise ValueError("z_loss needs at least one token, got none")
    return routing.logits_TE.logsumexp(-1).square().mean()


def updated_bias(bias_E: Tensor, load_E: Tensor, rate: float = 1e-3) -> Tensor:
    """The bias after one step: up by ``rate`` for experts below the mean load, down for those above, else the same.

    Args:
        bias_E: Of a router with ``bias``.
        load_E: Pairs of the last step, summed over all ranks that share the router.
        rate: u of the paper.

    Raises:
        ValueError: the shapes differ, the rate is not a positive number, or the bias is in half precision, where
            steps of such a size are lost.
    """
    if bias_E.ndim != 1 or bias_E.shape != load_E.shape:
        raise ValueError(f"bias and load must be [E], got {tuple(bias_E.shape)} and {tuple(load_E.shape)}")
    if bias_E.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"bias must be float32 or float64, got {bias_E.dtype}: keep it so in a model of another dtype")
    if not is_number(rate) or rate <= 0:
        raise ValueError(f"rate must be a positive number, got {rate!r}")
    load_E = load_E.double()
    return bias_E.detach() + rate * (load_E.mean() - load_E).sign().to(bias_E.dtype)


def max_violation(load_E: Tensor) -> Tensor:
    """MaxVio: how far the fullest expert is above the mean load, as a share of it; 0 at balance and of no tokens.

    Args:
        load_E: [..., E]. Of one batch this is the paper's batch value; of loads summed over a data set, the global
            one.

    Raises:
        ValueError: there is no expert.
    """
    load_E = _require_load(load_E)
    mean = load_E.mean(-1)
    return (load_E.amax(-1) - mean) / torch.where(mean > 0, mean, 1)


def load_entropy(load_E: Tensor) -> Tensor:
    """Entropy, in nats, of the shares of load [..., E]: log E at balance, 0 where one expert does all.

    Raises:
        ValueError: there is no expert.
    """
    load_E = _require_load(load_E)
    total = load_E.sum(-1, keepdim=True)
    return torch.special.entr(load_E / torch.where(total > 0, total, 1)).sum(-1)


def choice_entropy(routing: Routing) -> Tensor:
    """Mean over tokens of the entropy, in nats, of a token's scores: low where the router is sure.

    Raises:
        ValueError: there are no tokens.
    """
    if not len(routing.scores_TE):
        raise ValueError("choice_entropy needs at least one token, got none")
    return load_entropy(routing.scores_TE).mean()


def _require_load(load_E: Tensor) -> Tensor:
    if not load_E.ndim or not load_E.shape[-1]:
        raise ValueError(f"load must be [..., E] with at least one expert, got {tuple(load_E.shape)}")
    return load_E if load_E.is_floating_point() else load_E.float()
