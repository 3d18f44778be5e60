"""The Triton kernels without a GPU: run by Triton's interpreter, and compiled for one.

Triton is told of its interpreter before it is imported, so the runs are in a process of their own: this file, started
as a script, which prints for each case the largest error as a share of the largest magnitude.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from kb.serving.attention import alibi_slopes, paged_attention
from kb.serving.step_layout import StepLayout
from tests.processes import compiled, interpreted

MIXED = [(0, 9), (130, 131), (60, 100), (0, 1), (5, 7), (299, 300)]
CASES: dict[str, dict[str, Any]] = {
    "mixed lengths": {},
    "a window": {"window": 21},
    "a window of one": {"window": 1},
    "ALiBi": {"biased": True},
    "ALiBi in a window, multi-query": {"biased": True, "window": 40, "G": 1, "M": 5},
    "multi-head, blocks of one": {"G": 3, "M": 1, "block_size": 1},
    "narrow heads, odd blocks": {"H": 6, "block_size": 17, "splits": 3},
    "not split": {"splits": 1},
    "more splits than keys": {"splits": 64, "spans": [(3, 4), (0, 1), (80, 81)]},
    "prompts only": {"spans": [(0, 70), (0, 3), (12, 43)]},
    "one request": {"spans": [(40, 41)]},
    "many tiles": {"spans": [(0, 1), (7, 157), (0, 33)], "M": 5},
    "bfloat16": {"dtype": "bfloat16"},
    "bfloat16, split, biased": {"dtype": "bfloat16", "splits": 3, "biased": True},
    "float16": {"dtype": "float16"},
    "nothing": {"spans": []},
}
# Both sides take sums in float32; the interpreter cuts bfloat16 off, where hardware would round.
BOUNDS = {"float32": 1e-5, "bfloat16": 2**-7, "float16": 2**-10}


def largest_error(
    *,
    spans: list[tuple[int, int]] = MIXED,
    block_size: int = 16,
    G: int = 2,
    M: int = 3,
    H: int = 16,
    window: int | None = None,
    biased: bool = False,
    splits: int | None = None,
    dtype: str = "float32",
) -> float:
    """Of the kernels against float64 on a pool that is NaN outside of what the queries may see."""
    from kb.serving.attention_triton import paged_attention_triton

    generator = torch.Generator().manual_seed(0)
    sizes = [-(-end // block_size) for _, end in spans]
    order = torch.randperm(sum(sizes) + 2, generator=generator).tolist()
    chunks = [([order.pop() for _ in range(size)], *span) for size, span in zip(sizes, spans, strict=True)]
    layout = StepLayout.from_chunks(chunks, block_size=block_size, num_blocks=sum(sizes) + 2)
    pool = torch.full((2, sum(sizes) + 2, block_size, G, H), torch.nan, dtype=getattr(torch, dtype))
    for table, start, end in chunks:
        for key in range(0 if window is None else max(0, start - window + 1), end):
            pool[:, table[key // block_size], key % block_size] = torch.randn(2, G, H, generator=generator)
    q_TNH = torch.randn(layout.offsets[-1], M * G, H, generator=generator).to(pool.dtype)
    slopes_N = alibi_slopes(M * G) if biased else None
    ours = paged_attention_triton(q_TNH, *pool, layout, window=window, alibi_slopes_N=slopes_N, splits=splits)
    wanted = paged_attention(q_TNH.double(), *pool.double(), layout, window=window, alibi_slopes_N=slopes_N)
    assert ours.dtype == q_TNH.dtype
    assert ours.shape == wanted.shape
    return float((ours - wanted).abs().max() / wanted.abs().max()) if ours.numel() else 0.0


@pytest.fixture(scope="module")
def errors() -> dict[str, float]:
    """Of each case, run by the interpreter."""
    errors: dict[str, float] = interpreted(__file__)
    return errors


@pytest.mark.parametrize("name", CASES)
def test_in_the_interpreter_kernels_equal_the_cpu(name: str, errors: dict[str, float]) -> None:
    assert errors[name] <= BOUNDS[CASES[name].get("dtype", "float32")]


COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from kb.serving import attention_triton

def ptx(name, stages, **constants):
    kernel = getattr(attention_triton, name)
    places = {argument: (i,) for i, argument in enumerate(kernel.arg_names)}
    pointers = {"*bf16": "q keys values out", "*fp32": "slopes part lse", "*i64": "tables lengths offsets"}
    pointers = {argument: kind for kind, arguments in pointers.items() for argument in arguments.split()}
    numbers = {"R": "i32", "W": "i32", "window": "i32", "scale": "fp32"}
    kinds = {**pointers, **numbers, **dict.fromkeys(constants, "constexpr")}
    source = ASTSource(
        fn=kernel,
        signature={argument: kinds[argument] for argument in kernel.arg_names},
        constexprs={places[constant]: value for constant, value in constants.items()},
        attrs={places[p]: [["tt.divisibility", 16]] for p in pointers if p in places},
    )
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4, "num_stages": stages})
    assert made.metadata.shared <= 227 * 1024, made.metadata.shared
    return made.asm["ptx"]

common = {"N": 32, "H": 128, "BLOCK_H": 128}
sizes = {**common, "G": 8, "S": 16, "BLOCK_K": 64, "BIASED": False, "UPCAST": False}
decode = ptx("_decode_kernel", 5, **sizes, BLOCK_I=16, X=8)
prefill = ptx("_prefill_kernel", 3, **sizes, BLOCK_I=64, PER_TILE=16)
merge = ptx("_merge_kernel", 3, **common, X=8, BLOCK_X=8)
assert "mma.sync" in decode and "wgmma.mma_async" in prefill  # on the tensor cores
assert "cp.async" in decode and "cp.async" in prefill  # pages are fetched while others are worked on
assert "ex2.approx" in merge
"""


def test_kernels_compile_for_a_gpu_and_use_its_tensor_cores(tmp_path: Path) -> None:
    compiled(COMPILE, tmp_path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({name: largest_error(**case) for name, case in CASES.items()}))
