"""A language model whose feed-forward networks are mixtures of experts: ``kb.lm.DecoderLM`` with another FFN.

Unusual: the model is the book's one decoder and knows nothing of experts. The routings that balance losses are made of
are collected while a block of code runs (:func:`recorded`) and belong to the caller; no layer keeps one.

Sources: Fedus et al. 2021, Switch Transformer, section 2.2 (the loss added to the model's); Wang et al. 2024, arXiv
2408.15664, algorithm 1 (biases stepped after the weights).
Shapes: B sequences, T tokens, L layers with experts, E experts.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kb.arguments import is_number, require_count
from kb.lm import DecoderLM, ModelConfig
from kb.moe.balance import expert_load, sequence_loss, switch_loss, updated_bias, z_loss
from kb.moe.layer import MoELayer
from kb.moe.router_config import RouterConfig
from kb.moe.routing import Routing
from kb.nn import SwiGLU
from kb.training import Loss, Step, TrainConfig, constant, in_mode, next_token_loss, train
from kb.training.schedules import Schedule


@dataclass(frozen=True)
class Balancing:
    """What pushes towards even use of the experts; every factor 0 for nothing.

    Args:
        switch: Factor of Switch's loss, the mean over layers.
        sequence: Factor of the sequence-wise loss, the mean over layers.
        z: Factor of the z-loss, the mean over layers.
        bias_rate: Step of each router's bias after each step of the weights; the routers must have one.
        bias_schedule: Its factor, by how much of the run is done (see :mod:`kb.training.schedules`). A constant step
            leaves the last biases a step away from balance, now on one side and now on the other.

    Raises:
        ValueError: a factor is not a number of at least 0.
    """

    switch: float = 0.0
    sequence: float = 0.0
    z: float = 0.0
    bias_rate: float = 0.0
    bias_schedule: Schedule = constant

    def __post_init__(self) -> None:
        for name in ("switch", "sequence", "z", "bias_rate"):
            value = getattr(self, name)
            if not is_number(value) or value < 0:
                raise ValueError(f"{name} must be a number of at least 0, got {value!r}")


class MoEFeedForward(nn.Module):
    """A layer of experts where a feed-forward network stood: from [..., D] to [..., D] alone.

    Args:
        moe: The layer; :func:`recorded` is how to see its routing.
    """

    def __init__(self, moe: MoELayer) -> None:
        super().__init__()
        self.moe = moe

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output."""
        out: Tensor = self.moe(x)[0]
        return out


def moe_language_model(
    config: ModelConfig,
    router: RouterConfig,
    *,
    inner: int | None = None,
    shared_inner: int | None = None,
    dense_layers: int = 0,
    implementation: str = "auto",
) -> DecoderLM:
    """A decoder whose layers hold experts; ``kb.training.initialize`` gives it a start for training.

    Args:
        config: The model's; ``intermediate_size`` is the inner width of layers without experts.
        router: How tokens choose.
        inner: F of each expert; ``intermediate_size / top_k`` if not given, at which a token costs what it costs a
            dense model.
        shared_inner: F of a network beside the experts that every token passes; None for none.
        dense_layers: How many layers, from the first, have one network for all (DeepSeek-V3 has 3).
        implementation: How experts are run, one of ``kb.moe.IMPLEMENTATIONS``.

    Raises:
        ValueError: a size is not positive, ``top_k`` does not divide ``intermediate_size``, or no layer has experts.
    """
    require_count("dense_layers", dense_layers, least=0)
    if dense_layers >= config.num_layers:
        raise ValueError(f"dense_layers {dense_layers} leaves none of {config.num_layers} layers for experts")
    if inner is None:
        inner, left_over = divmod(config.intermediate_size, router.top_k)
        if left_over:
            raise ValueError(f"top_k {router.top_k} does not divide intermediate_size {config.intermediate_size}")
    width, activation = config.hidden_size, config.activation

    def make_ffn(config: ModelConfig, layer: int) -> nn.Module:
        if layer < dense_layers:
            return SwiGLU(width, config.intermediate_size, bias=config.ffn_bias, activation=activation)
        options: dict[str, Any] = {"shared_inner": shared_inner, "implementation": implementation}
        return MoEFeedForward(MoELayer.swiglu(width, inner, router, activation=activation, **options))

    return DecoderLM(config, make_ffn)


