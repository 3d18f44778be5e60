"""State dicts of the optimizers: to torch and back in mid-training, between libraries, bit for bit; what is refused."""

from copy import deepcopy
from typing import Any

import array_api_strict as strict
import numpy as np
import pytest
import torch

from kb.autograd import Parameter, Tensor
from kb.autograd import optim as ours
from kb.autograd.optim.parameters import array_of

pytestmark = pytest.mark.filterwarnings("ignore:You are comparing a array_api_strict dtype")

CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.5}),
    ("RMSprop", {"centered": True, "momentum": 0.9, "maximize": True}),
    ("RMSprop", {}),
    ("Adam", {"betas": (0.5, 0.9), "weight_decay": 0.1}),
    ("Adam", {"amsgrad": True}),
    ("AdamW", {}),
]
SHAPES = ((3, 2), (), (0,), (4,))
LIBRARIES = ("numpy", "strict", "torch")


class Holder:
    def __init__(self, data: Any) -> None:
        self.data, self.grad = data, None


def convert(array: np.ndarray, library: str) -> Any:
    if library == "torch":
        return torch.from_numpy(array.copy())
    return strict.asarray(array) if library == "strict" else array.copy()


def wrap(array: np.ndarray, library: str) -> Any:
    return torch.nn.Parameter(convert(array, library)) if library == "torch" else Holder(convert(array, library))


def read(holder: Any) -> np.ndarray:
    array = array_of(holder)
    return array.numpy().copy() if isinstance(array, torch.Tensor) else np.array(array)


def train(optimizer: Any, library: str, steps: range) -> None:
    """Steps of gradients that depend on the number of the step alone; the last parameter gets every second one."""
    for step in steps:
        generator = np.random.default_rng(step)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for place, parameter in enumerate(parameters):
            grad = np.asarray(generator.normal(size=tuple(parameter.data.shape)))
            parameter.grad = None if place == len(parameters) - 1 and step % 2 else convert(grad, library)
        optimizer.step()


def groups_of(parameters: list[Any]) -> list[dict[str, Any]]:
    return [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.05}]


def optimizer_of(module: Any, name: str, library: str, arrays: list[np.ndarray], options: dict[str, Any]) -> Any:
    return getattr(module, name)(groups_of([wrap(array, library) for array in arrays]), **options)


def numbers(optimizer: Any) -> list[np.ndarray]:
    return [read(parameter) for group in optimizer.param_groups for parameter in group["params"]]


def assert_close(optimizer: Any, reference: Any) -> None:
    for found, wanted in zip(numbers(optimizer), numbers(reference), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)


def start() -> list[np.ndarray]:
    generator = np.random.default_rng(99)
    return [np.asarray(generator.normal(size=shape)) for shape in SHAPES]


def for_torch(saved: dict[str, Any]) -> dict[str, Any]:
    """With every array made a tensor."""
    state = {
        number: {key: value if key == "step" else torch.from_numpy(read(value)) for key, value in kept.items()}
        for number, kept in saved["state"].items()
    }
    return {"state": state, "param_groups": saved["param_groups"]}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_state_of_torch_goes_on_here(name: str, options: dict[str, Any], library: str) -> None:
    theirs = optimizer_of(torch.optim, name, "torch", start(), options)
    train(theirs, "torch", range(15))
    mine = optimizer_of(ours, name, library, numbers(theirs), {**options, "lr": 7.0})
    mine.load_state_dict(theirs.state_dict())
    train(mine, library, range(15, 35))
    train(theirs, "torch", range(15, 35))
    assert_close(mine, theirs)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_state_from_here_goes_on_in_torch(name: str, options: dict[str, Any], library: str) -> None:
    mine = optimizer_of(ours, name, library, start(), options)
    train(mine, library, range(15))
    theirs = optimizer_of(torch.optim, name, "torch", numbers(mine), {**options, "lr": 7.0})
    theirs.load_state_dict(for_torch(mine.state_dict()))
    train(mine, library, range(15, 35))
    train(theirs, "torch", range(15, 35))
    assert_close(mine, theirs)


@pytest.mark.parametrize("module", [ours, torch.optim], ids=["ours to torch", "torch to ours"])
def test_muon_hands_over_its_momentum(module: Any) -> None:
    matrices = [array.reshape(2, -1) for array in start() if array.size > 1]
    first = optimizer_of(module, "Muon", "torch", matrices, {"adjust_lr_fn": "match_rms_adamw", "ns_steps": 3})
    train(first, "torch", range(5))
    second = optimizer_of(torch.optim if module is ours else ours, "Muon", "torch", matrices, {})
    second.load_state_dict(first.state_dict())
    assert second.param_groups[1]["ns_steps"] == 3
    for before, after in zip(first.state.values(), second.state.values(), strict=True):
        assert before.keys() == after.keys() == {"momentum_buffer"}
        assert torch.equal(before["momentum_buffer"], after["momentum_buffer"])


FURTHER: list[tuple[str, dict[str, Any]]] = [("Lion", {"weight_decay": 0.1}), ("LAMB", {}), ("Adafactor", {"d": 1.5})]


