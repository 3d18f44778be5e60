"""On a GPU the bricks of ``kb.nn`` give the CPU's outputs and gradients, and move their tables and state along."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kb import nn as bricks
from kb.lm import AblationConfig, AblationLM, AttentionModel, ConvolutionModel, RecurrentModel
from kb.nn import (
    ACTIVATION_TABLE,
    AttentionCache,
    MultiHeadAttention,
    causal_mask,
    cross_entropy,
    masked_attention_einsum,
    masked_attention_fused,
    relative_key_scores,
    softmax_vjp,
    t5_buckets,
)

pytestmark = pytest.mark.gpu


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scrambled(module: nn.Module) -> nn.Module:
    """Weights far from their initialisation, in double precision."""
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter.copy_(numbers(*parameter.shape, seed=seed).to(parameter) * 0.3)
    return module.double()


def assert_same(run: Callable[..., Tensor], inputs: list[Tensor], weights: Callable[[], Any], device: Any) -> None:
    """``run`` of leaves on the CPU and on the device: outputs, and gradients of the inputs."""
    found = []
    for where in ("cpu", device):
        leaves = [one.detach().to(where).requires_grad_() for one in inputs]
        module = weights()
        out = run(module.to(where) if isinstance(module, nn.Module) else None, *leaves)
        assert out.device.type == torch.device(where).type
        upstream = numbers(*out.shape, seed=9).to(out)
        learned = [p for p in module.parameters() if p.requires_grad] if isinstance(module, nn.Module) else []
        found.append([out, *torch.autograd.grad(out, [*leaves, *learned], upstream)])
    for here, there in zip(*found, strict=True):
        torch.testing.assert_close(there.cpu(), here)


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "batch norm": (lambda: bricks.BatchNorm1d(6), (5, 6)),
    "batch norm of images": (lambda: bricks.BatchNorm2d(6), (2, 6, 3, 4)),
    "layer norm": (lambda: bricks.LayerNorm(6), (5, 6)),
    "group norm": (lambda: bricks.GroupNorm(3, 6), (2, 6, 4)),
    "instance norm": (lambda: bricks.InstanceNorm2d(6, affine=True), (2, 6, 3, 4)),
    "RNN": (lambda: bricks.RNN(6, 4, 2, batch_first=True), (2, 5, 6)),
    "GRU": (lambda: bricks.GRU(6, 4, 2, batch_first=True), (2, 5, 6)),
    "LSTM": (lambda: bricks.LSTM(6, 4, 2, batch_first=True), (2, 5, 6)),
    "causal convolution": (lambda: bricks.CausalConv1d(6, 4, 3, 2), (2, 6, 9)),
    "learned positions": (lambda: bricks.LearnedPositions(9, 6), (2, 5, 6)),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_equals_its_copy_on_the_cpu(name: str, device: torch.device) -> None:
    make, shape = MODULES[name]

    def run(module: nn.Module | None, x: Tensor) -> Tensor:
        assert module is not None
        out = module(x)
        return out[0] if isinstance(out, tuple) else out

    assert_same(run, [numbers(*shape)], lambda: scrambled(make()), device)


def test_batch_norm_s_running_statistics_follow_it(device: torch.device) -> None:
    there = bricks.BatchNorm1d(6).double().to(device)
    here = bricks.BatchNorm1d(6).double()
    for module in (here, there):
        module(numbers(5, 6).to(module.weight.device))
        module.eval()
    torch.testing.assert_close(there(numbers(2, 6, seed=1).to(device)).cpu(), here(numbers(2, 6, seed=1)))


@pytest.mark.parametrize("attend", [masked_attention_einsum, masked_attention_fused])
def test_multi_head_attention_with_groups_equals_the_cpu_s(attend: Any, device: torch.device) -> None:
    def make() -> nn.Module:
        return scrambled(MultiHeadAttention(16, 4, num_kv_heads=2, batch_first=True, attend=attend))

    def run(module: nn.Module | None, x: Tensor) -> Tensor:
        assert module is not None
        out: Tensor = module(x, x, x, attn_mask=causal_mask(7, device=x.device), need_weights=False)[0]
        return out

    assert_same(run, [numbers(2, 7, 16)], make, device)


def test_decoding_step_by_step_equals_the_whole_pass(device: torch.device) -> None:
    module = scrambled(MultiHeadAttention(16, 4, batch_first=True)).to(device)
    x = numbers(2, 7, 16).to(device)
    whole, _ = module(x, x, x, attn_mask=causal_mask(7, device=device), need_weights=False)
    cache = AttentionCache()
    steps = [module.decode(x[:, t : t + 1], cache) for t in range(7)]
    torch.testing.assert_close(torch.cat(steps, dim=1), whole)


def test_functions_equal_the_cpu_s(device: torch.device) -> None:
    q, k, relative = numbers(2, 5, 3, 4), numbers(2, 5, 3, 4, seed=1), numbers(7, 4, seed=2)
    assert_same(lambda _, *given: relative_key_scores(*given), [q, k, relative], lambda: None, device)
    targets = torch.tensor([0, 3, 2, 1])

    def loss(_: None, logits: Tensor) -> Tensor:
        return cross_entropy(logits, targets.to(logits.device), label_smoothing=0.1)

    assert_same(loss, [numbers(4, 6)], lambda: None, device)
    p = numbers(4, 6).softmax(-1)
    assert_same(lambda _, p, grad: softmax_vjp(p, grad), [p, numbers(4, 6, seed=3)], lambda: None, device)
    distances = torch.arange(-300, 300)
    assert torch.equal(t5_buckets(distances.to(device)).cpu(), t5_buckets(distances))


@pytest.mark.parametrize("name", ACTIVATION_TABLE)
def test_activations_and_derivatives_equal_the_cpu_s(name: str, device: torch.device) -> None:
    x = torch.linspace(-12, 12, 97, dtype=torch.float64)
    for function in (ACTIVATION_TABLE[name].value, ACTIVATION_TABLE[name].derivative):
        torch.testing.assert_close(function(x.to(device)).cpu(), function(x))


@pytest.mark.parametrize("position", ["sinusoidal", "learned", "rope", "alibi"])
def test_the_switched_decoder_equals_the_cpu_s(position: str, device: torch.device) -> None:
    config = AblationConfig(vocab_size=31, width=16, layers=2, heads=4, kv_heads=2, position=position)
    model = scrambled(AblationLM(config))
    ids = torch.randint(0, 31, (2, 9), generator=torch.Generator().manual_seed(0))
    here = model(ids)
    # RMSNorm and the rotary angles are float32 at any dtype of the weights.
    torch.testing.assert_close(model.to(device)(ids.to(device)).cpu(), here, rtol=1e-4, atol=1e-4)


def test_the_three_sequence_models_equal_the_cpu_s(device: torch.device) -> None:
    ids = torch.randint(0, 11, (2, 9), generator=torch.Generator().manual_seed(0))
    for model in (
        AttentionModel(11, 8, max_length=9),
        RecurrentModel(11, 8),
        ConvolutionModel(11, 8, dilations=(1, 2, 4)),
    ):
        here = model.double()(ids)
        torch.testing.assert_close(model.to(device)(ids.to(device)).cpu(), here)
