"""Blocks of transformers: their tensors, in both layouts, give their outputs and their gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import DeepseekV3Config, MixtralConfig, OlmoeConfig, Qwen2MoeConfig, Qwen3MoeConfig
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3MoE
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
from transformers.models.olmoe.modeling_olmoe import OlmoeSparseMoeBlock
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeSparseMoeBlock
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

from kb.moe import MoELayer, moe_from_huggingface

D, F, E, K = 12, 20, 8, 3
SIZES = {"hidden_size": D, "num_experts_per_tok": K}
GROUPS = {"n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5, "n_shared_experts": 2}
BLOCKS: dict[str, tuple[Any, Any]] = {
    "mixtral": (MixtralSparseMoeBlock, MixtralConfig(**SIZES, intermediate_size=F, num_local_experts=E)),
    "qwen3, normalised": (
        Qwen3MoeSparseMoeBlock,
        Qwen3MoeConfig(**SIZES, moe_intermediate_size=F, num_experts=E, norm_topk_prob=True),
    ),
    "qwen3": (
        Qwen3MoeSparseMoeBlock,
        Qwen3MoeConfig(**SIZES, moe_intermediate_size=F, num_experts=E, norm_topk_prob=False),
    ),
    "qwen2, shared and gated": (
        Qwen2MoeSparseMoeBlock,
        Qwen2MoeConfig(**SIZES, moe_intermediate_size=F, shared_expert_intermediate_size=7, num_experts=E),
    ),
    "olmoe": (OlmoeSparseMoeBlock, OlmoeConfig(**SIZES, intermediate_size=F, num_experts=E)),
    "olmoe, gelu": (
        OlmoeSparseMoeBlock,
        OlmoeConfig(**SIZES, intermediate_size=F, num_experts=E, norm_topk_prob=True, hidden_act="gelu"),
    ),
    "deepseek_v3": (
        DeepseekV3MoE,
        DeepseekV3Config(**SIZES, **GROUPS, moe_intermediate_size=F, n_routed_experts=E, norm_topk_prob=True),
    ),
    "deepseek_v3, not normalised": (
        DeepseekV3MoE,
        DeepseekV3Config(**SIZES, **GROUPS, moe_intermediate_size=F, n_routed_experts=E, norm_topk_prob=False),
    ),
}


def make_block(name: str) -> tuple[nn.Module, dict[str, Any]]:
    """A block with random weights, and what its config.json would hold."""
    kind, config = BLOCKS[name]
    config._experts_implementation = "eager"
    torch.manual_seed(len(name))
    block = kind(config)
    with torch.no_grad():
        for tensor in [*block.parameters(), *block.buffers()]:
            tensor.normal_(std=0.3)
    return block, config.to_dict()


def per_expert(state: dict[str, Tensor], names: tuple[str, str, str]) -> dict[str, Tensor]:
    """The same tensors in the layout of checkpoints."""
    state = dict(state)
    gate_up, down = state.pop("experts.gate_up_proj"), state.pop("experts.down_proj")
    for e in range(len(down)):
        parts = (*gate_up[e].chunk(2), down[e])
        state |= {f"experts.{e}.{name}.weight": part for name, part in zip(names, parts, strict=True)}
    return state


def gradients_by_name(module: nn.Module, out: Tensor, x: Tensor, upstream: Tensor) -> dict[str, Tensor]:
    parameters = dict(module.named_parameters())
    found = torch.autograd.grad(out, (x, *parameters.values()), upstream)
    return dict(zip(("x", *parameters), found, strict=True))


OUR_NAMES = {"gate.": "router.", "shared_experts.": "shared.", "shared_expert.": "shared."}


def our_name(name: str) -> str:
    if name.startswith("shared_expert_gate"):
        return name.replace("shared_expert_gate", "shared_gate")
    for theirs, ours in OUR_NAMES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


@pytest.mark.parametrize("layout", ["fused", "per expert"])
@pytest.mark.parametrize("implementation", ["loop", "experts", "grouped"])
@pytest.mark.parametrize("name", BLOCKS)
def test_outputs_and_gradients_equal_transformers(name: str, implementation: str, layout: str) -> None:
    block, config = make_block(name)
    state = dict(block.state_dict())
    if layout == "per expert":
        names = ("w1", "w3", "w2") if name == "mixtral" else ("gate_proj", "up_proj", "down_proj")
        state = per_expert(state, names)
    state = {f"layers.7.mlp.{key}": tensor for key, tensor in state.items()} | {
        "layers.8.mlp.gate.weight": torch.ones(1)
    }
    layer = moe_from_huggingface(config, state, prefix="layers.7.mlp.")
    layer.implementation = implementation
    x = torch.randn(2, 9, D, requires_grad=True)
    ours, theirs = layer(x)[0], block(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    upstream = torch.randn_like(ours)
    mine = gradients_by_name(layer, ours, x, upstream)
    reference = gradients_by_name(block, theirs, x, upstream)
    assert set(mine) == {our_name(key) for key in reference}
    for key, gradient in reference.items():
        torch.testing.assert_close(
            mine[our_name(key)], gradient, rtol=1e-5, atol=1e-5, msg=lambda m, key=key: f"{key}: {m}"
        )


def test_the_layer_has_its_own_tensors_in_the_dtype_of_the_block() -> None:
    block, config = make_block("mixtral")
    layer = moe_from_huggingface(config, block.bfloat16().state_dict())
    assert {parameter.dtype for parameter in layer.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        layer.experts.gate_up_proj.zero_()
    assert bool(block.experts.gate_up_proj.any())
    assert isinstance(layer, MoELayer)


def refusal(name: str, changed: dict[str, Any] | None = None, **tensors: Tensor | None) -> str:
    """What is said of a block whose tensors or configuration were changed."""
    block, config = make_block(name)
    state = {**block.state_dict(), **{key.replace("__", "."): tensor for key, tensor in tensors.items()}}
    with pytest.raises(ValueError) as info:  # noqa: PT011
        moe_from_huggingface({**config, **(changed or {})}, {k: v for k, v in state.items() if v is not None})
    return str(info.value)


def test_refuses_what_does_not_fit() -> None:
    assert "llama" in refusal("mixtral", {"model_type": "llama"})
    assert "num_experts_per_tok" in refusal("mixtral", {"num_experts_per_tok": None})
    assert "n_group" in refusal("deepseek_v3", {"n_group": None})
    assert "num_local_experts" in refusal("mixtral", {"num_local_experts": None})
    assert "num_experts" in refusal("mixtral", {"num_local_experts": 2.5})
    assert "top_k" in refusal("mixtral", {"num_experts_per_tok": 9})
    assert "gate.weight" in refusal("mixtral", gate__weight=None)
    assert "down_proj" in refusal("qwen3", experts__down_proj=None)
    assert "e_score" in refusal("deepseek_v3", gate__e_score_correction_bias=None)
    assert "shared_expert_gate" in refusal("qwen2, shared and gated", shared_expert_gate__weight=None)
    assert "bogus" in refusal("mixtral", bogus=torch.ones(1))
    assert "(8, 12)" in refusal("mixtral", gate__weight=torch.ones(7, D))
    assert "[E, D, F]" in refusal("mixtral", experts__down_proj=torch.ones(7, D))
    assert "swoosh" in refusal("mixtral", {"hidden_act": "swoosh"})


def test_refuses_experts_of_different_shapes() -> None:
    block, config = make_block("olmoe")
    state = per_expert(dict(block.state_dict()), ("gate_proj", "up_proj", "down_proj"))
    state["experts.3.up_proj.weight"] = torch.ones(F + 1, D)
    with pytest.raises(ValueError, match="up_proj"):
        moe_from_huggingface(config, state)
