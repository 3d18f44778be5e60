"""A mixture of experts out of a dense model: each expert begins as a copy of the feed-forward network it replaces.

Copies under weights that sum to 1 are the network itself, whichever of them a token is sent to: the new model computes
what the dense one did, until it is trained. Unusual: a share of the inner units may be kept as a shared network beside
the experts, and the function still does not change, since a feed-forward network is a sum over its inner units.

Drop-Upcycling gives that up on purpose. Copies get equal gradients and stay alike for long; so a random share of each
expert's inner units is drawn anew, other units for each expert, from a normal distribution that has the mean and the
spread of the weights which it replaces. One draw of units serves the three matrices of an expert; the script that the
authors released draws units for each matrix apart.

Sources: Komatsuzaki et al. 2022, Sparse Upcycling, arXiv 2212.05055; Nakamura et al. 2025, Drop-Upcycling, arXiv
2502.19261 (diversity re-initialization).
Shapes: E experts, D width, F inner width of the dense network, S of it shared, R = F - S of each expert.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kb.arguments import is_integer, is_number, require_count
from kb.lm import DecoderLM
from kb.moe.banks import SwiGLUExperts
from kb.moe.language_model import MoEFeedForward
from kb.moe.layer import MoELayer
from kb.moe.router_config import RouterConfig
from kb.moe.routing import Router
from kb.nn import ACTIVATIONS, SwiGLU

ROUTER_STD = 0.02


def keeps_function(config: RouterConfig) -> bool:
    """Whether equal experts behind such a router are one network: whether the weights of every token sum to 1.

    They do where they are divided by their sum, or are a softmax of all E experts and all E are chosen; not where they
    are scaled, where an expert may be full, and where experts choose, as a token may then have none. Two sigmoids of
    small logits are about 1/2 each: almost the function, at the start.
    """
    all_of_softmax = config.scoring == "softmax" and config.top_k == config.num_experts
    return (
        config.choice == "token"
        and config.capacity_factor is None
        and config.scale == 1.0
        and (config.normalize or all_of_softmax)
    )


def upcycled_layer(
    ffn: SwiGLU,
    config: RouterConfig,
    *,
    seed: int,
    drop: float = 0.0,
    shared_inner: int = 0,
    router_std: float = ROUTER_STD,
    implementation: str = "auto",
) -> MoELayer:
    """A layer of E copies of one feed-forward network, and a router of small random numbers.

    Args:
        ffn: Without biases.
        config: How tokens choose; :func:`keeps_function` says whether the output stays what it was.
        seed: Of the router, and of what is drawn anew.
        drop: Share of each expert's inner units that is drawn anew, rounded down to whole units.
        shared_inner: S: so many inner units, the first, go to a shared network in place of the experts.
        router_std: Standard deviation of the router's weights.
        implementation: How experts are run, one of ``kb.moe.IMPLEMENTATIONS``.

    Returns:
        The layer, in the dtype and on the device of ``ffn``, whose weights it does not share.

    Raises:
        TypeError: ``ffn`` is no SwiGLU network.
        ValueError: it has biases, a number is out of its range, or nothing is left for the experts.
    """
    gate_FD, up_FD, down_DF = matrices(ffn)
    _check(seed, drop, router_std)
    F = len(gate_FD)
    require_count("shared_inner", shared_inner, least=0)
    if shared_inner >= F:
        raise ValueError(f"shared_inner {shared_inner} leaves none of {F} inner units for the experts")
    S = shared_inner
    one = (gate_FD[S:], up_FD[S:], down_DF[:, S:])
    generator = torch.Generator().manual_seed(seed)
    experts = [redrawn(one, drop, generator) for _ in range(config.num_experts)]
    shared = None
    if S:
        shared = SwiGLU(gate_FD.shape[1], S)
        shared.activation = ffn.activation
        _put(shared, (gate_FD[:S], up_FD[:S], down_DF[:, :S]))
    return layer_of(experts, ffn, config, generator, router_std, shared=shared, implementation=implementation)


def upcycle(
    model: DecoderLM,
    config: RouterConfig,
    *,
    seed: int,
    layers: Sequence[int] | None = None,
    drop: float = 0.0,
    shared_inner: int = 0,
    router_std: float = ROUTER_STD,
    implementation: str = "auto",
) -> DecoderLM:
    """A copy of a dense language model with experts for feed-forward networks; all of it can be trained.

    Args:
        model: Dense in the layers that are asked for.
        config: How tokens choose.
        seed: Of the routers, and of what is drawn anew; each layer has numbers of its own.
        layers: Which layers get experts, from 0; None for all. Komatsuzaki et al. take every second one.
        drop: As for :func:`upcycled_layer`, with the arguments that follow.
        shared_inner: As there.
        router_std: As there.
        implementation: As there.

    Raises:
        TypeError: a layer's network is no SwiGLU network.
        ValueError: there is no such layer, or as for :func:`upcycled_layer`.
    """
    count = len(model.layers)
    chosen = list(range(count)) if layers is None else list(layers)
    if not chosen or len(set(chosen)) < len(chosen) or not all(is_integer(i) and 0 <= i < count for i in chosen):
        raise ValueError(f"layers must be different numbers of 0 to {count - 1}, got {chosen}")
    _check(seed, drop, router_std)
    seeds = layer_seeds(seed, count)
    made = {
        i: upcycled_layer(
            dense_ffn(model, i),
            config,
            seed=seeds[i],
            drop=drop,
            shared_inner=shared_inner,
            router_std=router_std,
            implementation=implementation,
        )
        for i in chosen
    }
    sparse = copy.deepcopy(model)
    for i, layer in made.items():
        sparse.layers[i].mlp = MoEFeedForward(layer)
    return sparse.requires_grad_()


def layer_seeds(seed: int, count: int) -> list[int]:
    """A seed for each layer, so that layer i is the same whichever others get experts."""
    generator = torch.Generator().manual_seed(seed)
    return [int(number) for number in torch.randint(2**62, (count,), generator=generator)]


def dense_ffn(model: DecoderLM, layer: int) -> SwiGLU:
    """The feed-forward network of a layer.

    Raises:
        TypeError: it is no SwiGLU network.
    """
    ffn = model.layers[layer].mlp
    if not isinstance(ffn, SwiGLU):
        raise TypeError(f"layer {layer} must have a SwiGLU network, got {type(ffn).__name__}")
    return ffn


def matrices(ffn: SwiGLU) -> tuple[Tensor, Tensor, Tensor]:
    """Gate [F, D], up [F, D] and down [D, F] of a network, without gradients.

    Raises:
        TypeError: it is no SwiGLU network.
        ValueError: it has biases, for which ``SwiGLUExperts`` have no place.
    """
    if not isinstance(ffn, SwiGLU):
        raise TypeError(f"ffn must be a SwiGLU network, got {type(ffn).__name__}")
    if any(part.bias is not None for part in (ffn.gate_proj, ffn.up_proj, ffn.down_proj)):
        raise ValueError("ffn has biases, and experts have none")
    gate, up, down = (getattr(ffn, name).weight.detach() for name in ("gate_proj", "up_proj", "down_proj"))
    return gate, up, down


def redrawn(
    one: tuple[Tensor, Tensor, Tensor], share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """An expert's matrices, of which a share of the inner units, drawn at random, is drawn anew.

    Mean and standard deviation are those of the replaced numbers, of each matrix for itself.
    """
    gate_RD, up_RD, down_DR = (matrix.clone() for matrix in one)
    R = len(gate_RD)
    count = int(share * R + 1e-9)  # 0.29 * 100 is a little less than 29
    if count:
        units = torch.randperm(R, generator=generator)[:count].to(gate_RD.device)
        for rows in (gate_RD, up_RD, down_DR.t()):
            dropped = rows[units].float()
            # Drawn where the generator is, in float32: the same numbers on every device and in every dtype.
            noise = torch.randn(dropped.shape, generator=generator).to(rows.device)
            rows[units] = (dropped.mean() + dropped.std(correction=0) * noise).to(rows.dtype)
    return gate_RD, up_RD, down_DR


def layer_of(
    experts: Sequence[tuple[Tensor, Tensor, Tensor]],
    like: SwiGLU,
    config: RouterConfig,
    generator: torch.Generator,
    router_std: float,
    *,
    shared: nn.Module | None = None,
    implementation: str = "auto",
) -> MoELayer:
    """A layer of given experts, with a new router, in the dtype and on the device of ``like``."""
    gate_FD, _, _ = experts[0]
    name = next(name for name, function in ACTIVATIONS.items() if function is like.activation)
    router = Router(gate_FD.shape[1], config)
    weight_ED = torch.randn(router.weight.shape, generator=generator) * router_std
    with torch.no_grad():
        router.weight.copy_(weight_ED)
    with torch.device("meta"):
        bank = SwiGLUExperts(len(experts), gate_FD.shape[1], len(gate_FD), activation=name)
    bank.gate_up_proj = nn.Parameter(torch.stack([torch.cat([gate, up]) for gate, up, _ in experts]))
    bank.down_proj = nn.Parameter(torch.stack([down for _, _, down in experts]))
    layer = MoELayer(router, bank, shared=shared, implementation=implementation)
    for parameter in layer.router.parameters():
        parameter.data = parameter.data.to(gate_FD.dtype)  # not the bias of a router, which stays float32
    layer = layer.to(gate_FD.device)
    return layer.train(like.training)


def _put(ffn: SwiGLU, values: tuple[Tensor, Tensor, Tensor]) -> None:
    for name, value in zip(("gate_proj", "up_proj", "down_proj"), values, strict=True):
        getattr(ffn, name).weight = nn.Parameter(value.clone())


def _check(seed: object, drop: object, router_std: object) -> None:
    if not is_integer(seed):
        raise ValueError(f"seed must be an integer, got {seed!r}")
    if not (is_number(drop) and 0 <= drop <= 1):
        raise ValueError(f"drop must be a share of 0 to 1, got {drop!r}")
    if not (is_number(router_std) and router_std >= 0):
        raise ValueError(f"router_std must be a number of at least 0, got {router_std!r}")
