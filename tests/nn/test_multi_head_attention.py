"""Multi-head attention: torch's state loads, and its outputs, weights and gradients come out; a cache step by step."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kb.nn import (
    AttentionCache,
    MultiHeadAttention,
    causal_mask,
    masked_attention_einsum,
    masked_attention_fused,
    masked_attention_loop,
)

E, N = 6, 3


def pair(seed: int = 0, **options: Any) -> tuple[MultiHeadAttention, torch.nn.MultiheadAttention]:
    """Ours and torch's with the same weights, the biases not 0."""
    torch.manual_seed(seed)
    theirs = torch.nn.MultiheadAttention(E, N, **options).double()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_()
    ours = MultiHeadAttention(E, N, **options).double()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def assert_same_gradients(ours: Any, theirs: Any, inputs: list[Tensor], outs: list[Tensor]) -> None:
    upstream = torch.randn(outs[0].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    one = torch.autograd.grad(outs[0], [*inputs, *ours.parameters()], upstream)
    other = torch.autograd.grad(outs[1], [*inputs, *theirs.parameters()], upstream)
    names = [*range(len(inputs)), *dict(ours.named_parameters())]
    assert [name for name in names if isinstance(name, str)] == list(dict(theirs.named_parameters()))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "B": draw(st.sampled_from([None, 1, 2])),
        "T": draw(st.integers(1, 4)),
        "S": draw(st.integers(1, 4)),
        "kdim": draw(st.sampled_from([None, 5])),
        "vdim": draw(st.sampled_from([None, 4])),
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "need_weights": draw(st.booleans()),
        "average": draw(st.booleans()),
        "mask": draw(st.sampled_from([None, "bool", "float"])),
        "per_head": draw(st.booleans()),
        "padding": draw(st.sampled_from([None, "bool", "float"])),
        "seed": draw(st.integers(0, 2**31)),
    }


def random_mask(kind: str | None, shape: tuple[int, ...], generator: torch.Generator) -> Tensor | None:
    if kind is None:
        return None
    forbidden = torch.rand(shape, generator=generator) < 0.4
    forbidden[..., 0] = False  # torch's own rows that see nothing have a test of their own
    if kind == "bool":
        return forbidden
    return torch.randn(shape, generator=generator, dtype=torch.float64).masked_fill(forbidden, -math.inf)


@settings(max_examples=40)
@given(case=cases())
def test_equals_torch_in_output_weights_and_gradients(case: dict[str, Any]) -> None:
    options = {name: case[name] for name in ("kdim", "vdim", "bias", "batch_first")}
    ours, theirs = pair(case["seed"], **options)
    generator = torch.Generator().manual_seed(case["seed"])
    B, T, S = case["B"], case["T"], case["S"]

    def sequence(length: int, width: int) -> Tensor:
        shape = (length, width) if B is None else (B, length, width) if case["batch_first"] else (length, B, width)
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    inputs = [sequence(T, E), sequence(S, case["kdim"] or E), sequence(S, case["vdim"] or E)]
    rows = N if B is None else B * N
    mask = random_mask(case["mask"], (rows, T, S) if case["per_head"] else (T, S), generator)
    padding = random_mask(case["padding"], (S,) if B is None else (B, S), generator)
    call = {
        "attn_mask": mask,
        "key_padding_mask": padding,
        "need_weights": case["need_weights"],
        "average_attn_weights": case["average"],
    }
    (our_out, our_weights), (their_out, their_weights) = ours(*inputs, **call), theirs(*inputs, **call)
    torch.testing.assert_close(our_out, their_out, rtol=1e-9, atol=1e-9)
    if case["need_weights"]:
        torch.testing.assert_close(our_weights, their_weights, rtol=1e-9, atol=1e-9)
    else:
        assert our_weights is None
        assert their_weights is None
    assert_same_gradients(ours, theirs, inputs, [our_out, their_out])


