"""Adafactor equals torch's step by step, and its paper's algorithm where the two agree; what it keeps of a matrix."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.autograd.optim import Adafactor
from tests.autograd.optimizing import KINDS, Holder, give, normal, read
from tests.autograd.test_optim import assert_equal

pytestmark = pytest.mark.filterwarnings("ignore:You are comparing a array_api_strict dtype")

SHAPES = ((3, 2), (), (4,), (2, 3, 4), (1, 5))
OPTIONS = st.fixed_dictionaries(
    {
        "lr": st.floats(1e-3, 0.5),
        "beta2_decay": st.floats(-1.0, -0.3),
        "eps": st.tuples(st.none() | st.sampled_from([1e-8, 1e-3]), st.floats(1e-4, 0.1)),
        "d": st.floats(1.0, 2.0),
        "weight_decay": st.just(0.0) | st.floats(0.01, 0.5),
        "maximize": st.booleans(),
    }
)


@settings(max_examples=12)
@given(options=OPTIONS, kind=st.sampled_from(list(KINDS)), seed=st.integers(0, 99))
def test_equals_torch_over_50_steps(options: dict[str, Any], kind: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    start = [normal(generator, shape) for shape in SHAPES]
    mine = [KINDS[kind][0](array.copy()) for array in start]
    theirs = [torch.nn.Parameter(torch.tensor(array)) for array in start]
    optimizer, reference = Adafactor(mine, **options), torch.optim.Adafactor(theirs, foreach=False, **options)
    for step in range(50):
        grads = [None if step % 3 == 1 and place == 2 else normal(generator, s) for place, s in enumerate(SHAPES)]
        give(kind, mine, grads)
        give("torch", theirs, grads)
        optimizer.step()
        reference.step()
    assert_equal(mine, theirs, 1e-11)


def paper_loop(start: np.ndarray, grads: list[np.ndarray]) -> np.ndarray:
    """Shazeer and Stern 2018, algorithm 4 with the schedule of algorithm 6, in sums as printed; eps1 is 0 here."""
    x, (n, m) = start.copy(), start.shape
    R, C = np.zeros(n), np.zeros(m)
    for t, g in enumerate(grads, start=1):
        rate = max(1e-3, np.sqrt((x**2).sum() / (n * m))) * min(1e-2, 1 / np.sqrt(t))
        beta = 1 - t**-0.8
        R = np.array([beta * R[i] + (1 - beta) * sum(g[i, j] ** 2 for j in range(m)) for i in range(n)])
        C = np.array([beta * C[j] + (1 - beta) * sum(g[i, j] ** 2 for i in range(n)) for j in range(m)])
        u = np.array([[g[i, j] / np.sqrt(R[i] * C[j] / R.sum()) for j in range(m)] for i in range(n)])
        x = x - rate * u / max(1.0, np.sqrt((u**2).mean()))
    return x


@pytest.mark.parametrize("shape", [(3, 4), (5, 2), (1, 3)])
def test_equals_the_algorithm_of_the_paper(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(1)
    start, grads = normal(generator, shape), [normal(generator, shape) for _ in range(30)]
    parameter = Holder(start.copy())
    optimizer = Adafactor([parameter])
    for grad in grads:
        parameter.grad = grad
        optimizer.step()
    np.testing.assert_allclose(parameter.data, paper_loop(start, grads), rtol=1e-11)


@given(rows=st.integers(1, 5), columns=st.integers(1, 5), seed=st.integers(0, 99))
def test_the_estimate_has_the_means_of_the_squares_and_is_exact_at_rank_one(rows: int, columns: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    parameter = Holder(np.ones((rows, columns)))
    parameter.grad = np.exp(generator.normal(size=(rows, 1))) * np.exp(generator.normal(size=(1, columns)))
    optimizer = Adafactor([parameter])
    optimizer.step()
    state = optimizer.state[parameter]
    estimate = state["row_var"] * state["col_var"] / state["row_var"].mean()
    np.testing.assert_allclose(estimate, parameter.grad**2, rtol=1e-12)
    assert state["row_var"].size + state["col_var"].size == rows + columns
    parameter.grad = generator.normal(size=(rows, columns))
    optimizer.step()
    estimate = state["row_var"] * state["col_var"] / state["row_var"].mean()
    np.testing.assert_allclose(estimate.mean(axis=0), state["col_var"][0], rtol=1e-12)
    np.testing.assert_allclose(estimate.mean(axis=1), state["row_var"][:, 0], rtol=1e-12)


def test_what_is_empty_stays_and_nan_passes_on() -> None:
    for shape in ((0,), (0, 3), (2, 0)):
        parameter = Holder(np.zeros(shape))
        parameter.grad = np.zeros(shape)
        Adafactor([parameter]).step()
    parameter = Holder(np.ones((2, 2)))
    parameter.grad = np.array([[np.nan, 1.0], [1.0, 1.0]])
    Adafactor([parameter]).step()
    assert np.isnan(parameter.data).all()  # one norm is shared


@pytest.mark.parametrize("library", ["numpy", "strict", "torch"])
def test_a_state_goes_to_torch_and_back(library: str) -> None:
    generator = np.random.default_rng(3)
    start = [normal(generator, shape) for shape in SHAPES]
    theirs = [torch.nn.Parameter(torch.tensor(array)) for array in start]
    reference = torch.optim.Adafactor(theirs, lr=0.1)
    grads = [[normal(generator, shape) for shape in SHAPES] for _ in range(20)]
    for step in grads[:10]:
        give("torch", theirs, list(step))
        reference.step()
    mine = [KINDS[library][0](parameter.detach().numpy().copy()) for parameter in theirs]
    optimizer = Adafactor(mine, lr=7.0)
    optimizer.load_state_dict(reference.state_dict())
    assert optimizer.state[mine[0]]["row_var"].shape == (3, 1)
    for step in grads[10:]:
        give(library, mine, list(step))
        optimizer.step()
        give("torch", theirs, list(step))
        reference.step()
    assert_equal(mine, theirs, 1e-11)
    saved = deepcopy(optimizer.state_dict())
    for kept in saved["state"].values():
        kept.update({name: torch.from_numpy(read(value)) for name, value in kept.items() if name != "step"})
    back = torch.optim.Adafactor([torch.nn.Parameter(torch.tensor(read(one))) for one in mine], lr=7.0)
    back.load_state_dict(saved)
    assert back.state_dict()["state"].keys() == reference.state_dict()["state"].keys()


def test_a_state_of_another_shape_or_of_a_vector_is_refused() -> None:
    def trained(shape: tuple[int, ...]) -> Adafactor:
        parameter = Holder(np.ones(shape))
        parameter.grad = np.ones(shape)
        optimizer = Adafactor([parameter])
        optimizer.step()
        return optimizer

    with pytest.raises(ValueError, match=r"row_var of state 0 .*\(3, 1\)"):
        trained((3, 4)).load_state_dict(trained((4, 4)).state_dict())
    with pytest.raises(ValueError, match="this optimizer keeps step, row_var, col_var"):
        trained((3, 4)).load_state_dict(trained((4,)).state_dict())
