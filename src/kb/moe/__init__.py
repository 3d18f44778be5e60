"""Mixture of experts in three seams: routing says which experts, dispatch where the rows lie, experts what they do."""

from kb.moe.balance import (
    choice_entropy,
    expert_load,
    load_entropy,
    max_violation,
    sequence_loss,
    switch_loss,
    updated_bias,
    z_loss,
)
from kb.moe.banks import Expert, ExpertBank, ModuleExperts, SwiGLUExperts
from kb.moe.dispatch import Dispatch
from kb.moe.experts import IMPLEMENTATIONS, run_experts
from kb.moe.layer import MoELayer
from kb.moe.router_config import RouterConfig
from kb.moe.routing import Router, Routing, drop_over_capacity, route
from kb.moe.state_dicts import moe_from_huggingface

__all__ = [
    "IMPLEMENTATIONS",
    "Dispatch",
    "Expert",
    "ExpertBank",
    "MoELayer",
    "ModuleExperts",
    "Router",
    "RouterConfig",
    "Routing",
    "SwiGLUExperts",
    "choice_entropy",
    "drop_over_capacity",
    "expert_load",
    "load_entropy",
    "max_violation",
    "moe_from_huggingface",
    "route",
    "run_experts",
    "sequence_loss",
    "switch_loss",
    "updated_bias",
    "z_loss",
]
