"""Hooks of modules see, keep and replace what torch's do, on the same small model; what they must not give."""

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn as theirs

from kb.autograd import Tensor, grad, no_grad
from kb.autograd import nn as ours

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")

FRAMEWORKS: tuple[Any, ...] = (ours, theirs)


def small(nn: Any) -> Any:
    """Linear, tanh, linear, with the same weights in either framework."""
    dtype = torch.float64 if nn is theirs else "float64"
    model = nn.Sequential(nn.Linear(3, 4, dtype=dtype), nn.Tanh(), nn.Linear(4, 2, dtype=dtype))
    for place, parameter in enumerate(model.parameters()):
        values = np.random.default_rng(place).normal(size=tuple(parameter.shape))
        parameter.data = values if nn is ours else torch.from_numpy(values)
    return model


def leaf(nn: Any, values: Any, requires_grad: bool = True) -> Any:
    array = np.array(values, np.float64)
    return (
        Tensor(array, requires_grad=requires_grad) if nn is ours else torch.tensor(array, requires_grad=requires_grad)
    )


def plain(value: Any) -> Any:
    """Numbers of eight digits in the place of tensors."""
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return value if value is None or isinstance(value, str) else np.round(value.detach().numpy(), 8).tolist()


def alike(run: Callable[[Any], Any]) -> Any:
    """What a run gives, the same in both frameworks."""
    found, wanted = plain(run(ours)), plain(run(theirs))
    assert found == wanted
    return found


X = np.random.default_rng(9).normal(size=(2, 3))


def test_the_order_of_all_kinds_is_torchs() -> None:
    def run(nn: Any) -> list[Any]:
        model, seen = small(nn), []
        note = lambda name: lambda module, *rest: seen.append((name, type(module).__name__, *rest))  # noqa: E731
        for module in (model, model[0], model[1]):
            module.register_forward_pre_hook(note("before"))
            module.register_forward_pre_hook(note("before, in front"), prepend=True)
            module.register_forward_hook(note("after"))
            module.register_forward_hook(note("after, in front"), prepend=True)
            module.register_full_backward_hook(note("backward"))
            module.register_full_backward_hook(note("backward, in front"), prepend=True)
        x = leaf(nn, X)
        out = model(x)
        out.sum().backward()
        return [*seen, out, x.grad, *(one.grad for one in model.parameters())]

    found = alike(run)
    assert [name for name, *_ in found[:4]] == ["before, in front", "before"] * 2
    assert sum(name == "backward" for name, *_ in found[:18]) == 3


def test_what_hooks_give_replaces_and_none_keeps() -> None:
    def run(nn: Any) -> list[Any]:
        model, seen = small(nn), []
        model.register_forward_pre_hook(lambda module, args: args[0] * 2.0)  # one argument, not in a tuple
        model.register_forward_pre_hook(lambda module, args: (args[0] + 1.0,))
        model.register_forward_pre_hook(lambda module, args: seen.append(args))
        model[0].register_forward_hook(lambda module, args, out: out * 3.0)
        model[0].register_forward_hook(lambda module, args, out: seen.append(out))
        model[1].register_full_backward_hook(lambda module, inputs, outputs: (inputs[0] * 5.0,))
        model[1].register_full_backward_hook(lambda module, inputs, outputs: (inputs[0] + outputs[0],))
        model[1].register_full_backward_hook(lambda module, inputs, outputs: seen.extend([inputs, outputs]))
        x = leaf(nn, X)
        out = model(x)
        (out * out).sum().backward()
        return [*seen, out, x.grad, *(one.grad for one in model.parameters())]

    alike(run)


def two_in_two_out(nn: Any) -> Any:
    class Both(nn.Module):
        def forward(self, a: Any, word: str, b: Any, c: Any) -> Any:
            return a * b + c, word, a * 3.0, b * b

    return Both()


