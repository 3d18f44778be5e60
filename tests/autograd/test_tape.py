"""What the tape keeps, for how long, and what a rule may ask for."""

import gc
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from kb.autograd import Tensor, enable_grad, grad, is_grad_enabled, no_grad, ops, set_grad_enabled
from kb.autograd.tape import NUMBERS, Op


@pytest.fixture
def no_collector() -> Any:
    """So that what is freed is freed because nothing holds it."""
    gc.disable()
    yield
    gc.enable()


def leaf(values: Any = 1.0) -> Tensor:
    return Tensor(np.array(values, np.float64), requires_grad=True)


def test_a_rule_gets_what_it_asks_for_and_no_more_is_kept() -> None:
    asked: dict[str, Any] = {}

    def rule(g: Any, out: Any, b: Any, scale: Any, bias: Any, shape: Any, place: Any) -> Any:
        asked.update(out=out, b=b, scale=scale, bias=bias, shape=shape, place=place)
        return g * b * scale

    op = Op("mine", lambda a, b, *, scale, bias=7.0: a * b * scale, a=rule)
    a, b = leaf([[1.0, 2.0]]), leaf([3.0])
    out = op(a, b, scale=2.0)
    assert out.node.inputs == (None, b)
    out.sum().backward()
    assert asked.pop("out").tolist() == [[6.0, 12.0]]
    assert asked.pop("b") is b.data
    assert asked == {"scale": 2.0, "bias": 7.0, "shape": (1, 2), "place": 0}
    assert a.grad.tolist() == [[6.0, 6.0]]
    assert b.grad is None, "an input without a rule has no gradient"


def test_an_operation_without_the_rule_that_would_be_used_is_not_recorded() -> None:
    op = Op("half", lambda a, b: a + b, a=lambda g: g)
    assert not op(1.0, leaf()).requires_grad
    assert op(leaf(), 1.0).requires_grad


def test_rules_that_ask_for_nonsense_are_found_when_they_are_written() -> None:
    with pytest.raises(ValueError, match="asks for 'c'"):
        Op("bad", lambda a, b: a + b, a=lambda g, c: g)
    with pytest.raises(ValueError, match="there is no input c"):
        Op("bad", lambda a, b: a + b, c=lambda g: g)


def test_operations_on_arrays_give_arrays_and_record_nothing() -> None:
    assert isinstance(ops.exp(np.ones(2)), np.ndarray)
    assert isinstance(ops.exp(torch.ones(2)), torch.Tensor)
    assert isinstance(ops.exp(Tensor(np.ones(2))), Tensor)


def test_numbers_of_nodes_are_a_topological_order() -> None:
    x = leaf()
    start = next(NUMBERS)
    y = x * 2.0
    z = y + x
    assert start < y.node.number < z.node.number < next(NUMBERS)


def test_an_intermediate_value_that_no_rule_wants_is_freed_at_once(no_collector: None) -> None:
    x = leaf(np.ones(1000))
    y = x * 2.0
    reference = weakref.ref(y)
    z = (y + 1.0).sum()
    del y
    assert reference() is None
    z.backward()
    assert x.grad.tolist() == [2.0] * 1000


def test_a_graph_that_is_dropped_is_freed_at_once(no_collector: None) -> None:
    x = leaf(np.ones(10))
    y = ops.exp(ops.tanh(x * x))
    y[0] = y[1] * 2.0
    y += 1.0
    out = (y.softmax(0) @ y).sqrt()
    nodes = [weakref.ref(out.node), weakref.ref(y.node)]
    del out, y
    assert [reference() for reference in nodes] == [None, None]


@pytest.mark.parametrize("how", ["backward", "grad", "grad twice"])
def test_what_backward_used_is_freed_at_once(no_collector: None, how: str) -> None:
    x = leaf(np.ones(10))
    y = ops.exp(x)
    z = (ops.tanh(y) * y).sum()
    nodes, value = [weakref.ref(y.node)], weakref.ref(y)
    del y
    if how == "backward":
        z.backward()
    elif how == "grad":
        grad(z, x)
    else:
        (first,) = grad(z, x, create_graph=True)
        grad(first.sum(), x)
        del first, z  # until then the first tape is to be used again
    assert value() is None
    assert [reference() for reference in nodes] == [None]


CHAIN = 200_000  # a stack of 8 MB would end long before


