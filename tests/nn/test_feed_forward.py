"""SwiGLU: loop = module = transformers, in value and gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP

from kb.nn import ACTIVATIONS, SwiGLU, swiglu_loop


@settings(max_examples=25)
@given(
    width=st.integers(1, 12),
    inner=st.integers(1, 20),
    bias=st.booleans(),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    seed=st.integers(0, 2**31),
)
def test_value_and_gradients_equal_transformers(width: int, inner: int, bias: bool, activation: str, seed: int) -> None:
    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=width,
        num_attention_heads=1,
        head_dim=2,
        intermediate_size=inner,
        mlp_bias=bias,
        hidden_act=activation,
    )
    theirs = LlamaMLP(config)
    ours = SwiGLU(width, inner, bias=bias, activation=activation)
    ours.load_state_dict(theirs.state_dict())
    ours, theirs = ours.double(), theirs.double()
    x = torch.randn(2, 3, width, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)
    upstream = torch.randn(2, 3, width, dtype=torch.float64)
    mine = torch.autograd.grad(ours(x), (x, *ours.parameters()), upstream)
    reference = torch.autograd.grad(theirs(x), (x, *theirs.parameters()), upstream)
    for a, b in zip(mine, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_loop_equals_module_with_gradients() -> None:
    torch.manual_seed(0)
    module = SwiGLU(5, 9).double()
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    weights = (module.gate_proj.weight, module.up_proj.weight, module.down_proj.weight)
    loop, fast = swiglu_loop(x, *weights), module(x)
    torch.testing.assert_close(loop, fast, rtol=1e-12, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(loop.sin().sum(), (x, *weights)),
        torch.autograd.grad(fast.sin().sum(), (x, *weights)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_refuses_an_unknown_activation() -> None:
    with pytest.raises(ValueError, match=r"swoosh.*silu"):
        SwiGLU(4, 8, activation="swoosh")


@pytest.mark.parametrize("gate", [-1000.0, -100.0, 100.0])
def test_loop_and_module_agree_where_the_exponential_overflows(gate: float) -> None:
    module = SwiGLU(1, 1)
    weights = (module.gate_proj.weight, module.up_proj.weight, module.down_proj.weight)
    with torch.no_grad():
        for weight in weights:
            weight.fill_(1.0)
    x = torch.tensor([gate], requires_grad=True)
    (loop,), (fast,) = (torch.autograd.grad(out.sum(), x) for out in (swiglu_loop(x, *weights), module(x)))
    torch.testing.assert_close(loop, fast)


def test_loop_refuses_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"wanted x .D.*\(3,\), \(4, 3\), \(5, 3\)"):
        swiglu_loop(torch.ones(3), torch.ones(4, 3), torch.ones(5, 3), torch.ones(3, 4))