@pytest.mark.parametrize("used", [(0,), (2,), (0, 2), (0, 2, 3)])
@pytest.mark.parametrize("times", [1, 2])
def test_gradients_of_several_inputs_and_outputs_come_together(used: tuple[int, ...], times: int) -> None:
    def run(nn: Any) -> list[Any]:
        module, seen = two_in_two_out(nn), []
        module.register_full_backward_hook(lambda module, inputs, outputs: seen.append((inputs, outputs)))
        module.register_full_backward_hook(lambda module, inputs, outputs: (inputs[0] * 2.0, None, *inputs[2:]))
        a, b, c = leaf(nn, [1.0, 2.0]), leaf(nn, [3.0, 4.0]), leaf(nn, [5.0, 6.0], requires_grad=False)
        outputs = module(a, "word", b, c)
        total = sum(outputs[place].sum() for place in used)
        for _ in range(times):
            total.backward(retain_graph=True)
        # Where nothing depends on an input, torch gives it zeros, and we nothing.
        return [*seen, *(leaf(nn, [0.0, 0.0]) if one.grad is None else one.grad for one in (a, b))]

    found = alike(run)
    assert len(found) == times + 2
    inputs, outputs = found[0]
    assert inputs[1] is outputs[1] is None
    assert [place for place, one in enumerate(outputs) if one is not None] == list(used)


def test_where_no_input_requires_a_gradient_the_hook_sees_those_of_the_outputs() -> None:
    def run(nn: Any) -> list[Any]:
        model, seen = small(nn), []
        model.register_full_backward_hook(lambda module, inputs, outputs: seen.append((inputs, outputs)))
        model(leaf(nn, X, requires_grad=False)).sum().backward()
        return [*seen, *(one.grad for one in model.parameters())]

    assert alike(run)[0][0] == [None]


@pytest.mark.parametrize("calls", [1, 2])
def test_gradients_of_gradients_come_through_the_hooks_or_past_the_output(calls: int) -> None:
    def run(nn: Any) -> list[Any]:
        model, seen = small(nn), []
        model.register_full_backward_hook(lambda module, inputs, outputs: seen.append(inputs))
        model[1].register_full_backward_hook(lambda module, inputs, outputs: (inputs[0] * 2.0,))
        x = leaf(nn, X)
        of = grad if nn is ours else torch.autograd.grad
        out = model(x)
        (first,) = of((out if calls == 1 else out * out).sum(), x, create_graph=True)
        (second,) = of((first * first).sum(), x)
        return [first, second, len(seen) * leaf(nn, 1.0)]

    found = alike(run)
    assert found[-1] == calls  # of what is linear in the output, the second walk does not pass there


def test_none_in_the_place_of_a_gradient_stops_it() -> None:
    def run(nn: Any) -> list[Any]:
        model = small(nn)
        model[1].register_full_backward_hook(lambda module, inputs, outputs: (None,))
        x = leaf(nn, X)
        model(x).sum().backward()
        return [leaf(nn, np.zeros(one.shape)) if one.grad is None else one.grad for one in (x, *model.parameters())]

    found = alike(run)
    assert not np.any(found[0])
    assert np.any(found[-1])


@settings(max_examples=30)
@given(
    orders=st.lists(st.tuples(st.sampled_from("bag"), st.booleans()), max_size=6), removed=st.sets(st.integers(0, 5))
)
def test_any_hooks_added_in_any_order_and_taken_away(orders: list[tuple[str, bool]], removed: set[int]) -> None:
    def run(nn: Any) -> list[Any]:
        model, seen, handles = small(nn)[:2], [], []
        names = {"b": "forward_pre", "a": "forward", "g": "full_backward"}
        for place, (kind, prepend) in enumerate(orders):
            hook = lambda *given, place=place: seen.append((str(place), *given[1:]))  # noqa: E731
            handles.append(getattr(model, f"register_{names[kind]}_hook")(hook, prepend=prepend))
        for place in removed & set(range(len(handles))):
            handles[place].remove()
            handles[place].remove()
        model(leaf(nn, X)).sum().backward()
        return seen

    assert len(alike(run)) == len(orders) - len(removed & set(range(len(orders))))


def test_one_function_registered_twice_is_two_hooks_and_a_handle_takes_its_own() -> None:
    def run(nn: Any) -> list[Any]:
        model, seen = small(nn), []
        twice = lambda module, args, out: seen.append("twice")  # noqa: E731
        model.register_forward_hook(twice)
        model.register_forward_hook(lambda module, args, out: seen.append("between"))
        model.register_forward_hook(twice).remove()
        model(leaf(nn, X))
        return seen

    assert alike(run) == ["twice", "between"]