@pytest.mark.parametrize("attend", [masked_attention_loop, masked_attention_einsum, masked_attention_fused])
@pytest.mark.parametrize("G", [1, 3])
def test_three_ways_through_the_module_give_one_answer(attend: Any, G: int) -> None:
    torch.manual_seed(0)
    plain = MultiHeadAttention(E, N, num_kv_heads=G, batch_first=True).double()
    way = MultiHeadAttention(E, N, num_kv_heads=G, batch_first=True, attend=attend).double()
    way.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, E, dtype=torch.float64)
    outs = [module(x, x, x, attn_mask=causal_mask(4), need_weights=False)[0] for module in (plain, way)]
    torch.testing.assert_close(outs[1], outs[0], rtol=1e-10, atol=1e-10)


def test_fewer_key_value_heads_are_those_of_sdpa() -> None:
    torch.manual_seed(0)
    module = MultiHeadAttention(12, 6, num_kv_heads=2, batch_first=True).double()
    assert {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()} == {
        "in_proj_weight": (12 + 4 + 4, 12),
        "in_proj_bias": (20,),
        "out_proj.weight": (12, 12),
        "out_proj.bias": (12,),
    }
    x = torch.randn(2, 5, 12, dtype=torch.float64, requires_grad=True)
    projected = F.linear(x, module.in_proj_weight, module.in_proj_bias).split([12, 4, 4], dim=-1)
    q, k, v = (part.unflatten(-1, (-1, 2)).transpose(1, 2) for part in projected)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    theirs = module.out_proj(mixed.transpose(1, 2).flatten(2))
    for need in (True, False):
        ours, weights = module(x, x, x, attn_mask=causal_mask(5), need_weights=need, average_attn_weights=False)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
        assert weights is None or weights.shape == (2, 6, 5, 5)
        a, b = (torch.autograd.grad(one.square().sum(), x, retain_graph=True)[0] for one in (ours, theirs))
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_rows_that_see_nothing_are_as_in_torch() -> None:
    ours, theirs = pair(batch_first=True)
    x = torch.randn(2, 3, E, dtype=torch.float64, requires_grad=True)
    mask = torch.zeros(3, 3, dtype=torch.bool)
    mask[1] = True
    (our_out, our_weights), (their_out, their_weights) = (m(x, x, x, attn_mask=mask) for m in (ours, theirs))
    assert our_out[:, 1].isnan().all()
    torch.testing.assert_close(our_out, their_out, equal_nan=True)
    torch.testing.assert_close(our_weights, their_weights, equal_nan=True)
    outs = [module(x, x, x, attn_mask=mask, need_weights=False)[0] for module in (ours, theirs)]
    torch.testing.assert_close(outs[0][:, 1], ours.out_proj.bias.expand(2, -1))
    torch.testing.assert_close(outs[0], outs[1])
    assert_same_gradients(ours, theirs, [x], outs)


def test_the_fast_path_of_torch_gives_nan_where_its_other_paths_give_zeros() -> None:
    ours, theirs = (kind(4, 2, batch_first=True) for kind in (MultiHeadAttention, torch.nn.MultiheadAttention))
    x, mask = torch.randn(1, 2, 4), torch.tensor([[True, True], [False, False]])
    with torch.inference_mode():
        assert theirs.eval()(x, x, x, attn_mask=mask, need_weights=False)[0][:, 0].isnan().all()
        assert ours.eval()(x, x, x, attn_mask=mask, need_weights=False)[0].isfinite().all()


@pytest.mark.parametrize("need_weights", [True, False])
def test_after_the_same_seed_the_same_weights_are_dropped_as_in_torch(need_weights: bool) -> None:
    ours, theirs = pair(dropout=0.5, batch_first=True)
    x = torch.randn(2, 4, E, dtype=torch.float64, requires_grad=True)
    outs = []
    for module in (ours, theirs):
        torch.manual_seed(3)
        outs.append(module(x, x, x, need_weights=need_weights)[0])
    assert not torch.allclose(outs[0], ours.eval()(x, x, x)[0])
    torch.testing.assert_close(outs[0], outs[1], rtol=1e-9, atol=1e-9)
    assert_same_gradients(ours, theirs, [x], outs)


