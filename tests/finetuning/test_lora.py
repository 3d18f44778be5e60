"""One layer: small numbers by hand, the loop, merging, several adapters, what is refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kb.finetuning import ALL_LINEAR, LoraConfig, LoraLinear, dora_loop, lora_loop


def layer(outputs: int = 5, inputs: int = 4, *, bias: bool = True, seed: int = 0, **config: object) -> LoraLinear:
    torch.manual_seed(seed)
    made = LoraLinear(nn.Linear(inputs, outputs, bias=bias, dtype=torch.float64))
    made.add("default", LoraConfig(**({"rank": 2, "alpha": 6.0} | config)), torch.Generator().manual_seed(seed))
    return made


def filled(made: LoraLinear, name: str = "default") -> LoraLinear:
    with torch.no_grad():
        for parameter in made.adapters[name].parameters():
            parameter.add_(torch.randn_like(parameter))
    return made


def test_two_by_two_by_hand() -> None:
    made = layer(2, 2, bias=False, rank=1, alpha=2.0)
    adapter = made.adapters["default"]
    with torch.no_grad():
        made.base.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        adapter.lora_A.copy_(torch.tensor([[1.0, -1.0]]))
        adapter.lora_B.copy_(torch.tensor([[0.5], [1.0]]))
    x = torch.tensor([3.0, 1.0], dtype=torch.float64)
    assert adapter.delta().tolist() == [[1.0, -1.0], [2.0, -2.0]]
    assert made(x).tolist() == [5.0 + 2.0, 13.0 + 4.0]
    made.merge()
    assert made.base.weight.tolist() == [[2.0, 1.0], [5.0, 2.0]]
    assert made(x).tolist() == [7.0, 17.0]
    made.unmerge()
    assert made.base.weight.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_layer_equals_loop_in_value_and_gradient(dora: bool, bias: bool) -> None:
    made = filled(layer(dora=dora, bias=bias))
    adapter, base = made.adapters["default"], made.base
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    wanted = []
    for x_I in x:
        arguments = (x_I, base.weight, adapter.lora_A, adapter.lora_B)
        scaling = adapter.scaling
        out = dora_loop(*arguments, adapter.lora_magnitude_vector, scaling) if dora else lora_loop(*arguments, scaling)
        wanted.append(out + base.bias if bias else out)
    upstream = torch.randn(3, 5, dtype=torch.float64)
    learned = [x, *adapter.parameters()]
    torch.testing.assert_close(made(x), torch.stack(wanted))
    ours = torch.autograd.grad(made(x), learned, upstream)
    loop = torch.autograd.grad(torch.stack(wanted), learned, upstream)
    torch.testing.assert_close(ours, loop)


@pytest.mark.parametrize("dora", [False, True])
def test_it_starts_as_the_base_and_only_b_has_a_gradient(dora: bool) -> None:
    made = layer(dora=dora)
    adapter = made.adapters["default"]
    x = torch.randn(7, 4, dtype=torch.float64)
    torch.testing.assert_close(made(x), made.base(x))
    made(x).square().sum().backward()
    assert made.base.weight.grad is None
    assert made.base.bias.grad is None
    assert adapter.lora_A.grad.abs().max() == 0 < adapter.lora_B.grad.abs().max()
    assert adapter.lora_A.abs().max() <= 1 / math.sqrt(4)


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 8), st.booleans(), st.booleans(), st.integers(0, 99))
def test_merging_gives_the_same_and_unmerging_the_weights_back(
    outputs: int, inputs: int, rank: int, dora: bool, stabilized: bool, seed: int
) -> None:
    made = filled(layer(outputs, inputs, rank=rank, dora=dora, rank_stabilized=stabilized, seed=seed))
    x = torch.randn(2, 3, inputs, dtype=torch.float64)
    before, weight = made(x), made.base.weight.clone()
    made.merge()
    torch.testing.assert_close(made(x), before, rtol=1e-9, atol=1e-9)
    assert made.merged == ("default",)
    made.unmerge()
    torch.testing.assert_close(made.base.weight, weight, rtol=1e-9, atol=1e-9)
    assert torch.linalg.matrix_rank(made.adapters["default"].delta()) <= min(rank, inputs, outputs)


def test_unmerging_is_within_the_stated_rounding() -> None:
    made = filled(layer(40, 30, rank=4).float())
    weight, moved = made.base.weight.clone(), made.base.weight + made.adapters["default"].delta()
    made.merge()
    made.unmerge()
    larger = torch.maximum(weight.abs(), moved.abs())
    assert bool(((made.base.weight - weight).abs() <= 2**-23 * larger).all())


def test_scaling() -> None:
    assert LoraConfig(rank=16, alpha=8).scaling == 0.5
    assert LoraConfig(rank=16, alpha=8, rank_stabilized=True).scaling == 2.0


def test_active_adapters_add_up() -> None:
    made = filled(layer())
    made.add("second", LoraConfig(rank=3, alpha=3.0), torch.Generator().manual_seed(5))
    filled(made, "second")
    x = torch.randn(2, 4, dtype=torch.float64)
    outs = {}
    for names in ([], ["default"], ["second"], ["default", "second"]):
        made.activate(names)
        outs[tuple(names)] = made(x)
    base = outs[()]
    torch.testing.assert_close(base, made.base(x))
    both = outs["default",] + outs["second",] - base
    torch.testing.assert_close(outs["default", "second"], both)
    weight = made.base.weight.clone()
    made.merge()
    torch.testing.assert_close(made(x), both)
    with pytest.raises(ValueError, match="merged"):
        made.activate([])
    made.unmerge()
    torch.testing.assert_close(made.base.weight, weight)


def test_dropout_drops_inputs_of_a_alone_and_only_in_training() -> None:
    made = filled(layer(dropout=0.5))
    x = torch.ones(2000, 4, dtype=torch.float64)
    straight, full = made.base(x)[0], made.eval()(x)[0]
    torch.testing.assert_close(made(x), full.expand(2000, 5))
    torch.manual_seed(0)
    seen = made.train()(x)
    assert seen.std(dim=0).min() > 0.1
    torch.testing.assert_close(seen.mean(dim=0) - straight, full - straight, rtol=0.15, atol=0.15)


def test_a_dora_is_alone_and_a_magnitude_of_0_cannot_be_unmerged() -> None:
    made = filled(layer(dora=True))
    made.add("second", LoraConfig(rank=3), torch.Generator())
    with pytest.raises(ValueError, match="alone"):
        made.activate(["default", "second"])
    made.activate(["default"])
    with torch.no_grad():
        made.adapters["default"].lora_magnitude_vector[0] = 0.0
    made.merge()
    with pytest.raises(ValueError, match="magnitude of 0"):
        made.unmerge()


def test_bfloat16_is_kept() -> None:
    made = layer().to(torch.bfloat16)
    assert made(torch.ones(1, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("changes", "error", "named"),
    [
        ({"rank": 0}, ValueError, "rank"),
        ({"rank": True}, ValueError, "rank"),
        ({"alpha": 0}, ValueError, "alpha"),
        ({"alpha": float("nan")}, ValueError, "alpha"),
        ({"dropout": 1.0}, ValueError, "dropout"),
        ({"targets": ()}, ValueError, "targets"),
        ({"targets": "q_proj"}, TypeError, "targets"),
        ({"targets": ("q_proj", 3)}, TypeError, "targets"),
        ({"dora": 1}, TypeError, "dora"),
    ],
)
def test_a_bad_configuration_is_refused(changes: dict[str, object], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        LoraConfig(**changes)  # type: ignore[arg-type]
    assert LoraConfig().targets == ALL_LINEAR


def test_bad_use_of_a_layer_is_refused() -> None:
    made = layer()
    with pytest.raises(TypeError, match="base must be a linear layer, got ReLU"):
        LoraLinear(nn.ReLU())
    with pytest.raises(TypeError, match="LoraLinear"):
        LoraLinear(made)
    for name in ("default", "", "a.b"):
        with pytest.raises(ValueError, match="name"):
            made.add(name, LoraConfig(), torch.Generator())
    with pytest.raises(ValueError, match="names"):
        made.activate(["other"])
    with pytest.raises(ValueError, match="names"):
        made.activate(["default", "default"])
    made.merge()
    with pytest.raises(ValueError, match="merged already"):
        made.merge()
    with pytest.raises(ValueError, match="merged"):
        made.add("new", LoraConfig(), torch.Generator())
    with pytest.raises(ValueError, match="wanted x"):
        lora_loop(torch.ones(3), torch.ones(2, 4), torch.ones(1, 4), torch.ones(2, 1), 1.0)