@pytest.mark.parametrize(("name", "options"), [*CASES, *FURTHER])
def test_what_was_saved_goes_on_bit_for_bit(name: str, options: dict[str, Any]) -> None:
    first = optimizer_of(ours, name, "numpy", start(), options)
    train(first, "numpy", range(10))
    saved, at = deepcopy(first.state_dict()), numbers(first)
    train(first, "numpy", range(10, 20))
    second = optimizer_of(ours, name, "numpy", at, options)
    second.load_state_dict(saved)
    train(second, "numpy", range(10, 20))
    for found, wanted in zip(numbers(second), numbers(first), strict=True):
        assert np.array_equal(found, wanted)


def test_the_layout_is_that_of_torch() -> None:
    for name, options in CASES:
        mine = optimizer_of(ours, name, "torch", start(), options)
        theirs = optimizer_of(torch.optim, name, "torch", start(), options)
        train(mine, "torch", range(2))
        train(theirs, "torch", range(2))
        found, wanted = mine.state_dict(), theirs.state_dict()
        assert found.keys() == wanted.keys()
        assert {n: set(kept) for n, kept in found["state"].items()} == {n: set(k) for n, k in wanted["state"].items()}
        for group, other in zip(found["param_groups"], wanted["param_groups"], strict=True):
            assert {key: other[key] for key in group} == group


def test_what_is_loaded_has_memory_of_its_own_and_the_parameters_dtype() -> None:
    first = optimizer_of(ours, "Adam", "numpy", start(), {})
    train(first, "numpy", range(3))
    saved = first.state_dict()
    parameter = Parameter(np.zeros((3, 2), np.float32))
    rest = [wrap(array, "numpy") for array in start()[1:]]
    second = ours.Adam(groups_of([parameter, *rest]))
    second.load_state_dict(saved)
    average = second.state[parameter]["exp_avg"]
    assert average.dtype == np.float32
    before = saved["state"][0]["exp_avg"].copy()
    parameter.grad = Tensor(np.ones((3, 2), np.float32))
    second.step()
    assert np.array_equal(saved["state"][0]["exp_avg"], before)
    assert saved["state"][0]["step"] == 3
    assert second.state[parameter]["step"] == 4


def test_the_initial_lr_of_a_scheduler_is_kept() -> None:
    first = optimizer_of(ours, "SGD", "numpy", start(), {})
    first.param_groups[0]["initial_lr"] = 0.5
    second = optimizer_of(ours, "SGD", "numpy", start(), {})
    second.load_state_dict(first.state_dict())
    assert second.param_groups[0]["initial_lr"] == 0.5


def change(path: tuple[Any, ...], value: Any) -> Any:
    """A function that puts a value somewhere in a state dict."""

    def put(saved: dict[str, Any]) -> None:
        at: Any = saved
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value

    return put


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda saved: saved.pop("state"), "state and param_groups"),
        (lambda saved: saved["param_groups"].pop(), "groups of"),
        (lambda saved: saved["param_groups"][1]["params"].pop(), "groups of"),
        (lambda saved: saved["param_groups"][1].pop("params"), "list of params"),
        (lambda saved: saved["param_groups"][0].pop("betas"), "lacks betas"),
        (lambda saved: saved["state"][0].pop("exp_avg"), "this optimizer keeps"),
        (change(("state", 0, "momentum_buffer"), np.zeros((3, 2))), "this optimizer keeps"),
        (change(("state", 0, "exp_avg"), np.zeros((2, 3))), r"exp_avg of state 0 .*\(3, 2\)"),
        (change(("state", 0, "exp_avg"), 0.0), "exp_avg of state 0"),
        (change(("state", 0, "step"), "two"), "step of state 0"),
        (change(("state", 0, "step"), 1.5), "step of state 0"),
        (change(("state", 0, "step"), np.zeros(3)), "step of state 0"),
        (change(("state", 9), {}), "no parameter"),
        (change(("param_groups", 1, "lr"), -1.0), "lr"),
    ],
)
def test_a_foreign_state_is_refused_and_nothing_is_loaded(spoil: Any, words: str) -> None:
    optimizer = optimizer_of(ours, "Adam", "numpy", start(), {})
    train(optimizer, "numpy", range(2))
    saved = deepcopy(optimizer.state_dict())
    saved["param_groups"][0]["lr"] = 5.0
    spoil(saved)
    state, groups = optimizer.state, optimizer.param_groups
    with pytest.raises(ValueError, match=words):
        optimizer.load_state_dict(saved)
    assert optimizer.state is state
    assert optimizer.param_groups is groups


def test_the_state_of_another_optimizer_or_no_state_is_refused() -> None:
    optimizer = optimizer_of(ours, "Adam", "numpy", start(), {})
    with pytest.raises(ValueError, match="another optimizer"):
        optimizer.load_state_dict(optimizer_of(torch.optim, "SGD", "torch", start(), {}).state_dict())
    with pytest.raises(TypeError, match="dict"):
        optimizer.load_state_dict([1, 2])
