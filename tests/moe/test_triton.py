"""The Triton kernels without a GPU: run by Triton's interpreter, and compiled for one.

Triton is told of its interpreter before it is imported, so the runs are in a process of their own: this file, started
as a script, which prints for each case the largest error as a share of the largest magnitude.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.processes import compiled, interpreted

CASES: dict[str, dict[str, Any]] = {
    "runs of all lengths": {"runs": [70, 0, 1, 64, 0, 129]},
    "odd sizes": {"runs": [3, 5], "I": 7, "O": 11},
    "one expert": {"runs": [65]},
    "all rows to the last": {"runs": [0, 0, 9]},
    "rows of nobody": {"runs": [5, 0, 66], "left_over": 70},
    "only rows of nobody": {"runs": [0, 0], "left_over": 3},
    "no rows": {"runs": [0, 0, 0]},
    "several tiles across": {"runs": [8, 9], "I": 70, "O": 130},
    "a gradient without strides": {"runs": [8, 9], "summed": True},
    "bfloat16": {"runs": [70, 0, 1], "dtype": "bfloat16"},
    "float16": {"runs": [70, 0, 1], "dtype": "float16"},
}
# Both sides take sums in float32; the interpreter cuts bfloat16 off, where hardware would round.
BOUNDS = {"float32": 1e-5, "bfloat16": 2**-7, "float16": 2**-10}


def largest_error(
    *,
    runs: list[int],
    left_over: int = 0,
    I: int = 24,  # noqa: E741
    O: int = 40,  # noqa: E741
    summed: bool = False,
    dtype: str = "float32",
) -> float:
    """Of output and gradients against float64; rows of nobody hold NaN, and must give 0."""
    from kb.moe.grouped_triton import grouped_linear_triton

    generator = torch.Generator().manual_seed(0)
    kind = getattr(torch, dtype)
    served, ends = sum(runs), torch.tensor(runs).cumsum(0).int()
    x_PI = torch.randn(served + left_over, I, generator=generator).to(kind)
    x_PI[served:] = torch.nan
    weight_EOI = torch.randn(len(runs), O, I, generator=generator).to(kind)
    upstream_PO = torch.randn(served + left_over, O, generator=generator).to(kind)
    if summed:
        upstream_PO = torch.ones((), dtype=kind).expand_as(upstream_PO)
    leaves = [tensor.clone().requires_grad_() for tensor in (x_PI, weight_EOI)]
    out_PO = grouped_linear_triton(*leaves, ends)
    mine = (out_PO, *torch.autograd.grad(out_PO, leaves, upstream_PO))
    x, weight, upstream = (tensor.double() for tensor in (x_PI, weight_EOI, upstream_PO))
    wanted = [torch.zeros_like(upstream), torch.zeros_like(x), torch.zeros_like(weight)]
    start = 0
    for e, length in enumerate(runs):
        rows = slice(start, start + length)
        wanted[0][rows], wanted[1][rows] = x[rows] @ weight[e].T, upstream[rows] @ weight[e]
        wanted[2][e] = upstream[rows].T @ x[rows]
        start += length
    error = 0.0
    for ours, reference in zip(mine, wanted, strict=True):
        assert ours.dtype == kind
        assert ours.shape == reference.shape
        assert torch.isfinite(ours).all()
        if ours.numel():
            error = max(error, float((ours - reference).abs().max() / reference.abs().max().clamp(min=1e-9)))
    return error


@pytest.fixture(scope="module")
def errors() -> dict[str, float]:
    """Of each case, run by the interpreter."""
    errors: dict[str, float] = interpreted(__file__)
    return errors


@pytest.mark.parametrize("name", CASES)
def test_in_the_interpreter_kernels_equal_float64(name: str, errors: dict[str, float]) -> None:
    assert errors[name] <= BOUNDS[CASES[name].get("dtype", "float32")]


LAYERS: dict[str, dict[str, Any]] = {
    "layer": {"num_experts": 5, "top_k": 2},
    "layer that drops": {"num_experts": 5, "top_k": 2, "capacity_factor": 0.8},
    "layer whose experts choose": {"num_experts": 5, "top_k": 2, "choice": "expert"},
    "layer of one expert": {"num_experts": 1, "top_k": 1},
    "layer with gelu": {"num_experts": 3, "top_k": 1, "normalize": False, "activation": "gelu"},
}


@pytest.mark.parametrize("name", LAYERS)
def test_in_the_interpreter_a_layer_equals_its_loop(name: str, errors: dict[str, float]) -> None:
    assert errors[name] <= 1e-5


def layer_error(activation: str = "silu", **config: Any) -> float:
    """Of a layer by all kernels against the loop: outputs and every gradient."""
    from kb.moe import MoELayer, RouterConfig

    torch.manual_seed(0)
    layer = MoELayer.swiglu(12, 20, RouterConfig(**config), activation=activation)
    x = torch.randn(31, 12, requires_grad=True)
    answers = []
    for implementation in ("loop", "triton"):
        layer.implementation = implementation
        out, _ = layer(x)
        answers.append((out, *torch.autograd.grad(out.sin().sum(), (x, *layer.parameters()))))
    errors = [float((a - b).abs().max() / a.abs().max().clamp(min=1e-6)) for a, b in zip(*answers, strict=True)]
    return max(errors)


def combine_error(dtype: str, capacity: int | None, tokens: int = 9, width: int = 11) -> float:
    """Of combining by the kernels against torch: outputs and gradients, with NaN in the rows of nobody."""
    from kb.moe import Dispatch, Router, RouterConfig, drop_over_capacity
    from kb.moe.rows_triton import combine_triton

    torch.manual_seed(0)
    routing = Router(4, RouterConfig(5, 3))(torch.randn(tokens, 4))
    routing = routing if capacity is None else drop_over_capacity(routing, capacity)
    dispatch = Dispatch.of(routing)
    x_RD = torch.randn(len(dispatch.pairs_R), width).to(getattr(torch, dtype))
    x_RD[dispatch.ends_E[-1] :] = torch.nan
    upstream_TD = torch.randn(tokens, width).to(x_RD.dtype)
    answers = []
    for kind in (x_RD.dtype, torch.float64):
        x, weights = x_RD.to(kind).requires_grad_(), routing.weights_TK.detach().requires_grad_()
        if kind == torch.float64:
            weights = weights.detach().double().requires_grad_()
            out = dispatch.combine(x, weights)
        else:
            out = combine_triton(x, weights, dispatch.rows_TK, dispatch.pairs_R, dispatch.ends_E)
        answers.append((out, *torch.autograd.grad(out, (x, weights), upstream_TD.to(kind))))
    assert all(bool(torch.isfinite(tensor).all()) for tensor in answers[0])
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-9)) for a, b in zip(*answers, strict=True))


COMBINED: dict[str, dict[str, Any]] = {
    "combined": {"dtype": "float32", "capacity": None},
    "combined, some dropped": {"dtype": "float32", "capacity": 3},
    "combined, all dropped": {"dtype": "float32", "capacity": 0},
    "combined, wide rows": {"dtype": "float32", "capacity": 3, "width": 1030, "tokens": 3},
    "combined in bfloat16": {"dtype": "bfloat16", "capacity": 3},
}


@pytest.mark.parametrize("name", COMBINED)
def test_in_the_interpreter_rows_are_combined_as_by_torch(name: str, errors: dict[str, float]) -> None:
    assert errors[name] <= BOUNDS[COMBINED[name]["dtype"]]


def gate_error(dtype: str, rows: int, width: int) -> float:
    """Of silu(gate) times up against float64: output and gradient, far from 0 too."""
    from kb.moe.gate_triton import silu_gate_triton

    torch.manual_seed(0)
    gate_up = (100 * torch.randn(rows, 2 * width)).to(getattr(torch, dtype)).requires_grad_()
    upstream = torch.randn(rows, width).to(gate_up.dtype)
    out = silu_gate_triton(gate_up)
    wide = gate_up.detach().double().requires_grad_()
    gate, up = wide.chunk(2, dim=1)
    wanted = torch.nn.functional.silu(gate) * up
    pairs = [(out, wanted)]
    pairs += zip(
        torch.autograd.grad(out, gate_up, upstream), torch.autograd.grad(wanted, wide, upstream.double()), strict=True
    )
    assert all(bool(torch.isfinite(ours).all()) for ours, _ in pairs)
    return max([float((a - b).abs().max() / b.abs().max()) for a, b in pairs if a.numel()], default=0.0)


GATED: dict[str, dict[str, Any]] = {
    "gated": {"dtype": "float32", "rows": 3, "width": 5},
    "gated, wide rows": {"dtype": "float32", "rows": 2, "width": 1030},
    "gated in bfloat16": {"dtype": "bfloat16", "rows": 3, "width": 7},
    "gated, no rows": {"dtype": "float32", "rows": 0, "width": 5},
}


@pytest.mark.parametrize("name", GATED)
def test_in_the_interpreter_gates_equal_float64(name: str, errors: dict[str, float]) -> None:
    assert errors[name] <= BOUNDS[GATED[name]["dtype"]]


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from kb.moe import gate_triton, grouped_triton, rows_triton

def ptx(name, kind, wide, few, warps, stages, module=grouped_triton, **constants):
    # Integers: those that are multiples of 16, and those that need not be.
    wide, few = wide.split(), few.split()
    kernel = getattr(module, name)
    places = {argument: (i,) for i, argument in enumerate(kernel.arg_names)}
    kinds = dict.fromkeys("a b out x grad dx gate_up".split(), "*" + kind) | {"ends": "*i32"}
    kinds |= {"weights": "*fp32", "dweights": "*fp32", "rows": "*i64", "pairs": "*i64"}
    pointers = list(kinds)
    kinds |= dict.fromkeys([*wide, *few], "i32")
    kinds |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(
        fn=kernel,
        signature={argument: kinds[argument] for argument in kernel.arg_names},
        constexprs={places[constant]: value for constant, value in constants.items()},
        attrs={
            places[p]: [["tt.divisibility", 16]]
            for p in kernel.arg_names
            if p in pointers or p in wide
        },
    )
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps, "num_stages": stages})
    assert made.metadata.shared <= 227 * 1024, made.metadata.shared
    return made.asm["ptx"]

tile = {"N_": 256, "K_": 64, "UPCAST": False}
strides = {"a_column": 1, "b_row": 1}
rows = ptx("_rows_by_weight", "bf16", "N K a_row b_expert b_column", "P E", 8, 3, M=128, **tile, **strides)
both = ptx("_rows_by_rows", "bf16", "M N a_row b_row", "", 8, 3, M_=128, **tile, a_column=1, b_column=1)
assert "wgmma.mma_async" in rows and "wgmma.mma_async" in both  # on the tensor cores
assert "cp.async" in rows and "cp.async" in both  # tiles are fetched while others are worked on
assert ".local" not in rows  # sums stay in registers
small = {"N_": 64, "K_": 32, "UPCAST": False}
full = ptx("_rows_by_weight", "fp32", "N K a_row b_expert b_column", "P E", 4, 3, M=64, **small, **strides)
assert "tf32" not in full  # float32 stays float32
for module, name, constants in (
    (rows_triton, "_sum_rows", {"K": 2, "WEIGHTED": True}), (rows_triton, "_spread", {}),
    (gate_triton, "_forward", {}), (gate_triton, "_backward", {}),
):
    made = ptx(name, "bf16", "D F", "K E", 4, 1, module=module, BLOCK=1024, **constants)
    assert "ld.global" in made and ".v4.b32" in made, name  # eight numbers at a time
"""


def test_kernels_compile_for_a_gpu_and_use_its_tensor_cores(tmp_path: Path) -> None:
    compiled(COMPILE, tmp_path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    errors_by_name = {name: largest_error(**case) for name, case in CASES.items()}
    errors_by_name |= {name: combine_error(**case) for name, case in COMBINED.items()}
    errors_by_name |= {name: gate_error(**case) for name, case in GATED.items()}
    errors_by_name |= {name: layer_error(**case) for name, case in LAYERS.items()}
    print(json.dumps(errors_by_name))
