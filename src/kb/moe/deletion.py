"""A layer without some of its experts: their weights are gone, and the router chooses among those that are left.

Nothing else changes, so what is measured is what the deleted experts were worth to a model that was trained with them.
With a softmax over all experts the weights of the others grow in proportion, since they are divided by a smaller sum;
with top-k a token that chose a deleted expert gets its next best one. (A bias is not divided: after a softmax over
fewer experts it weighs less against the scores, and may change a choice that no deleted expert had part in.)

Source: Lu et al. 2024, Not All Experts are Equal, section 3.1 (a layer keeps a subset of its experts).
Shapes: E experts, M experts that are left, D width.
"""

from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import replace

import torch
from torch import nn

from kb.arguments import is_integer
from kb.lm import DecoderLM
from kb.moe.banks import ModuleExperts, SwiGLUExperts
from kb.moe.language_model import MoEFeedForward
from kb.moe.layer import MoELayer
from kb.moe.multi_task.multi_gate import MultiGateMixture
from kb.moe.multi_task.progressive import ExtractionLayer
from kb.moe.routing import Router

Bank = SwiGLUExperts | ModuleExperts


def kept_experts(num_experts: int, deleted: Collection[int]) -> list[int]:
    """The numbers of the experts that are left, in their order.

    Raises:
        ValueError: there is no such expert, one is named twice, or none is left.
    """
    if not all(is_integer(e) and 0 <= e < num_experts for e in deleted) or len(set(deleted)) != len(deleted):
        raise ValueError(f"deleted must be different experts of 0 to {num_experts - 1}, got {sorted(deleted)}")
    kept = [e for e in range(num_experts) if e not in set(deleted)]
    if not kept:
        raise ValueError(f"deleted must leave at least one of {num_experts} experts")
    return kept


def router_without(router: Router, deleted: Collection[int]) -> Router:
    """A copy of a router that knows nothing of some experts; ``top_k`` falls where fewer are left.

    Raises:
        ValueError: as of :func:`kept_experts`, or the experts are in groups, which would be of unequal size.
    """
    config = router.config
    kept = kept_experts(config.num_experts, deleted)
    if config.num_groups > 1:
        raise ValueError(f"router must have one group of experts, got {config.num_groups}")
    smaller = Router(router.weight.shape[1], replace(config, num_experts=len(kept), top_k=min(config.top_k, len(kept))))
    for name in ("weight", "noise_weight", "bias"):  # each in its own dtype: a bias stays float32
        if (old := getattr(router, name)) is not None:
            getattr(smaller, name).data = old.data[kept]
            getattr(smaller, name).requires_grad_(old.requires_grad)
    return smaller.train(router.training)


def bank_without(bank: Bank, deleted: Collection[int]) -> Bank:
    """A copy of a bank that holds the other experts alone.

    Raises:
        ValueError: as of :func:`kept_experts`.
    """
    kept = kept_experts(len(bank), deleted)
    smaller = deepcopy(bank)
    if isinstance(smaller, ModuleExperts):
        smaller.experts = nn.ModuleList(smaller.experts[e] for e in kept)
    else:
        with torch.no_grad():
            for name, old in list(smaller.named_parameters()):
                setattr(smaller, name, nn.Parameter(old[kept], requires_grad=old.requires_grad))
    return smaller


def layer_without(layer: MoELayer, deleted: Collection[int]) -> MoELayer:
    """A copy of a layer with fewer experts; what is shared stays.

    Raises:
        ValueError: as of :func:`router_without`.
    """
    smaller = deepcopy(layer)
    smaller.router = router_without(layer.router, deleted)
    smaller.experts = bank_without(layer.experts, deleted)
    return smaller


def language_model_without(model: DecoderLM, deleted: Mapping[int, Collection[int]]) -> DecoderLM:
    """A copy of a language model with fewer experts.

    Args:
        model: As ``moe_language_model`` makes it.
        deleted: Which experts, by the number of their layer among those that have experts.

    Raises:
        ValueError: there is no such layer, or as of :func:`router_without`.
    """
    smaller = deepcopy(model)
    layers = [module for module in smaller.modules() if isinstance(module, MoEFeedForward)]
    if not all(is_integer(number) and 0 <= number < len(layers) for number in deleted):
        raise ValueError(f"deleted must name layers of 0 to {len(layers) - 1}, got {list(deleted)}")
    for number, gone in deleted.items():
        layers[number].moe = layer_without(layers[number].moe, gone)
    return smaller


def mixture_without(model: MultiGateMixture, deleted: Collection[int]) -> MultiGateMixture:
    """A copy of an MMoE with fewer experts, taken from every gate.

    Raises:
        ValueError: as of :func:`router_without`.
    """
    smaller = deepcopy(model)
    gates = [gate for gate in model.gates if isinstance(gate, Router)]
    smaller.gates = nn.ModuleList(router_without(gate, deleted) for gate in gates)
    smaller.experts = bank_without(model.experts, deleted)
    return smaller


def extraction_without(layer: ExtractionLayer, deleted: Collection[int]) -> ExtractionLayer:
    """A copy of a layer of PLE with fewer experts, taken from the gates that see them.

    Raises:
        ValueError: as of :func:`router_without`, also where a gate sees none of the experts that are left.
    """
    kept = kept_experts(len(layer.experts), deleted)
    smaller = deepcopy(layer)
    smaller.owners = tuple(layer.owners[e] for e in kept)
    smaller.experts.experts = nn.ModuleList(smaller.experts.experts[e] for e in kept)
    gates = [gate for gate in layer.gates if isinstance(gate, Router)]
    places = [[i for i, e in enumerate(layer.members(g)) if e in set(deleted)] for g in range(len(gates))]
    smaller.gates = nn.ModuleList(router_without(gate, gone) for gate, gone in zip(gates, places, strict=True))
    return smaller
