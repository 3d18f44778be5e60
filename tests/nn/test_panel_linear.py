"""Products with weights in panels: torch's numbers, for every size, and no row that knows of another."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from kb.nn import RMSNorm, apply_rotary

pytest.importorskip("numba")

from kb.nn.compiled import use_torch_threads
from kb.nn.panel_linear import PanelLinear, panel_linear_reference
from kb.nn.panel_linear_numba import rotate

ROWS = [1, 2, 7, 8, 9, 31, 33, 300]


def layers(inputs: int, outputs: list[int], *, bias: bool = False, seed: int = 0) -> list[nn.Linear]:
    noise = torch.Generator().manual_seed(seed)
    made = [nn.Linear(inputs, one, bias=bias).requires_grad_(False) for one in outputs]
    for linear in made:
        for parameter in linear.parameters():
            parameter.normal_(generator=noise)
    return made


def some_norm(width: int) -> RMSNorm:
    norm = RMSNorm(width, 1e-5).requires_grad_(False)
    norm.weight.normal_(1.0, 0.3, generator=torch.Generator().manual_seed(1))
    return norm


def norm_with_eps(eps: float) -> RMSNorm:
    norm = RMSNorm(4, 1e-5)
    norm.eps = eps
    return norm


def assert_close(ours: Tensor, wanted: Tensor) -> None:
    assert ours.shape == wanted.shape
    assert ours.dtype == torch.float32
    if wanted.numel():
        assert float((ours - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())


@given(
    rows=st.sampled_from(ROWS) | st.integers(0, 70),
    inputs=st.integers(1, 65),
    outputs=st.lists(st.integers(1, 100), min_size=1, max_size=3),
    bias=st.booleans(),
    normed=st.booleans(),
    added=st.booleans(),
    gated=st.booleans(),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=120)
def test_gives_what_torch_gives(
    rows: int, inputs: int, outputs: list[int], bias: bool, normed: bool, added: bool, gated: bool, seed: int
) -> None:
    linears = layers(inputs, outputs[:1] * 2 if gated else outputs, bias=bias, seed=seed)
    noise = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, inputs, generator=noise)
    add = torch.randn(rows, sum(outputs), generator=noise) if added and not gated else None
    options: Any = {"norm": some_norm(inputs) if normed else None, "gated": gated}
    exact = [linear.double() for linear in layers(inputs, [one.out_features for one in linears], bias=bias, seed=seed)]
    wanted = panel_linear_reference(x, linears, add=add, **options)
    assert_close(PanelLinear(*linears, **options)(x, add), wanted)
    if not normed:
        plain = panel_linear_reference(x.double(), exact, gated=gated, add=None if add is None else add.double())
        assert_close(PanelLinear(*linears, gated=gated)(x, add), plain.float())


@pytest.mark.parametrize(("inputs", "outputs"), [(576, 960), (17, 48), (16, 49), (1, 47), (48, 1)])
@pytest.mark.parametrize("rows", ROWS)
def test_sizes_around_those_of_a_tile(rows: int, inputs: int, outputs: int) -> None:
    (linear,) = layers(inputs, [outputs], bias=True)
    x = torch.randn(rows, inputs, generator=torch.Generator().manual_seed(rows))
    assert_close(PanelLinear(linear)(x), F.linear(x, linear.weight, linear.bias))


def test_any_leading_axes_views_and_gradients_are_taken() -> None:
    linears = layers(24, [50, 6])
    packed = PanelLinear(*linears, norm=some_norm(24))
    noise = torch.Generator().manual_seed(0)
    x = torch.randn(24, 9, 2, generator=noise).requires_grad_().permute(2, 1, 0)
    add = torch.randn(9, 2, 56, generator=noise).requires_grad_().transpose(0, 1)
    ours = packed(x, add)
    assert not ours.requires_grad
    assert_close(ours, panel_linear_reference(x, linears, norm=some_norm(24), add=add).detach())
    assert_close(packed(x[0, 0]), panel_linear_reference(x[0, 0], linears, norm=some_norm(24)).detach())
    assert packed(x[:0]).shape == (0, 9, 56)


@given(first=st.integers(0, 40), count=st.integers(1, 30), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_a_row_is_the_same_to_the_last_bit_whatever_stands_beside_it(first: int, count: int, seed: int) -> None:
    packed = PanelLinear(*layers(37, [61, 30], bias=True), norm=some_norm(37))
    x = torch.randn(300, 37, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(packed(x[first : first + count]), packed(x)[first : first + count])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_bad_row_shows_and_stays_alone(bad: float) -> None:
    for gated in (False, True):
        packed = PanelLinear(*layers(20, [50, 50]), gated=gated)
        x = torch.randn(19, 20, generator=torch.Generator().manual_seed(0))
        clean = packed(x)
        x[11, 3] = bad
        out = packed(x)
        assert not out[11].isfinite().any()
        others = torch.arange(19) != 11
        assert torch.equal(out[others], clean[others])


def test_a_gate_far_from_zero_neither_overflows_nor_vanishes() -> None:
    one = nn.Linear(1, 1, bias=False).requires_grad_(False)
    one.weight.fill_(1.0)
    x = torch.tensor([-1e10, -1e4, -90.0, -30.0, -1.0, 0.0, 1e-3, 20.0, 1e4])[:, None]
    torch.testing.assert_close(PanelLinear(one, one, gated=True)(x), F.silu(x) * x, rtol=1e-6, atol=1e-5)


def test_the_layers_are_left_alone_and_later_changes_of_them_do_not_matter() -> None:
    for gated in (False, True):
        linears, norm = layers(48, [48, 48], bias=True), some_norm(48)
        before = [parameter.clone() for linear in linears for parameter in linear.parameters()]
        packed = PanelLinear(*linears, norm=norm, gated=gated)
        x = torch.randn(5, 48, generator=torch.Generator().manual_seed(0))
        out = packed(x)
        assert all(map(torch.equal, before, (parameter for linear in linears for parameter in linear.parameters())))
        for parameter in (norm.weight, *(parameter for linear in linears for parameter in linear.parameters())):
            parameter.zero_()
        assert torch.equal(packed(x), out)
        assert packed.state_dict() == {}


def test_runs_in_torch_s_threads_and_leaves_their_number_as_it_was() -> None:
    before = torch.get_num_threads()
    packed, x = PanelLinear(*layers(40, [300])), torch.ones(20, 40)
    outs = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert use_torch_threads() <= count
            outs.append(packed(x))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], outs[2])


@given(
    tokens=st.integers(0, 20), heads=st.integers(1, 5), pairs=st.sampled_from([1, 3, 32]), seed=st.integers(0, 2**31)
)
@settings(max_examples=40)
def test_rotates_the_first_heads_in_place(tokens: int, heads: int, pairs: int, seed: int) -> None:
    noise = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, heads + 2, 2 * pairs, generator=noise)
    cos, sin = torch.randn(2, tokens, pairs, generator=noise)
    wanted = torch.cat([apply_rotary(x[None, :, :heads], cos[None], sin[None])[0], x[:, heads:]], dim=1)
    rotate(x.numpy(), heads, cos.numpy(), sin.numpy(), use_torch_threads())
    torch.testing.assert_close(x, wanted)


A, B, WIDE = layers(4, [6, 6, 7])
MAKES: list[tuple[Callable[[], Any], str]] = [
    (lambda: PanelLinear(), "got none"),
    (lambda: PanelLinear(nn.Linear(4, 6).double()), "float64 on cpu"),
    (lambda: PanelLinear(A, nn.Linear(4, 6, device="meta")), "float32 on meta"),
    (lambda: PanelLinear(A, nn.Linear(5, 6)), "one input"),
    (lambda: PanelLinear(A, WIDE, gated=True), "a gate and its equal"),
    (lambda: PanelLinear(A, gated=True), "a gate and its equal"),
    (lambda: PanelLinear(A, norm=RMSNorm(5, 1e-5)), r"norm.weight must be float32 \(4,\)"),
    (lambda: PanelLinear(A, norm=RMSNorm(4, 1e-5).double()), "norm.weight must be float32"),
    (lambda: PanelLinear(A, norm=norm_with_eps(0.0)), "norm.eps must be a positive number, got 0.0"),
    (lambda: PanelLinear(A, norm=norm_with_eps(float("nan"))), "norm.eps must be a positive number, got nan"),
]


@pytest.mark.parametrize(("make", "message"), MAKES)
def test_refuses_layers_that_do_not_fit(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("x", "add", "message"),
    [
        (torch.ones(3, 5), None, r"x must be float32 \(3, 4\) on the CPU, got torch.float32 \(3, 5\)"),
        (torch.ones(()), None, "x must be"),
        (torch.ones(3, 4).half(), None, "got torch.float16"),
        (torch.ones(3, 4, device="meta"), None, "on meta"),
        (torch.ones(3, 4), torch.ones(3, 4), r"add must be float32 \(3, 6\)"),
        (torch.ones(3, 4), torch.ones(6), "add must be"),
        (torch.ones(3, 4), torch.ones(3, 6).double(), "got torch.float64"),
    ],
)
def test_refuses_input_that_does_not_fit(x: Tensor, add: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PanelLinear(A)(x, add)


def test_refuses_to_add_to_a_gated_result() -> None:
    with pytest.raises(ValueError, match="not for gated layers"):
        partial(PanelLinear(A, B, gated=True), add=torch.ones(3, 6))(torch.ones(3, 4))
