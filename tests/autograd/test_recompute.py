"""Checkpointing gives the same gradients, holds less memory, and says so when the function cannot be run again."""

import gc
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.autograd import Parameter, Tensor, grad, no_grad, ops
from kb.autograd.checking import check_grads
from kb.autograd.recompute import checkpoint


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.2, 1.5, shape)


def plain(function: Callable[..., Any], *inputs: Any, generators: Any = ()) -> Any:
    """Called as ``checkpoint`` is, and keeping everything."""
    return function(*inputs)


def layer(W: Any) -> Callable[[Any], Any]:
    return lambda x: ops.exp(ops.tanh(x @ W) * 0.3)


Run = Callable[[Any, list[Any], Any], Any]  # of the way to call a part, two weights and the input


def one(call: Any, W: list[Any], x: Any) -> Any:
    return call(lambda x: layer(W[1])(layer(W[0])(x)), x).sum()


def in_parts(call: Any, W: list[Any], x: Any) -> Any:
    return call(layer(W[1]), call(layer(W[0]), x)).sum()


def nested(call: Any, W: list[Any], x: Any) -> Any:
    def inner(x: Any) -> Any:
        return call(layer(W[0]), call(layer(W[1]), x))

    def middle(x: Any) -> Any:
        return call(inner, ops.sin(x)) * call(layer(W[0]), x)

    return call(middle, x * 2.0).sum()


def two_results(call: Any, W: list[Any], x: Any) -> Any:
    h, y, _ = call(lambda x: (ops.exp(x), layer(W[0])(x) * W[1], None), x)
    return (ops.tanh(h * y) + h).sum()


def weights_as_inputs(call: Any, W: list[Any], x: Any) -> Any:
    return call(lambda x, V, factor: ops.exp(x @ V) * factor * x, x, W[0], 0.5).sum() + W[1].sum()


def written_inside(call: Any, W: list[Any], x: Any) -> Any:
    def function(x: Any) -> Any:
        h = x @ W[0]
        h += W[1]
        h[0] = ops.exp(h[1])
        return ops.tanh(h)

    return call(function, x).sum()


RUNS: list[Run] = [one, in_parts, nested, two_results, weights_as_inputs, written_inside]


def gradients(run: Run, call: Any, library: str, *, how: str) -> list[Any]:
    W = [Parameter(Tensor(numbers(3, 3, seed=i)).to(library).data) for i in (1, 2)]
    x = Tensor(Tensor(numbers(3, 3)).to(library).data, requires_grad=True)
    out, leaves = run(call, W, x), [x, *W]
    if how == "backward":
        out.backward()
        return [leaf.grad for leaf in leaves]
    if how == "grad":
        return list(grad(out, leaves))
    if how == "retained":
        return [*grad(out, leaves, retain_graph=True), *grad(out, [x], retain_graph=True), *grad(out, leaves)]
    if how == "one input":
        return list(grad(out, [W[0]]))
    first = grad(out, leaves, create_graph=True)
    return [*first, *grad(sum((one * one).sum() for one in first), leaves[:2])]


@pytest.mark.parametrize("how", ["backward", "grad", "retained", "one input", "second order"])
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_gradients_are_those_without(library: str, run: Run, how: str) -> None:
    found, expected = gradients(run, checkpoint, library, how=how), gradients(run, plain, library, how=how)
    assert len(found) == len(expected)
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), other.detach().numpy(), 0 if how != "second order" else 1e-13)


@settings(max_examples=20)
@given(bounds=st.lists(st.integers(1, 11), max_size=5, unique=True).map(sorted), seed=st.integers(0, 100))
def test_wherever_a_chain_is_cut(bounds: list[int], seed: int) -> None:
    def run(x: Any, call: Any) -> Any:
        for start, stop in zip([0, *bounds], [*bounds, 12], strict=True):

            def part(x: Any, steps: range = range(start, stop)) -> Any:
                for i in steps:
                    x = ops.sin(x) + x * x * 0.1 if i % 3 else ops.exp(x * 0.2)
                return x

            x = call(part, x)
        return x.sum()

    x = Tensor(numbers(4, seed=seed), requires_grad=True)
    assert grad(run(x, checkpoint), x)[0].tolist() == grad(run(x, plain), x)[0].tolist()


def test_right_to_the_second_order_by_differences() -> None:
    W = Tensor(numbers(3, 3, seed=1))
    check_grads(lambda x, W: nested(checkpoint, [W, W * W], x), [numbers(3, 3), W])


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_the_second_run_draws_what_the_first_drew_and_leaves_the_generator_as_it_was(library: str) -> None:
    def draws(generator: Any) -> np.ndarray:
        if library == "torch":
            return torch.rand(5, generator=generator, dtype=torch.float64).numpy()
        return generator.random(5)

    generator = torch.Generator().manual_seed(3) if library == "torch" else np.random.default_rng(3)
    reference = torch.Generator().manual_seed(3) if library == "torch" else np.random.default_rng(3)
    x = Tensor(numbers(5), requires_grad=True)
    first = checkpoint(lambda x: ops.exp(x * draws(generator)), x, generators=[generator])
    mask = draws(reference)
    np.testing.assert_array_equal(first.detach().numpy(), np.exp(x.data * mask))
    np.testing.assert_array_equal(draws(generator), draws(reference))
    first.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), mask * np.exp(x.data * mask), 1e-14)
    np.testing.assert_array_equal(draws(generator), draws(reference))