@pytest.mark.parametrize("options", [{}, {"kdim": 4, "vdim": 5}, {"bias": False}])
def test_initial_values_are_those_of_torch_after_the_same_seed(options: dict[str, Any]) -> None:
    states = []
    for kind in (MultiHeadAttention, torch.nn.MultiheadAttention):
        torch.manual_seed(5)
        states.append(kind(E, N, **options).state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@settings(max_examples=10)
@given(parts=st.lists(st.integers(1, 3), min_size=1, max_size=4), G=st.sampled_from([1, 3]), first=st.booleans())
def test_decoding_in_any_steps_equals_the_whole_causal_pass(parts: list[int], G: int, first: bool) -> None:
    torch.manual_seed(0)
    module = MultiHeadAttention(E, N, num_kv_heads=G, batch_first=first).double()
    x_BTE = torch.randn(2, sum(parts), E, dtype=torch.float64)
    x = x_BTE if first else x_BTE.transpose(0, 1)
    whole = module(x, x, x, attn_mask=causal_mask(sum(parts)))[0]
    cache = AttentionCache()
    axis = 1 if first else 0
    steps = torch.cat([module.decode(one, cache) for one in x.split(parts, dim=axis)], dim=axis)
    assert cache.length == sum(parts)
    torch.testing.assert_close(steps, whole, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embed_dim": 5}, "embed_dim must be a multiple"),
        ({"num_heads": 0}, "num_heads"),
        ({"num_kv_heads": 2}, "num_heads must be a multiple of num_kv_heads"),
        ({"num_kv_heads": 0}, "num_kv_heads"),
        ({"dropout": 1.5}, "dropout"),
        ({"kdim": 2.0}, "kdim"),
        ({"embed_dim": True}, "embed_dim"),
    ],
)
def test_refuses_impossible_sizes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiHeadAttention(**{"embed_dim": E, "num_heads": N, **options})


@pytest.mark.parametrize(
    ("shapes", "call", "message"),
    [
        ([(2, 3, 5), (2, 3, E), (2, 3, E)], {}, "widths"),
        ([(3, E), (2, 3, E), (2, 3, E)], {}, "2 axes"),
        ([(2, 3, E), (1, 3, E), (1, 3, E)], {}, "as many sequences"),
        ([(2, 3, E), (2, 4, E), (2, 3, E)], {}, "key and value as long"),
        ([(2, 0, E)] * 3, {}, "at least one key"),
        ([(2, 3, E)] * 3, {"attn_mask": torch.zeros(2, 3)}, "attn_mask"),
        ([(2, 3, E)] * 3, {"attn_mask": torch.zeros(2, 3, 3)}, "attn_mask"),
        ([(2, 3, E)] * 3, {"key_padding_mask": torch.zeros(3, 2)}, "key_padding_mask"),
        ([(2, 3, E)] * 3, {"is_causal": True}, "is_causal"),
    ],
)
def test_refuses_bad_input(shapes: list[tuple[int, ...]], call: dict[str, Any], message: str) -> None:
    module = MultiHeadAttention(E, N, batch_first=True)
    with pytest.raises(ValueError, match=message):
        module(*(torch.ones(shape) for shape in shapes), **call)


def test_refuses_other_dtypes_and_weights_of_the_fused_way() -> None:
    module, x = MultiHeadAttention(E, N, batch_first=True), torch.ones(2, 3, E)
    with pytest.raises(TypeError, match="query, key and value"):
        module(x.double(), x, x)
    for name, mask in (("attn_mask", torch.zeros(3, 3)), ("key_padding_mask", torch.zeros(2, 3))):
        for dtype in (torch.int64, torch.float64):
            with pytest.raises(TypeError, match=name):
                module(x, x, x, **{name: mask.to(dtype)})
    with pytest.raises(ValueError, match="need_weights"):
        MultiHeadAttention(E, N, attend=masked_attention_fused)(x, x, x)


def test_refuses_to_decode_what_does_not_fit_the_cache() -> None:
    module, cache = MultiHeadAttention(E, N, dropout=0.1, batch_first=True), AttentionCache()
    with pytest.raises(ValueError, match="dropout"):
        module.decode(torch.ones(2, 1, E), cache)
    module.eval().decode(torch.ones(2, 1, E), cache)
    with pytest.raises(ValueError, match="cache holds"):
        module.decode(torch.ones(3, 1, E), cache)
    with pytest.raises(ValueError, match="3 axes"):
        module.decode(torch.ones(1, E), cache)
    with pytest.raises(TypeError, match="AttentionCache, got NoneType"):
        module.decode(torch.ones(2, 1, E), None)  # type: ignore[arg-type]
    assert cache.length == 1
