"""SwiGLU by hand, run by run, against autograd over each run."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from kb.moe.banks import ModuleExperts, SwiGLUExperts
from kb.moe.experts import run_rows
from kb.moe.swiglu_runs import swiglu_runs


def by_autograd(x_RD: Tensor, gate_up_E2FD: Tensor, down_EDF: Tensor, ends: list[int]) -> Tensor:
    """Each run through its dense network; zeros after the last."""
    outs = []
    for start, end, gate_up, down in zip([0, *ends[:-1]], ends, gate_up_E2FD.unbind(), down_EDF.unbind(), strict=True):
        gate_NF, up_NF = F.linear(x_RD[start:end], gate_up).chunk(2, dim=1)
        outs.append(F.linear(F.silu(gate_NF) * up_NF, down))
    return torch.cat([*outs, x_RD.new_zeros(len(x_RD) - ends[-1], down_EDF.shape[1])])


@settings(max_examples=80)
@given(
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=5),
    left_out=st.integers(0, 3),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    wanted=st.sampled_from([each for each in product([True, False], repeat=3) if any(each)]),
    seed=st.integers(0, 2**31),
)
def test_values_and_every_gradient_are_those_of_autograd(
    sizes: list[int], left_out: int, shape: tuple[int, int, int], wanted: tuple[bool, ...], seed: int
) -> None:
    width, inner, outputs = shape
    made = torch.Generator().manual_seed(seed)
    ends_E = torch.tensor(sizes).cumsum(0).int()
    shapes = ((sum(sizes) + left_out, width), (len(sizes), 2 * inner, width), (len(sizes), outputs, inner))
    tensors = [torch.randn(each, generator=made, dtype=torch.float64) for each in shapes]
    leaves = [tensor for tensor, needed in zip(tensors, wanted, strict=True) if needed]
    for leaf in leaves:
        leaf.requires_grad_()
    ours, theirs = swiglu_runs(*tensors, ends_E), by_autograd(*tensors, ends_E.tolist())
    upstream = torch.randn(theirs.shape, generator=made, dtype=torch.float64)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    found, reference = (torch.autograd.grad(out, leaves, upstream) for out in (ours, theirs))
    torch.testing.assert_close(found, reference, rtol=1e-11, atol=1e-12)


def test_no_two_rows_of_experts_meet() -> None:
    """A row that is not a number spoils its own run's gradients, and nothing else."""
    torch.manual_seed(0)
    x_RD = torch.randn(6, 3).requires_grad_()
    weights = torch.randn(2, 8, 3).requires_grad_(), torch.randn(2, 3, 4).requires_grad_()
    ends_E = torch.tensor([3, 6], dtype=torch.int32)
    with torch.no_grad():
        x_RD[0] = float("nan")
    out_RD = swiglu_runs(x_RD, *weights, ends_E)
    gradients = torch.autograd.grad(out_RD.sum(), (x_RD, *weights))
    assert out_RD[1:].isfinite().all()
    assert out_RD[0].isnan().all()
    assert gradients[0][1:].isfinite().all()
    for gradient in gradients[1:]:
        assert gradient[0].isnan().any()
        assert gradient[1].isfinite().all()


@pytest.mark.parametrize("activation", ["gelu", "relu", "silu"])
def test_a_bank_of_any_activation_gives_its_functions(activation: str) -> None:
    torch.manual_seed(0)
    bank = SwiGLUExperts(3, 4, 5, activation=activation).double()
    ends_E = torch.tensor([2, 2, 7], dtype=torch.int32)
    x_RD = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    found = []
    for implementation in ("grouped", "experts"):
        out_RD = run_rows(x_RD, bank, ends_E, implementation=implementation)
        found.append((out_RD, *torch.autograd.grad(out_RD.sin().sum(), (x_RD, *bank.parameters()))))
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)


def test_gradients_of_gradients_are_refused_under_a_constant_upstream_too() -> None:
    x_RD = torch.randn(2, 3, requires_grad=True)
    out_RD = swiglu_runs(x_RD, torch.randn(1, 8, 3), torch.randn(1, 3, 4), torch.tensor([2], dtype=torch.int32))
    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        torch.autograd.grad(out_RD.sum(), x_RD, create_graph=True)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"x_RD": torch.ones(2, 5)}, "wanted x"),
        ({"gate_up_E2FD": torch.ones(1, 7, 3)}, "multiple of 2"),
        ({"down_EDF": torch.ones(1, 3, 5)}, "wanted x"),
        ({"down_EDF": torch.ones(2, 3, 4)}, "wanted x"),
        ({"down_EDF": torch.ones(1, 3, 4).double()}, "one dtype"),
        ({"ends_E": torch.tensor([2])}, "int64"),
    ],
)
def test_refuses_what_does_not_fit(change: dict[str, Tensor], reason: str) -> None:
    fitting = {
        "x_RD": torch.ones(2, 3),
        "gate_up_E2FD": torch.ones(1, 8, 3),
        "down_EDF": torch.ones(1, 3, 4),
        "ends_E": torch.tensor([2], dtype=torch.int32),
    }
    with pytest.raises(ValueError, match=reason):
        swiglu_runs(**fitting | change)


def test_an_expert_that_gives_other_rows_than_it_gets_is_named() -> None:
    class Cut(nn.Module):
        def __init__(self, rows: int) -> None:
            super().__init__()
            self.rows = rows

        def forward(self, x_ND: Tensor) -> Tensor:
            return x_ND[:1].expand(self.rows, -1)

    bank = ModuleExperts([Cut(1), Cut(3)])  # together as many rows as there are
    with pytest.raises(ValueError, match=r"expert 0 must give \[2, O\], a row for a row, got \(1, 3\)"):
        run_rows(torch.ones(4, 3), bank, torch.tensor([2, 4], dtype=torch.int32))
