"""Layers from the tensors of transformers' blocks: Mixtral, Qwen2-MoE, Qwen3-MoE, OLMoE, DeepSeek-V3.

Two layouts are read: the fused one of transformers 5 (``experts.gate_up_proj``, ``experts.down_proj``), and the one of
checkpoints and of transformers 4, with three matrices for each expert (``experts.0.gate_proj.weight``; in Mixtral's
``experts.0.w1.weight``, with w1 the gate, w3 the up and w2 the down projection).

Shapes: E experts, D width, F inner width.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kb.arguments import require_count
from kb.moe.layer import MoELayer
from kb.moe.router_config import RouterConfig

MODEL_TYPES = ("mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "deepseek_v3")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
_SHARED = {"qwen2_moe": "shared_expert.", "deepseek_v3": "shared_experts."}
_PROJECTIONS = (("gate_proj", "up_proj", "down_proj"), ("w1", "w3", "w2"))
_BIAS = "gate.e_score_correction_bias"


def moe_from_huggingface(config: Mapping[str, Any], state: Mapping[str, Tensor], *, prefix: str = "") -> MoELayer:
    """A layer with the weights of a block.

    Args:
        config: What the model's ``config.json`` holds.
        state: Tensors by name; those that do not begin with the prefix are left alone.
        prefix: Of the block, such as "model.layers.0.mlp.".

    Returns:
        The layer, in the dtype of the experts and on their device. Its tensors are copies. It trains, but without
        what some of these models do while training only (Mixtral's jitter).

    Raises:
        ValueError: the model is not of a known type, an entry of the configuration is missing, or a tensor is
            missing, unknown or of another shape.
    """
    router = router_config(config)
    given = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    kind = config["model_type"]
    fused = _fused(given, router.num_experts)
    _E, width, inner = fused["experts.down_proj"].shape
    tensors = {"router.weight": _taken(given, "gate.weight"), **fused}
    if router.bias:
        tensors["router.bias"] = _taken(given, _BIAS)
    shared = _SHARED.get(kind)
    shared_inner = None
    if shared is not None:
        for name in _PROJECTIONS[0]:
            tensors[f"shared.{name}.weight"] = _taken(given, f"{shared}{name}.weight")
        shared_inner = len(tensors["shared.gate_proj.weight"])
    gate_shared = kind == "qwen2_moe"
    if gate_shared:
        tensors["shared_gate.weight"] = _taken(given, "shared_expert_gate.weight")
    if given:
        raise ValueError(f"{len(given)} tensors under {prefix!r} are not of {kind}; the first is {min(given)}")
    activation = config.get("hidden_act", "silu")
    with torch.device("meta"):
        layer = MoELayer.swiglu(
            width, inner, router, shared_inner=shared_inner, gate_shared=gate_shared, activation=activation
        )
    wants = {name: tuple(tensor.shape) for name, tensor in layer.state_dict().items()}
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != wants[name]:
            raise ValueError(f"{name}: wanted {wants[name]}, got {tuple(tensor.shape)}")
    layer.load_state_dict({name: tensor.detach().clone() for name, tensor in tensors.items()}, assign=True)
    return layer.requires_grad_()


def router_config(config: Mapping[str, Any]) -> RouterConfig:
    """How the tokens of a model choose, read from its ``config.json``.

    Raises:
        ValueError: the model is not of a known type, or an entry is missing or not of its kind.
    """
    kind = config.get("model_type")
    if kind not in MODEL_TYPES:
        raise ValueError(f"model_type {kind!r} is not known; wanted one of {', '.join(MODEL_TYPES)}")
    experts: Any = next((config[name] for name in _EXPERTS if config.get(name) is not None), None)
    missing = [] if experts is not None else [" or ".join(_EXPERTS)]
    wanted = ["num_experts_per_tok"]
    if kind == "deepseek_v3":
        wanted += ["n_group", "topk_group", "routed_scaling_factor"]
    missing += [name for name in wanted if config.get(name) is None]
    if missing:
        raise ValueError(f"config.json of {kind} lacks {', '.join(missing)}")
    for name in wanted[:3]:
        require_count(name, config[name])
    require_count("num_experts", experts)
    top_k = config["num_experts_per_tok"]
    if kind == "mixtral":
        return RouterConfig(experts, top_k, logits_in_float32=False)
    if kind != "deepseek_v3":
        normalize = bool(config.get("norm_topk_prob", False))
        return RouterConfig(experts, top_k, normalize=normalize, logits_in_float32=False)
    return RouterConfig(
        experts,
        top_k,
        scoring="sigmoid",
        normalize=bool(config.get("norm_topk_prob", True)),
        num_groups=config["n_group"],
        top_groups=config["topk_group"],
        group_score="top2",
        scale=config["routed_scaling_factor"],
        bias=True,
    )


def _fused(given: dict[str, Tensor], num_experts: int) -> dict[str, Tensor]:
    """The two tensors of the experts, taken out of either layout."""
    names = ("experts.gate_up_proj", "experts.down_proj")
    if names[0] in given:
        fused = {name: _taken(given, name) for name in names}
    else:
        gate, up, down = _PROJECTIONS["experts.0.w1.weight" in given]
        of_all = {
            name: [_taken(given, f"experts.{e}.{name}.weight") for e in range(num_experts)] for name in (gate, up, down)
        }
        shapes = {name: {tuple(tensor.shape) for tensor in tensors} for name, tensors in of_all.items()}
        for name, found in shapes.items():
            if len(found) > 1:
                raise ValueError(f"experts.*.{name}.weight are of different shapes: {sorted(found)}")
        gates_ups = [torch.cat(pair) for pair in zip(of_all[gate], of_all[up], strict=True)]
        fused = {names[0]: torch.stack(gates_ups), names[1]: torch.stack(of_all[down])}
    if fused[names[1]].ndim != 3:
        raise ValueError(f"{names[1]} must be [E, D, F], got {tuple(fused[names[1]].shape)}")
    return fused


def _taken(given: dict[str, Tensor], name: str) -> Tensor:
    if name not in given:
        raise ValueError(f"the block lacks {name}")
    return given.pop(name)
