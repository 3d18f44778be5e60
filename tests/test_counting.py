"""Counts equal torch's own where torch counts, and the formula by hand everywhere."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kb.counting import Work, count, operators


@settings(max_examples=40)
@given(
    m=st.integers(1, 9),
    k=st.integers(1, 9),
    n=st.integers(1, 9),
    bias=st.booleans(),
    leading=st.integers(0, 2),
    inference=st.booleans(),
)
def test_linear_layers(m: int, k: int, n: int, bias: bool, leading: int, inference: bool) -> None:
    layer, x = torch.nn.Linear(k, n, bias=bias), torch.randn(*[2] * leading, m, k)
    rows = m * 2**leading
    with torch.inference_mode(inference):
        work = count(lambda: layer(x))
        with FlopCounterMode(display=False) as torch_s:
            layer(x)
    assert work.flops == torch_s.get_total_flops() == 2 * rows * k * n
    assert work.bytes == 4 * (rows * k + k * n + rows * n + (n if bias else 0))


@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.parametrize(("N", "G", "T", "S"), [(6, 6, 5, 5), (6, 2, 1, 9), (4, 1, 3, 7)])
def test_fused_attention_counts_as_the_two_products_of_the_plain_one(
    N: int, G: int, T: int, S: int, inference: bool
) -> None:
    q, k = torch.randn(2, N, T, 8), torch.randn(2, G, S, 8)
    with torch.inference_mode(inference):
        work = count(lambda: F.scaled_dot_product_attention(q, k, k, enable_gqa=True))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as torch_s, torch.no_grad():
        F.scaled_dot_product_attention(q, k, k, enable_gqa=True)
    assert work.flops == torch_s.get_total_flops()
    assert work.bytes == 4 * (2 * q.numel() + 2 * k.numel())


def test_gradients_of_a_product_cost_two_more() -> None:
    a, b = torch.randn(3, 5, requires_grad=True), torch.randn(5, 7, requires_grad=True)
    assert count(lambda: (a @ b).sum().backward()).flops == 3 * (2 * 3 * 5 * 7)


def test_bytes_follow_the_dtype_and_elementwise_work_is_free() -> None:
    x = torch.randn(4, 4, dtype=torch.bfloat16)
    assert count(lambda: x @ x).bytes == 3 * 16 * 2
    assert count(lambda: (x + x).exp()) == Work(0, 0)


def test_intensity() -> None:
    assert Work(6, 3).intensity == 2.0
    assert Work(0, 0).intensity == math.inf


def test_products_inside_composite_operators_are_seen_in_every_mode() -> None:
    a, b = torch.randn(3, 4, 5), torch.randn(3, 5, 2)
    for inference in (True, False):
        with torch.inference_mode(inference):
            assert count(lambda: torch.einsum("bij,bjk->bik", a, b)).flops == 2 * 3 * 4 * 5 * 2
            assert count(lambda: torch.tensordot(a[0], b[0], dims=1)).flops == 2 * 4 * 5 * 2
            assert count(lambda: torch.inner(a[0], a[1])).flops == 2 * 4 * 5 * 4


def test_products_in_place_and_summed_over_a_batch() -> None:
    a, b, out = torch.randn(3, 4, 5), torch.randn(3, 5, 2), torch.zeros(4, 2)
    assert count(lambda: out.addmm_(a[0], b[0])).flops == 2 * 4 * 5 * 2
    assert count(lambda: torch.addbmm(out, a, b)).flops == 3 * 2 * 4 * 5 * 2
    assert count(lambda: torch.vdot(a[0, 0], a[0, 1])).flops == 2 * 5


@pytest.mark.parametrize("inference", [True, False])
def test_a_mask_is_no_traffic_and_values_may_be_wider_than_keys(inference: bool) -> None:
    q, k, v = torch.randn(1, 2, 3, 8), torch.randn(1, 2, 7, 8), torch.randn(1, 2, 7, 16)
    mask = torch.ones(3, 7, dtype=torch.bool)
    with torch.inference_mode(inference):
        plain = count(lambda: F.scaled_dot_product_attention(q, k, k))
        assert count(lambda: F.scaled_dot_product_attention(q, k, k, attn_mask=mask)) == plain
        wide = count(lambda: F.scaled_dot_product_attention(q, k, v))
    assert wide.flops == 2 * 2 * 3 * 7 * (8 + 16)


@pytest.mark.parametrize("layer", [torch.nn.MultiheadAttention(8, 2, batch_first=True).eval(), torch.nn.LSTM(8, 8)])
def test_a_layer_that_runs_as_one_operator_is_refused_and_not_counted_as_nothing(layer: torch.nn.Module) -> None:
    x = torch.randn(2, 3, 8)
    arguments = (x, x, x) if isinstance(layer, torch.nn.MultiheadAttention) else (x,)
    with torch.inference_mode(), pytest.raises(NotImplementedError, match="whole layer"):
        count(lambda: layer(*arguments))


def test_operators_are_written_down_without_views() -> None:
    x = torch.ones(3, 4)

    def work() -> torch.Tensor:
        y = (x @ x.T).relu()[:2].transpose(0, 1)
        return torch.empty(100).fill_(1)[:1] + y.sum()

    found = operators(work)
    assert found.calls == {"mm": 1, "relu": 1, "fill_": 1, "sum": 1, "add": 1}
    assert found.largest == 100


def test_operators_see_through_composites_and_inference_mode() -> None:
    a, b = torch.ones(2, 3, 4), torch.ones(2, 4, 5)
    with torch.inference_mode():
        found = operators(lambda: torch.einsum("bij,bjk->bik", a, b))
    assert found.calls["bmm"] == 1
    assert found.largest == 30
