"""A mixture-of-experts layer, forwards and backwards: ``kb.moe`` against transformers' Mixtral block.

Both hold the same weights, and each runs its experts as it does by default (transformers: ``grouped_mm``). On a GPU
bfloat16 and many tokens; on a CPU float32 and few. Ours does not look whether logits are finite, which theirs does
not either.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import MixtralConfig
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

from benchmarks.contest import Contest
from kb import runtime
from kb.moe import moe_from_huggingface

EXPERTS, TOP_K = 8, 2
# Width, inner width, tokens, dtype, how far gradients may differ as a share of their largest magnitude.
SIZES = {
    "cuda": (2048, 1024, 32_768, torch.bfloat16, 2**-5),
    "cpu": (512, 1024, 4_096, torch.float32, 1e-4),
}


def contest(device: torch.device) -> Contest:
    """Make both layers, and assert that outputs and gradients agree."""
    width, inner, tokens, dtype, bound = SIZES[device.type]
    config = MixtralConfig(
        hidden_size=width, intermediate_size=inner, num_local_experts=EXPERTS, num_experts_per_tok=TOP_K
    )
    # What loading a model sets; a block made alone is left without.
    config._experts_implementation = "grouped_mm"
    torch.manual_seed(0)
    theirs = MixtralSparseMoeBlock(config).to(device, dtype)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.02)
    ours = moe_from_huggingface(config.to_dict(), theirs.state_dict())
    ours.router.config = replace(ours.router.config, check_logits=False)
    x = torch.randn(1, tokens, width, device=device, dtype=dtype, requires_grad=True)
    upstream = torch.randn_like(x)

    def run(layer: Any) -> tuple[Tensor, ...]:
        out = layer(x)
        out = out[0] if isinstance(out, tuple) else out
        answer = (out, *torch.autograd.grad(out, (x, *layer.parameters()), upstream))
        runtime.synchronize(device)
        return answer

    theirs_by_name = dict(zip(["out", "x", *dict(theirs.named_parameters())], run(theirs), strict=True))
    for name, tensor in zip(["out", "x", *dict(ours.named_parameters())], run(ours), strict=True):
        wanted = theirs_by_name[name.replace("router.", "gate.")]
        error = float((tensor.detach() - wanted).abs().max() / wanted.abs().max())
        assert error <= bound, f"{name}: the contenders differ by {error:.2g} of the largest magnitude"
    return Contest(
        title=f"MoE layer forward and backward, {EXPERTS} experts, top {TOP_K}, D {width}, F {inner}, {dtype}".replace(
            "torch.", ""
        ),
        ours="kb.moe.MoELayer",
        theirs="transformers MixtralSparseMoeBlock, grouped_mm",
        unit="token",
        units=tokens,
        agreement=f"output and every gradient within {bound:.2g} of its largest magnitude",
        run_ours=lambda: run(ours),
        run_theirs=lambda: run(theirs),
    )
