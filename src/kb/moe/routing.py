"""Which experts a token goes to, and with what weight: one linear layer, a score, a choice of the K highest.

The router is no feed-forward network: its logits are a single matrix times the token. What differs between models is
small, and named in :class:`RouterConfig`: softmax or sigmoid, weights that sum to 1 or not, experts in groups, a bias
that moves the choice but never the weight. Unusual: scores are float32 (float64 for float64 inputs) whatever the
model's dtype, and a pair that finds no room is marked, not removed, so shapes never depend on numbers.

Sources: Shazeer et al. 2017, Outrageously Large Neural Networks, equations 3-5 (top-k, noisy gating); Jiang et al.
2024, Mixtral, section 2.1 (softmax over the chosen); DeepSeek-V2, section 2.1.2, and DeepSeek-V3, section 2.1.2
(groups, sigmoid, bias); Wang et al. 2024, arXiv 2408.15664 (the bias); Zhou et al. 2022, Expert Choice Routing;
Lepikhin et al. 2020, GShard, algorithm 1 (capacity).
Shapes: T tokens, D width, E experts, K choices of a token, P = T K pairs, G groups of S experts, C capacity; where
experts choose, K = E and the pairs not taken are not kept.
"""

# Names of fields end in their shapes.
# ruff: noqa: N815

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.arguments import require_count
from kb.moe.float32_linear import linear_in_float32
from kb.moe.router_config import ORDERS, RouterConfig


@dataclass(frozen=True)
class Routing:
    """Where tokens go. Pairs of a token and an expert are numbered t K + k.

    Args:
        experts_TK: int64, the expert of each pair.
        weights_TK: What the expert's output is multiplied with; 0 where the pair is not served.
        logits_TE: What the linear layer gave, noise included.
        scores_TE: Softmax or sigmoid of the logits, without the bias.
        kept_TK: Which pairs are served; None for all of them, which is then known without looking at numbers.
        room: Most pairs that may be kept, where that is known; None for T K.

    Raises:
        ValueError: the shapes or dtypes do not fit each other; on a CPU, where looking costs no wait, also: there is
            no expert of such a number, or more pairs are kept than there is room for.
    """

    experts_TK: Tensor
    weights_TK: Tensor
    logits_TE: Tensor
    scores_TE: Tensor
    kept_TK: Tensor | None = None
    room: int | None = None

    def __post_init__(self) -> None:
        pairs, scores = self.experts_TK.shape, self.scores_TE.shape
        fits = len(pairs) == len(scores) == 2 and pairs[0] == scores[0] and self.logits_TE.shape == scores
        fits &= self.weights_TK.shape == pairs and (self.kept_TK is None or self.kept_TK.shape == pairs)
        if not fits or self.experts_TK.dtype != torch.int64:
            raise ValueError(
                f"wanted experts (int64) and weights [T, K], logits and scores [T, E], got {self.experts_TK.dtype} "
                f"{tuple(pairs)}, {tuple(self.weights_TK.shape)}, {tuple(self.logits_TE.shape)}, {tuple(scores)}"
            )
        if self.room is not None:
            require_count("room", self.room, least=0)
        if self.experts_TK.device.type == "cpu" and self.experts_TK.numel():
            least, most = int(self.experts_TK.min()), int(self.experts_TK.max())
            if least < 0 or most >= self.num_experts:
                raise ValueError(f"experts must be of 0 to {self.num_experts - 1}, got {least} to {most}")
            kept = self.experts_TK.numel() if self.kept_TK is None else int(self.kept_TK.sum())
            if kept > self.most_kept:
                raise ValueError(f"{kept} pairs are kept, and there is room for {self.room}")

    @property
    def num_experts(self) -> int:
        """E."""
        return self.scores_TE.shape[1]

    @property
    def most_kept(self) -> int:
        """Most pairs that may be kept: ``room``, or all."""
        pairs = self.experts_TK.numel()
        return pairs if self.room is None else min(pairs, self.room)


class Router(nn.Module):
    """One matrix [E, D] without a bias; with ``noisy`` a second one for the size of the noise.

    Args:
        width: D.
        config: How tokens choose.
    """

    bias: Tensor | None

    def __init__(self, width: int, config: RouterConfig) -> None:
        super().__init__()
        require_count("width", width)
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.num_experts, width))
        nn.init.normal_(self.weight, std=width**-0.5)
        # Zeros, as in the paper: the noise starts at softplus(0) = ln 2 for every expert.
        self.noise_weight = nn.Parameter(torch.zeros(config.num_experts, width)) if config.noisy else None
        self.register_buffer("bias", torch.zeros(config.num_experts) if config.bias else None)

    def forward(self, x_TD: Tensor) -> Routing:
        """Route tokens [T, D].

        Raises:
            ValueError: the shape does not fit, or logits are not finite.
        """
        # Autocast would make the products of a layer that is meant to be float32 bfloat16 again.
        wanted = torch.is_autocast_enabled(x_TD.device.type) and not self.config.logits_in_float32
        with torch.autocast(x_TD.device.type, enabled=wanted):
            return self._forward(x_TD)

    def _forward(self, x_TD: Tensor) -> Routing:
        config = self.config
        if x_TD.ndim != 2 or x_TD.shape[1] != self.weight.shape[1]:
            raise ValueError(f"x must be [T, {self.weight.shape[1]}], got {tuple(x_TD.shape)}")
        logits_TE = self._product(x_TD, self.weight)
        if self.noise_weight is not None and self.training:
            size_TE = F.softplus(self._product(x_TD, self.noise_weight))
            logits_TE = logits_TE + torch.randn_like(logits_TE) * size_TE
        if config.check_logits and not bool(torch.isfinite(logits_TE).all()):
            raise ValueError("logits of the router are not finite: the tokens or its weights hold NaN or infinity")
        return route(logits_TE, config, self.bias)

    def _product(self, x_TD: Tensor, weight_ED: Tensor) -> Tensor:
        if self.config.logits_in_float32:
            return linear_in_float32(x_TD, weight_ED)
        return F.linear(x_TD, weight_ED.to(x_TD.dtype)).to(torch.promote_types(x_TD.dtype, torch.float32))


