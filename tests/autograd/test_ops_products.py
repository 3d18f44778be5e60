"""Matrix products, Einstein's notation and windows: what is unusual in them, as torch has it, and what is refused."""

import math
import string
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.autograd import Tensor, ops


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


EQUATIONS: dict[str, tuple[str, list[tuple[int, ...]]]] = {
    "transposed": ("ij->ji", [(2, 3)]),
    "sum": ("ij->", [(2, 3)]),
    "row sums": ("ij->i", [(2, 3)]),
    "implicit product": ("ij,jk", [(2, 3), (3, 4)]),
    "implicit, sorted": ("ca", [(2, 3)]),
    "implicit trace": ("ii", [(3, 3)]),
    "trace": ("ii->", [(3, 3)]),
    "diagonal": ("ii->i", [(3, 3)]),
    "diagonal of a batch": ("bii->bi", [(2, 3, 3)]),
    "diagonal thrice": ("iii->i", [(3, 3, 3)]),
    "two diagonals": ("iijj->ij", [(2, 2, 3, 3)]),
    "diagonal apart": ("iji->ji", [(2, 3, 2)]),
    "diagonal in a product": ("ii,ij->j", [(3, 3), (3, 2)]),
    "summed in one operand alone": ("ij,k->k", [(2, 3), (4,)]),
    "summed in each": ("ij,kl->", [(2, 3), (4, 2)]),
    "outer": ("i,j->ji", [(2,), (3,)]),
    "scalars": (",->", [(), ()]),
    "scalar and matrix": (",ij->ij", [(), (2, 3)]),
    "dots": ("...ij,...jk->...ik", [(2, 3, 4), (2, 4, 2)]),
    "dots of different length": ("...ij,jk->...ik", [(5, 2, 3, 4), (4, 2)]),
    "dots that broadcast": ("...i,...i->...", [(2, 1, 3), (4, 3)]),
    "dots, implicit": ("...ij,...jk", [(2, 3, 4), (4, 2)]),
    "dots summed": ("...i->i", [(2, 3, 4)]),
    "dots moved": ("...i->i...", [(2, 3, 4)]),
    "dots of nothing": ("...ij->...ji", [(2, 3)]),
    "dots and a diagonal": ("...ii->...i", [(2, 3, 3)]),
    "ones broadcast": ("ij,ij->ij", [(1, 3), (2, 3)]),
    "ones broadcast and summed": ("ij,jk->ik", [(2, 1), (3, 4)]),
    "ones on both": ("ij,ij->i", [(1, 3), (2, 1)]),
    "chain of three": ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 2)]),
    "three with a common letter": ("ai,bi,ci->abci", [(2, 3), (2, 3), (4, 3)]),
    "the same operand's shape": ("ij,ij,ij->", [(2, 3), (2, 3), (2, 3)]),
    "capital letters": ("iB,Bj->ij", [(2, 3), (3, 2)]),
    "capital letters, implicit": ("aB", [(2, 3)]),
    "spaces": (" i j , j k -> i k ", [(2, 3), (3, 4)]),
    "no rows": ("ij,jk->ik", [(0, 3), (3, 4)]),
    "nothing to sum": ("ij,jk->ik", [(2, 0), (0, 4)]),
}


@pytest.mark.parametrize(("equation", "shapes"), EQUATIONS.values(), ids=EQUATIONS)
def test_einsum_equals_torch(against_torch: Any, equation: str, shapes: list[tuple[int, ...]]) -> None:
    arrays = [np.asarray(numbers(*shape, seed=i)) for i, shape in enumerate(shapes)]
    against_torch.same(lambda *x: ops.einsum(equation, *x), lambda *x: torch.einsum(equation, *x), *arrays)


@settings(max_examples=60)
@given(data=st.data())
def test_einsum_of_drawn_equations_equals_torch(against_torch: Any, data: Any) -> None:
    terms = data.draw(st.lists(st.text("abcd", max_size=3), min_size=1, max_size=3))
    letters = sorted(set("".join(terms)))
    to = "".join(data.draw(st.permutations(letters))[: data.draw(st.integers(0, len(letters)))])
    sizes = {letter: data.draw(st.integers(1, 3)) for letter in letters}
    arrays = [against_torch.draw(data, tuple(sizes[letter] for letter in term)) for term in terms]
    equation = f"{','.join(terms)}->{to}"
    against_torch.same(lambda *x: ops.einsum(equation, *x), lambda *x: torch.einsum(equation, *x), *arrays)


