"""Cases of the sums of products, and of the windows that make a convolution one of them."""

from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from kb.autograd import Tensor, ops
from tests.autograd.op_cases.drawing import Case, Drawn


def matmul(data: Any, compare: Any) -> Drawn:
    N, K, M = (data.draw(st.integers(0, 4)) for _ in range(3))
    ahead = data.draw(npst.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, min_side=0, max_side=3))
    left = data.draw(st.sampled_from([(K,), (N, K), (*ahead.input_shapes[0], N, K)]))
    right = data.draw(st.sampled_from([(K,), (K, M), (*ahead.input_shapes[1], K, M)]))
    return ops.matmul, torch.matmul, [compare.draw(data, left), compare.draw(data, right)]


def scores(data: Any, compare: Any) -> Drawn:
    B, D, F = (data.draw(st.integers(0, 4)) for _ in range(3))
    return ops.scores, torch.nn.functional.linear, [compare.draw(data, (B, D)), compare.draw(data, (F, D))]


def affine(data: Any, compare: Any) -> Drawn:
    _, theirs, (x_BD, weight_FD) = scores(data, compare)
    return ops.affine, theirs, [x_BD, weight_FD, compare.draw(data, weight_FD.shape[:1])]


EQUATIONS = ["ij,jk->ik", "bij,bjk->bik", "ij,ij->", "i,j->ij", "ijk->ki", "ij,jk,kl->li", "bhqd,bhkd->bhqk"]


def einsum(data: Any, compare: Any) -> Drawn:
    equation = data.draw(st.sampled_from(EQUATIONS))
    sizes = {letter: data.draw(st.integers(0, 3)) for letter in sorted(set(equation) - set(",->"))}
    arrays = [
        compare.draw(data, tuple(sizes[letter] for letter in term)) for term in equation.partition("->")[0].split(",")
    ]
    return lambda *x: ops.einsum(equation, *x), lambda *x: torch.einsum(equation, *x), arrays


def windows(data: Any) -> dict[str, tuple[int, int]]:
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    return {"kernel": data.draw(pair), "stride": data.draw(pair), "dilation": data.draw(pair)}


def fitting(data: Any, kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    """A picture's size that holds the kernel."""
    least = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    return least[0] + data.draw(st.integers(0, 3)), least[1] + data.draw(st.integers(0, 3))


def unfold(data: Any, compare: Any) -> Drawn:
    B, C, options = data.draw(st.integers(0, 2)), data.draw(st.integers(1, 3)), windows(data)
    size = fitting(data, options["kernel"], options["dilation"])
    kernel, stride, dilation = options.values()

    def ours(x: Tensor) -> Tensor:
        out = ops.unfold(x, kernel=kernel, stride=stride, dilation=dilation)
        return out.reshape(B, C * kernel[0] * kernel[1], out.shape[4] * out.shape[5])

    theirs = lambda x: torch.nn.functional.unfold(x, kernel, dilation=dilation, stride=stride)  # noqa: E731
    return ours, theirs, [compare.draw(data, (B, C, *size))]


def fold(data: Any, compare: Any) -> Drawn:
    B, C, options = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3)), windows(data)
    kernel, stride, dilation = options.values()
    size = fitting(data, kernel, dilation)
    places = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)]
    shape = (B, C, *kernel, *places)

    def theirs(x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(B, C * kernel[0] * kernel[1], places[0] * places[1])
        return torch.nn.functional.fold(flat, size, kernel, dilation=dilation, stride=stride)

    return lambda x: ops.fold(x, size=size, stride=stride, dilation=dilation), theirs, [compare.draw(data, shape)]


CASES: dict[str, Case] = {
    "matmul": matmul,
    "scores": scores,
    "linear": affine,
    "einsum": einsum,
    "unfold": unfold,
    "fold": fold,
}