def route(logits_TE: Tensor, config: RouterConfig, bias_E: Tensor | None = None) -> Routing:
    """What :class:`Router` does after its linear layer; ``bias_E`` is added to the scores when choosing.

    Raises:
        ValueError: the logits are not [T, E], or the bias is not [E], or experts choose, which a bias does not steer.
    """
    if logits_TE.ndim != 2 or logits_TE.shape[1] != config.num_experts:
        raise ValueError(f"logits must be [T, {config.num_experts}], got {tuple(logits_TE.shape)}")
    if bias_E is not None and (bias_E.shape != logits_TE.shape[1:] or config.choice == "expert"):
        raise ValueError(f"bias must be [{config.num_experts}] where tokens choose, got {tuple(bias_E.shape)}")
    scores_TE = logits_TE.sigmoid() if config.scoring == "sigmoid" else logits_TE.softmax(-1)
    capacity = config.capacity(len(logits_TE))
    if config.choice == "expert":
        tokens = capacity or 0
        kept_TE = _chosen_by_experts(scores_TE.detach(), tokens)
        experts_TE = torch.arange(config.num_experts, device=logits_TE.device).expand_as(scores_TE)
        weights_TE = _scaled(scores_TE * kept_TE, config)
        return Routing(experts_TE, weights_TE, logits_TE, scores_TE, kept_TE, tokens * config.num_experts)
    with torch.no_grad():
        keys_TE = scores_TE if bias_E is None else scores_TE + bias_E
        if config.num_groups > 1:
            keys_TE = keys_TE.masked_fill(~_in_top_groups(keys_TE, config), -math.inf)
        experts_TK = keys_TE.topk(config.top_k, dim=-1).indices
    if config.softmax_after_top_k:
        weights_TK = logits_TE.gather(1, experts_TK).softmax(-1) * config.scale
    else:
        weights_TK = _scaled(scores_TE.gather(1, experts_TK), config)
    routing = Routing(experts_TK, weights_TK, logits_TE, scores_TE)
    return routing if capacity is None else drop_over_capacity(routing, capacity, by=config.drop)


def drop_over_capacity(routing: Routing, capacity: int, *, by: str = "position") -> Routing:
    """Serve at most so many pairs of each expert; the weights of the others become 0, and nothing makes up for them.

    Args:
        routing: What tokens chose.
        capacity: Pairs that an expert takes; 0 drops all.
        by: "position": first choices of all tokens go before second ones, and among those the earlier token (GShard,
            algorithm 1). "score": the higher weight; equal weights by position.

    Raises:
        ValueError: capacity or order are not of their kind.
    """
    require_count("capacity", capacity, least=0)
    if by not in ORDERS:
        raise ValueError(f"by {by!r} is not known; wanted {' or '.join(ORDERS)}")
    T, K = routing.experts_TK.shape
    with torch.no_grad():
        kept_TK = torch.ones_like(routing.experts_TK, dtype=torch.bool) if routing.kept_TK is None else routing.kept_TK
        # K-major, so that equal experts keep the order of choices, then of tokens.
        experts_P = torch.where(kept_TK, routing.experts_TK, routing.num_experts).t().reshape(-1)
        order_P = torch.arange(T * K, device=experts_P.device)
        if by == "score":
            order_P = routing.weights_TK.detach().t().reshape(-1).sort(descending=True, stable=True).indices
        sorted_P, by_expert_P = experts_P[order_P].sort(stable=True)
        first_P = torch.searchsorted(sorted_P, sorted_P)
        rank_P = torch.empty_like(order_P)
        rank_P[order_P[by_expert_P]] = torch.arange(T * K, device=experts_P.device) - first_P
        kept_TK = kept_TK & (rank_P < capacity).view(K, T).t()
    room = min(routing.most_kept, capacity * routing.num_experts)
    return replace(routing, weights_TK=routing.weights_TK * kept_TK, kept_TK=kept_TK, room=room)


def _scaled(weights_TK: Tensor, config: RouterConfig) -> Tensor:
    if config.normalize:
        # A token may have no expert at all, or sigmoids that are all 0: its weights stay 0.
        weights_TK = weights_TK / (weights_TK.sum(-1, keepdim=True) + 1e-20)
    return weights_TK * config.scale


def _in_top_groups(keys_TE: Tensor, config: RouterConfig) -> Tensor:
    """[T, E], whether an expert is in one of its token's best groups."""
    keys_TGS = keys_TE.unflatten(1, (config.num_groups, -1))
    worth_TG = keys_TGS.amax(-1) if config.group_score == "max" else keys_TGS.topk(2, dim=-1).values.sum(-1)
    best_TB = worth_TG.topk(config.top_groups, dim=-1).indices
    in_best_TG = torch.zeros_like(worth_TG, dtype=torch.bool).scatter_(1, best_TB, True)
    return in_best_TG.repeat_interleave(keys_TGS.shape[-1], dim=1)


def _chosen_by_experts(scores_TE: Tensor, capacity: int) -> Tensor:
    """[T, E], whether an expert takes a token: the so many tokens that score highest with it."""
    tokens_CE = scores_TE.topk(capacity, dim=0).indices
    return torch.zeros_like(scores_TE, dtype=torch.bool).scatter_(0, tokens_CE, True)