def test_a_long_chain_of_operations(no_collector: None) -> None:
    """No recursion, neither in backward nor in freeing."""
    x = leaf(np.ones(1))
    y = x
    for _ in range(CHAIN):
        y = -y
    y.backward(np.ones(1))
    assert x.grad.item() == 1.0


def test_a_long_chain_that_nobody_walked_is_freed_without_recursion(no_collector: None) -> None:
    y = leaf(np.ones(1)) * 2.0
    first = weakref.ref(y.node)
    for _ in range(100_000):
        y = ops.sin(y * 0.5)
    del y
    assert first() is None


def test_memory_is_the_same_after_many_walks(no_collector: None) -> None:
    x = leaf(np.ones(20_000))

    def step() -> None:
        y = x
        for _ in range(20):
            y = ops.tanh(y * 1.1) + x
        y.sum().backward()
        x.grad = None

    step()
    tracemalloc.start()
    step()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(20):
        step()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 80_000, "less than half of one of the arrays"


def test_backward_frees_as_it_goes() -> None:
    """Gradients and values of a long chain are not all there at the same time."""
    size, n = 100_000, 30
    x = leaf(np.ones(size))
    y = x
    for _ in range(n):
        y = ops.sin(y)
    total = y.sum()
    del y
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    total.backward()
    grown = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert grown < 5 * size * 8


def recorded() -> bool:
    return (leaf() * 2.0).requires_grad


def test_no_grad_and_enable_grad_as_contexts_and_within_each_other() -> None:
    assert recorded()
    with no_grad():
        assert not recorded()
        assert not is_grad_enabled()
        with enable_grad():
            assert recorded()
        assert not recorded()
        with set_grad_enabled(True), set_grad_enabled(False):
            assert not recorded()
    with pytest.raises(OSError, match="x"), no_grad():
        raise OSError("x")
    assert recorded()
    assert is_grad_enabled()


def test_as_decorators_again_and_again() -> None:
    @no_grad()
    def without() -> bool:
        return recorded()

    @enable_grad()
    def within() -> bool:
        return recorded()

    for _ in range(3):
        assert not without()
        with no_grad():
            assert within()
            assert not without()
        assert recorded()


def test_a_leaf_that_is_made_within_no_grad_may_require_a_gradient() -> None:
    with no_grad():
        x = leaf(3.0)
    (x * x).backward()
    assert x.grad.item() == 6.0


def test_each_thread_has_its_own_switch() -> None:
    seen: dict[str, Any] = {}
    inside, go_on = threading.Event(), threading.Event()

    def other() -> None:
        seen["at first"] = recorded()
        with no_grad():
            inside.set()
            go_on.wait(10)
            seen["inside"] = recorded()

    with no_grad():
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(10)
        with enable_grad():
            seen["here"] = recorded()
        go_on.set()
        thread.join()
    assert seen == {"at first": True, "inside": False, "here": True}


def test_threads_that_walk_their_own_tapes() -> None:
    def work(seed: int, results: list[Any]) -> None:
        x = leaf(np.full(50, float(seed)))
        for _ in range(30):
            (ops.sin(x) * x).sum().backward()
        results.append((seed, x.grad.numpy()))

    results: list[Any] = []
    threads = [threading.Thread(target=work, args=(seed, results)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for seed, found in results:
        np.testing.assert_allclose(found, 30 * (np.cos(seed) * seed + np.sin(seed)), 1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda a, b: a + b,
        lambda a, b: a * b.data,
        lambda a, b: a.data / b,
        lambda a, b: ops.where(a > 0, a, b),
        lambda a, b: ops.maximum(a, b),
        lambda a, b: a == b,
        lambda a, b: ops.stack([a, b]),
        lambda a, b: ops.put(a, b, index=...),
        lambda a, b: a.add_(b),
        lambda a, b: a.__setitem__(0, b[0]),
        lambda a, b: a.scatter_add(0, np.array([0, 1]), b),
        lambda a, b: a.backward(b),
    ],
)
def test_arrays_of_two_libraries_are_refused(call: Callable[..., Any]) -> None:
    for requires_grad in (True, False):
        a = Tensor(np.ones(2), requires_grad=requires_grad) * 1.0
        b = Tensor(torch.ones(2, dtype=torch.float64))
        if requires_grad or "backward" not in call.__code__.co_names:
            with pytest.raises(TypeError, match="numpy and torch"):
                call(a, b)