def test_einsum_of_one_tensor_with_itself(against_torch: Any) -> None:
    equation = "ij,kj->ik"
    against_torch.same(lambda x: ops.einsum(equation, x, x), lambda x: torch.einsum(equation, x, x), numbers(2, 3))


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3)]),
        ("ij->ij", [(2, 3), (2, 3)]),
        ("ij,jk->ik", [(2, 3), (4, 5)]),
        ("ijk->i", [(2, 3)]),
        ("i->i", [(2, 3)]),
        ("ij->ik", [(2, 3)]),
        ("ij->ii", [(2, 2)]),
        ("ii->i", [(2, 3)]),
        ("i1->i", [(2, 3)]),
        ("i.j->ij", [(2, 3)]),
        ("i-j->ij", [(2, 3)]),
        ("...i...->i", [(2, 3)]),
        ("ij->i->j", [(2, 3)]),
        ("ij->i.", [(2, 3)]),
        ("ij->i....", [(2, 3)]),
        ("i,j->ij", [(2,), ()]),
        ("", [(2,)]),
    ],
)
def test_bad_equations(against_torch: Any, equation: str, shapes: list[tuple[int, ...]]) -> None:
    arrays = [against_torch.tensor(np.ones(shape)) for shape in shapes]
    with pytest.raises(ValueError, match="einsum"):
        ops.einsum(equation, *arrays)


def test_einsum_with_too_many_axes_for_the_alphabet() -> None:
    with pytest.raises(ValueError, match="too many axes"):
        ops.einsum(f"...{string.ascii_letters}->", np.ones((1,) * 53))


def test_mixed_libraries_are_refused() -> None:
    ours, other = np.ones((2, 2)), torch.ones(2, 2)
    for call in (
        lambda: Tensor(ours) @ Tensor(other),
        lambda: Tensor(ours) @ other,
        lambda: ops.einsum("ij,jk->ik", Tensor(ours), other),
        lambda: ops.einsum("ij,jk,kl->il", Tensor(ours), ours, other),
        lambda: ops.concat([Tensor(ours), Tensor(ours), other]),
    ):
        with pytest.raises(TypeError, match="numpy and torch"):
            call()


@pytest.mark.parametrize(("left", "right"), [((), (2,)), ((2,), ()), ((2,), (3,)), ((2, 3), (2, 3)), ((2, 3), (2,))])
def test_matmul_of_what_does_not_fit(against_torch: Any, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="matmul of"):
        against_torch.tensor(np.ones(left)) @ against_torch.tensor(np.ones(right))
    with pytest.raises((ValueError, RuntimeError)):
        against_torch.tensor(np.ones((2, 3, 4))) @ against_torch.tensor(np.ones((3, 4, 5)))


def test_matmul_with_an_array_on_either_side(against_torch: Any) -> None:
    A, B = numbers(2, 3), numbers(3, 2, seed=1)
    fixed, other = against_torch.array(B), torch.tensor(B)
    against_torch.same(lambda x: x @ fixed, lambda x: x @ other, A)
    if against_torch.library == "numpy":  # torch's own operator does not give way
        against_torch.same(lambda x: fixed @ x, lambda x: other @ x, A)


def naive_windows(a: np.ndarray, kernel: Any, stride: Any, dilation: Any) -> np.ndarray:
    B, C, H, W = a.shape
    I, J = ((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip((H, W), kernel, stride, dilation, strict=True))  # noqa: E741
    out = np.zeros((B, C, *kernel, I, J))
    for r, s, i, j in np.ndindex(*kernel, I, J):
        out[:, :, r, s, i, j] = a[:, :, i * stride[0] + r * dilation[0], j * stride[1] + s * dilation[1]]
    return out


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [((2, 3), (1, 1), (1, 1)), ((2, 2), (3, 2), (2, 1))])
def test_windows_by_their_definition(kernel: Any, stride: Any, dilation: Any) -> None:
    a = numbers(2, 3, 7, 6)
    found = ops.unfold(a, kernel=kernel, stride=stride, dilation=dilation)
    np.testing.assert_array_equal(found, naive_windows(a, kernel, stride, dilation))
    w = numbers(*found.shape, seed=1)
    back = ops.fold(w, size=(7, 6), stride=stride, dilation=dilation)
    assert math.isclose((found * w).sum(), (a * back).sum(), rel_tol=1e-12), "not each other's transpose"


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_kernel_that_does_not_fit_is_an_error(against_torch: Any, stride: int) -> None:
    for shape, kernel in (((1, 1, 2, 5), (3, 1)), ((1, 1, 5, 2), (1, 3)), ((1, 1, 0, 2), (1, 1))):
        with pytest.raises(ValueError, match=r"a kernel of .* does not fit"):
            ops.unfold(against_torch.tensor(np.ones(shape)), kernel=kernel, stride=(stride, stride), dilation=(1, 1))