def test_a_copied_module_keeps_its_hooks_and_shares_none() -> None:
    def run(nn: Any) -> list[Any]:
        model, seen = small(nn), []
        model.register_forward_hook(lambda module, args, out: seen.append("first"))
        other = copy.deepcopy(model)
        other.register_forward_hook(lambda module, args, out: seen.append("second"))
        model(leaf(nn, X))
        other(leaf(nn, X))
        return seen

    assert alike(run) == ["first", "first", "second"]


@pytest.mark.parametrize("nn", FRAMEWORKS, ids=["ours", "torch"])
def test_without_recording_there_is_no_backward_and_without_hooks_no_node(nn: Any) -> None:
    model, seen = small(nn), []
    handle = model.register_full_backward_hook(lambda *given: seen.append(given))
    with no_grad() if nn is ours else torch.no_grad():
        assert not model(leaf(nn, X)).requires_grad
    handle.remove()
    model(leaf(nn, X)).sum().backward()
    assert seen == []


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_hooks_on_either_library(library: str) -> None:
    model, seen = small(ours).to(library=library), []
    model.register_full_backward_hook(lambda module, inputs, outputs: seen.append(inputs[0]))
    x = Tensor(X if library == "numpy" else torch.from_numpy(X), requires_grad=True)
    model(x).sum().backward()
    assert type(seen[0].data) is type(x.data)
    np.testing.assert_array_equal(seen[0].numpy(), x.grad.numpy())


def test_a_hook_that_fails_leaves_nothing_behind() -> None:
    model, fails = small(ours), [True]
    model.register_full_backward_hook(lambda module, inputs, outputs: 1 / 0 if fails.pop() else None)
    x = leaf(ours, X)
    out = model(x).sum()
    with pytest.raises(ZeroDivisionError):
        out.backward(retain_graph=True)
    fails.append(False)
    out.backward()
    np.testing.assert_allclose(x.grad.numpy(), plain(_gradient(small(theirs))), 1e-7)


def test_what_hooks_waited_for_is_freed_with_the_graph() -> None:
    model, seen = small(ours), []
    model.register_full_backward_hook(
        lambda module, inputs, outputs: seen.extend(map(weakref.ref, (*inputs, *outputs)))
    )
    model.register_forward_hook(lambda module, args, out: seen.append(weakref.ref(args[0])))
    gc.disable()  # nothing may wait for the collector
    try:
        model(leaf(ours, X)).sum().backward()
        assert [one() for one in seen] == [None] * 3
    finally:
        gc.enable()


def _gradient(model: Any) -> torch.Tensor:
    x = leaf(theirs, X)
    (found,) = torch.autograd.grad(model(x).sum(), x)
    return found


def give(answer: Any, requires_grad: bool = True) -> Callable[[], Any]:
    def run() -> None:
        model = small(ours)
        model.register_full_backward_hook(lambda module, inputs, outputs: answer)
        model(leaf(ours, X, requires_grad)).sum().backward()

    return run


def of_a_list() -> None:
    module = small(ours)
    module.forward = lambda x: [x]
    module.register_full_backward_hook(lambda *given: None)
    module(leaf(ours, X))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: small(ours).register_forward_pre_hook(3), TypeError, "hook must be a function, got int"),
        (lambda: small(ours).register_forward_hook(None), TypeError, "hook must be a function, got NoneType"),
        (lambda: small(ours).register_full_backward_hook("x"), TypeError, "hook must be a function, got str"),
        (give(()), ValueError, "None or a tuple of 1"),
        (give((None, None)), ValueError, "None or a tuple of 1"),
        (give(Tensor(X)), ValueError, "None or a tuple of 1"),
        (give((X,)), TypeError, "must give a tensor"),
        (give((Tensor(X[:1]),)), ValueError, "shape"),
        (give((Tensor(X),), requires_grad=False), ValueError, "no input of the module requires"),
        (of_a_list, TypeError, "a tensor or a tuple, got list"),
    ],
)
def test_bad_hooks(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