def test_the_generator_is_as_it_was_when_the_second_run_fails() -> None:
    generator, calls = np.random.default_rng(0), []

    def fails_later(x: Any) -> Any:
        generator.random(3)
        calls.append(1)
        if len(calls) > 1:
            raise OSError("gone")
        return ops.exp(x)

    out = checkpoint(fails_later, Tensor(1.0, requires_grad=True), generators=[generator])
    state = generator.bit_generator.state
    with pytest.raises(OSError, match="gone"):
        out.backward()
    assert generator.bit_generator.state == state


def test_the_function_runs_once_more_for_a_walk_and_not_at_all_without_one() -> None:
    calls = []

    def function(x: Any) -> Any:
        calls.append(1)
        return ops.exp(ops.sin(x) * x)

    x = Tensor(numbers(3), requires_grad=True)
    out = checkpoint(function, x).sum()
    assert len(calls) == 1
    out.backward()
    assert len(calls) == 2
    with no_grad():
        assert not checkpoint(function, x).requires_grad
    assert not checkpoint(function, x.detach()).requires_grad
    assert len(calls) == 4
    checkpoint(lambda x: (calls.append(1), -x + 1.0)[1], Tensor(1.0, requires_grad=True)).backward()
    assert len(calls) == 5, "what keeps no value needs no second run"


def peak_of(run: Callable[[], Any]) -> int:
    gc.collect()
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_a_chain_of_n_in_parts_of_sqrt_n_holds_sqrt_n() -> None:
    n, size = 64, 200_000
    x = Tensor(np.ones(size), requires_grad=True)

    def part(x: Any, steps: int = 8) -> Any:
        for _ in range(steps):
            x = ops.sin(x)
        return x

    def without() -> None:
        part(x, n).sum().backward()

    def with_parts() -> None:
        h = x
        for _ in range(n // 8):
            h = checkpoint(part, h)
        h.sum().backward()

    of_one = size * 8
    assert peak_of(without) > n * of_one
    assert peak_of(with_parts) < (2 * 8 + 6) * of_one


def test_memory_is_freed_at_once_without_backward_and_after_it() -> None:
    gc.disable()
    try:
        for walk in (False, True):
            x = Tensor(np.ones(3), requires_grad=True)
            held: list[Any] = []

            def function(x: Any, held: list[Any] = held) -> Any:
                h = ops.exp(x)
                held.append(weakref.ref(h.node))
                return ops.sin(h) * h

            out = checkpoint(function, x).sum()
            assert held[0]() is not None
            if walk:
                out.backward()
            del out
            assert [one() for one in held] == [None] * len(held)
    finally:
        gc.enable()


def test_a_function_that_does_something_else_the_second_time_is_found() -> None:
    calls = []

    def changing(x: Any) -> Any:
        calls.append(1)
        return ops.exp(x) if len(calls) == 1 else ops.exp(ops.sin(x))

    with pytest.raises(RuntimeError, match=r"not repeatable: it did exp of \(\) at first, and sin of \(\); exp of"):
        checkpoint(changing, Tensor(1.0, requires_grad=True)).backward()
    sizes = iter([2, 3])
    with pytest.raises(RuntimeError, match="not repeatable"):
        checkpoint(lambda x: ops.exp(x[: next(sizes)]), Tensor(np.ones(4), requires_grad=True)).sum().backward()


def test_what_the_function_reads_must_not_have_been_written() -> None:
    W, x = Parameter(np.ones(3)), Tensor(np.ones(3), requires_grad=True)
    out = checkpoint(lambda x: ops.exp(x * W), x * 1.0).sum()
    W.data -= 0.1
    W.bump()
    with pytest.raises(RuntimeError, match="gradient of 'mul' needs was written in place before backward ran"):
        out.backward()
    h = x * 1.0
    out = checkpoint(lambda x: ops.exp(x), h).sum()
    h.add_(1.0)
    with pytest.raises(RuntimeError, match="an input of checkpoint\\(\\) was written in place"):
        out.backward()


def test_a_result_may_be_written_or_used_as_any_other() -> None:
    x = Tensor(numbers(3), requires_grad=True)
    out = checkpoint(ops.exp, x)
    assert out.version == 0
    out += 1.0
    out.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp(x.data), 1e-14)
    kept = checkpoint(lambda x: x.sin(), x)
    (kept * kept).sum().backward(retain_graph=True)
    np.testing.assert_allclose(kept.numpy() if not kept.requires_grad else kept.data, np.sin(x.data))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: checkpoint(3.0, Tensor(1.0)), "function must be something to call, got float"),
        (lambda: checkpoint(ops.exp, Tensor(1.0), generators=[7]), "generators must be of NumPy or torch, got int"),
        (
            lambda: checkpoint(ops.exp, Tensor(1.0), generators=[np.random.RandomState(0).random]),
            "generators must be of NumPy or torch",
        ),
    ],
)
def test_bad_input(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()