def moe_layers(model: nn.Module) -> list[MoELayer]:
    """The layers of experts, from the first of the model to the last."""
    return [module for module in model.modules() if isinstance(module, MoELayer)]


@contextmanager
def recorded(model: nn.Module) -> Iterator[list[Routing]]:
    """A list to which each layer of experts appends its routing whenever it runs inside the ``with`` block.

    Raises:
        ValueError: the model has no such layer.
    """
    layers = moe_layers(model)
    if not layers:
        raise ValueError("model has no layer of experts")
    routings: list[Routing] = []

    def keep(layer: nn.Module, inputs: Any, outputs: tuple[Tensor, Routing]) -> None:
        routings.append(outputs[1])

    handles = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield routings
    finally:
        for handle in handles:
            handle.remove()


def moe_loss(balancing: Balancing) -> Loss:
    """The loss to train with: of the next token, plus what balances.

    Returns:
        A function of a model and tokens [B, T + 1], which returns the loss and, beside it, ``next_token`` (the loss
        of the next token alone), ``switch``, ``z`` (both without factors) and ``load_LE``, the pairs of each expert.
    """

    def loss(model: nn.Module, tokens_BT: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with recorded(model) as routings:
            next_token = next_token_loss(model, tokens_BT)
        switch = _mean([switch_loss(routing) for routing in routings])
        z = _mean([z_loss(routing) for routing in routings])
        total = next_token + balancing.switch * switch + balancing.z * z
        if balancing.sequence:
            total = total + balancing.sequence * _mean([sequence_loss(r, len(tokens_BT)) for r in routings])
        load_LE = _loads(model, routings)
        return total, {"next_token": next_token, "switch": switch, "z": z, "load_LE": load_LE}

    return loss


@torch.no_grad()
def step_biases(model: nn.Module, load_LE: Tensor, rate: float) -> None:
    """Move each router's bias by its layer's load, as :func:`kb.moe.updated_bias` says.

    Raises:
        ValueError: there are not as many loads as layers, or a router has no bias.
    """
    layers = moe_layers(model)
    if len(layers) != len(load_LE):
        raise ValueError(f"{len(layers)} layers of experts, and loads of {len(load_LE)}")
    for layer, load_E in zip(layers, load_LE, strict=True):
        if layer.router.bias is None:
            raise ValueError("a router has no bias to be stepped: give RouterConfig(bias=True)")
        layer.router.bias.copy_(updated_bias(layer.router.bias, load_E, rate))


def train_moe(model: nn.Module, batches: Iterable[Tensor], balancing: Balancing, config: TrainConfig) -> list[Step]:
    """``kb.training.train`` with :func:`moe_loss`, and the biases stepped after the weights where there is a rate.

    Raises:
        ValueError: as of ``train``, and a rate is given and a router has no bias.
    """
    if balancing.bias_rate and any(layer.router.bias is None for layer in moe_layers(model)):
        raise ValueError("balancing has a bias_rate and a router has no bias: give RouterConfig(bias=True)")

    def after_step(step: Step) -> None:
        rate = balancing.bias_rate * balancing.bias_schedule(step.number / max(1, config.steps - 1))
        if rate:
            step_biases(model, step.metrics["load_LE"], rate)

    return train(model, batches, moe_loss(balancing), config, after_step=after_step)


@torch.no_grad()
def load_over(model: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """[N, L, E]: the pairs of each layer's experts on each of N batches [B, T + 1], in evaluation mode.

    ``max_violation`` of the sum over N is the paper's global value, the mean of ``max_violation`` its batch value.

    Raises:
        ValueError: there are no batches, or the model has no layer of experts.
    """
    loads = []
    with in_mode(model, training=False):
        for tokens_BT in batches:
            with recorded(model) as routings:
                model(tokens_BT[:, :-1])
            loads.append(_loads(model, routings))
    if not loads:
        raise ValueError("batches must hold at least one batch, got none")
    return torch.stack(loads)


def _loads(model: nn.Module, routings: Sequence[Routing]) -> Tensor:
    """[L, E]: pairs that chose an expert; where experts choose, those that it took."""
    by_expert = [layer.router.config.choice == "expert" for layer in moe_layers(model)]
    return torch.stack([expert_load(one, served=served) for one, served in zip(routings, by_expert, strict=True)])


def _mean(losses: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(losses)).mean()
