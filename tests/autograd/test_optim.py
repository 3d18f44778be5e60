"""Each optimizer equals torch's over 50 steps, on the arrays of every library; the rules of a step; bad input."""

import inspect
from collections.abc import Callable
from typing import Any

import array_api_strict as strict
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.autograd import Parameter, Tensor, no_grad
from kb.autograd import optim as ours
from kb.autograd.optim.averages import move_average
from kb.autograd.optim.parameters import array_of

pytestmark = pytest.mark.filterwarnings("ignore:You are comparing a array_api_strict dtype")

SHAPES = ((3, 2), (), (0,), (4,))
ONLY_FOR_SPEED = {"foreach", "fused", "capturable", "differentiable"}


class Holder:
    """The least that an optimizer takes: an array and its gradient."""

    def __init__(self, data: Any) -> None:
        self.data, self.grad = data, None


# By name of the library: a parameter of a NumPy array, and what its ``grad`` is set to.
KINDS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "numpy": (Holder, np.asarray),
    "strict": (lambda array: Holder(strict.asarray(array)), strict.asarray),
    "torch": (lambda array: torch.nn.Parameter(torch.from_numpy(array)), torch.from_numpy),
    "kb": (Parameter, Tensor),
    "kb on torch": (lambda array: Parameter(torch.from_numpy(array)), lambda array: Tensor(torch.from_numpy(array))),
}


def read(holder: Any) -> np.ndarray:
    """A copy of the numbers of a parameter or of its gradient, as NumPy has them."""
    array = array_of(holder)
    return array.numpy().copy() if isinstance(array, torch.Tensor) else np.array(array)


def of(name: str, kind: str, arrays: list[np.ndarray], **options: Any) -> tuple[Any, list[Any]]:
    parameters = [KINDS[kind][0](array.copy()) for array in arrays]
    return getattr(ours, name)(parameters, **options), parameters


def give(kind: str, parameters: list[Any], grads: list[np.ndarray | None]) -> None:
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = None if grad is None else KINDS[kind][1](grad.copy())


def normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(generator.normal(size=shape))


def share(least: float, most: float) -> st.SearchStrategy[float]:
    return st.just(0.0) | st.floats(least, most)


def make_sound(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "dampening": 0.0, "momentum": options["momentum"] or 0.5} if options["nesterov"] else options


DECAY, EPS, RATE, FLAG = share(0.01, 0.5), st.sampled_from([1e-10, 1e-8, 1e-4]), share(1e-4, 0.02), st.booleans()
ADAM: dict[str, st.SearchStrategy[Any]] = {
    "lr": RATE,
    "betas": st.tuples(share(0.1, 0.99), share(0.1, 0.999)),
    "eps": EPS,
    "weight_decay": DECAY,
    "amsgrad": FLAG,
    "maximize": FLAG,
}
OPTIONS = {
    "SGD": st.fixed_dictionaries(
        {
            "lr": RATE,
            "momentum": share(0.1, 0.99),
            "dampening": share(-0.5, 0.9),
            "weight_decay": DECAY,
            "nesterov": FLAG,
            "maximize": FLAG,
        }
    ).map(make_sound),
    "Adagrad": st.fixed_dictionaries(
        {
            "lr": RATE,
            "lr_decay": share(0.01, 0.5),
            "weight_decay": DECAY,
            "initial_accumulator_value": share(0.1, 1.0),
            "eps": EPS,
            "maximize": FLAG,
        }
    ),
    "RMSprop": st.fixed_dictionaries(
        {
            "lr": RATE,
            "alpha": st.floats(0.5, 0.999),
            "eps": EPS,
            "weight_decay": DECAY,
            "momentum": share(0.1, 0.99),
            "centered": FLAG,
            "maximize": FLAG,
        }
    ),
    "Adam": st.fixed_dictionaries(ADAM),
    "AdamW": st.fixed_dictionaries(ADAM),
}


def assert_equal(our_parameters: list[Any], their_parameters: list[torch.Tensor], tolerance: float = 1e-12) -> None:
    """Apart by no more than ``tolerance`` of the largest number, as a number of its own may pass close by 0."""
    pairs = [(read(mine), read(theirs)) for mine, theirs in zip(our_parameters, their_parameters, strict=True)]
    largest = max(np.max(np.abs(wanted), initial=0.0) for _, wanted in pairs)
    for found, wanted in pairs:
        assert found.shape == wanted.shape
        assert np.max(np.abs(found - wanted), initial=0.0) <= tolerance * largest


@pytest.mark.parametrize("name", OPTIONS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_equals_torch_over_50_steps_of_random_gradients(name: str, data: st.DataObject) -> None:
    options, other = data.draw(OPTIONS[name]), data.draw(OPTIONS[name])
    if name == "Adagrad":  # torch starts every group from the constructor's value
        other["initial_accumulator_value"] = options["initial_accumulator_value"]
    kind, generator = data.draw(st.sampled_from(list(KINDS))), np.random.default_rng(data.draw(st.integers(0, 99)))
    arrays = [normal(generator, shape) for shape in SHAPES]
    mine = [KINDS[kind][0](array.copy()) for array in arrays]
    theirs = [torch.nn.Parameter(torch.tensor(array)) for array in arrays]
    optimizer = getattr(ours, name)([{"params": mine[:2], **other}, {"params": mine[2:]}], **options)
    reference = getattr(torch.optim, name)([{"params": theirs[:2], **other}, {"params": theirs[2:]}], **options)
    for _ in range(50):
        grads = [normal(generator, shape) if generator.random() < 0.8 else None for shape in SHAPES]
        give(kind, mine, grads)
        give("torch", theirs, grads)
        optimizer.step()
        reference.step()
    assert_equal(mine, theirs)


@pytest.mark.parametrize("name", OPTIONS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_equals_torch_over_50_steps_down_a_valley(name: str, data: st.DataObject) -> None:
    options, kind = data.draw(OPTIONS[name]), data.draw(st.sampled_from(list(KINDS)))
    generator = np.random.default_rng(data.draw(st.integers(0, 99)))
    start, slopes = 3 * np.sign(normal(generator, (6,))) + normal(generator, (6,)), np.geomspace(0.05, 5, 6)
    optimizer, mine = of(name, kind, [start], **options)
    theirs = [torch.nn.Parameter(torch.tensor(start))]
    reference = getattr(torch.optim, name)(theirs, **options)
    for _ in range(50):
        give(kind, mine, [slopes * read(mine[0])])
        give("torch", theirs, [slopes * theirs[0].detach().numpy()])
        optimizer.step()
        reference.step()
    # A gradient that hardly changes has a variance of few digits: v - a² cancels.
    assert_equal(mine, theirs, 1e-8 if options.get("centered") else 1e-12)


@pytest.mark.parametrize("name", [*OPTIONS, "Muon"])
def test_options_and_defaults_are_those_of_torch(name: str) -> None:
    mine = inspect.signature(getattr(ours, name)).parameters
    theirs = inspect.signature(getattr(torch.optim, name)).parameters
    assert set(theirs) - set(mine) <= {*ONLY_FOR_SPEED, "decoupled_weight_decay"}
    assert {key: mine[key].default for key in mine} == {key: theirs[key].default for key in mine}
    positional = [key for key in mine if mine[key].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert positional == [key for key in theirs if key in positional]


def test_float32_stays_float32_in_parameters_and_buffers() -> None:
    for kind in KINDS:
        optimizer, parameters = of("Adam", kind, [np.ones((2, 3), np.float32)], amsgrad=True)
        give(kind, parameters, [np.ones((2, 3), np.float32)])
        optimizer.step()
        state = optimizer.state[parameters[0]]
        dtypes = {str(parameters[0].data.dtype), *(str(state[key].dtype) for key in state if key != "step")}
        assert {one.split(".")[-1] for one in dtypes} == {"float32"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_written_into_the_memory_of_the_parameter(kind: str) -> None:
    array = np.arange(6.0).reshape(2, 3)
    parameter = KINDS[kind][0](array)
    memory, grad = array_of(parameter), np.ones((2, 3))
    parameter.grad = KINDS[kind][1](grad)
    ours.SGD([parameter], lr=0.5, weight_decay=0.5, maximize=True).step()
    wanted = np.arange(6.0).reshape(2, 3) * 0.75 + 0.5
    assert np.array_equal(read(memory), wanted)
    if kind != "strict":  # that library copies what it is made of
        assert np.array_equal(array, wanted)
    assert np.array_equal(read(parameter.grad), np.ones((2, 3)))


def test_a_strided_view_is_a_parameter_like_any_other() -> None:
    array = np.zeros((4, 6))
    view = Holder(array.T[::2])
    view.grad = np.ones((3, 4))
    ours.Adam([view], lr=0.1).step()
    assert np.allclose(array[:, ::2], -0.1)
    assert not array[:, 1::2].any()


def test_torch_records_no_graph_and_notices_a_stale_one() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    loss = (parameter**2).sum()
    (parameter.grad,) = torch.autograd.grad(loss, parameter, create_graph=True)
    optimizer = ours.SGD([parameter], lr=0.1, momentum=0.9)
    optimizer.step()
    assert parameter.is_leaf
    assert parameter.requires_grad
    assert not optimizer.state[parameter]["momentum_buffer"].requires_grad
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_tape_notices_that_its_numbers_were_stepped_over() -> None:
    parameter = Parameter(np.ones(2))
    loss = (parameter * parameter).sum()
    parameter.grad = Tensor(np.ones(2))
    ours.SGD([parameter], lr=0.1).step()
    with pytest.raises(RuntimeError):
        loss.backward()


def test_a_closure_is_called_first_with_gradients_recorded() -> None:
    parameter = Parameter(np.array([3.0]))
    optimizer = ours.SGD([parameter], lr=0.25)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (parameter * parameter).sum()
        loss.backward()
        return loss

    with no_grad():
        losses = [float(optimizer.step(closure)) for _ in range(3)]
    assert losses == [9.0, 2.25, 0.5625]


@pytest.mark.parametrize("kind", KINDS)
def test_zero_grad_forgets_or_fills(kind: str) -> None:
    optimizer, parameters = of("SGD", kind, [np.ones(3), np.ones(2)])
    give(kind, parameters, [np.ones(3), None])
    optimizer.zero_grad(set_to_none=False)
    assert not read(parameters[0].grad).any()
    assert parameters[1].grad is None
    optimizer.zero_grad()
    assert parameters[0].grad is None


def test_zero_grad_takes_a_gradient_out_of_its_graph() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    (parameter.grad,) = torch.autograd.grad((parameter**3).sum(), parameter, create_graph=True)
    ours.SGD([parameter]).zero_grad(set_to_none=False)
    assert not parameter.grad.requires_grad
    assert not parameter.grad.any()


def test_nesterov_by_hand() -> None:
    parameter = Holder(np.array([1.0]))
    optimizer = ours.SGD([parameter], lr=0.1, momentum=0.9, nesterov=True)
    # b: 1, 0.9 + 0.5, 1.26 - 2;  g + 0.9 b: 1.9, 1.76, -2.666
    for grad, wanted in ((1.0, 0.81), (0.5, 0.634), (-2.0, 0.9006)):
        parameter.grad = np.array([grad])
        optimizer.step()
        assert parameter.data[0] == pytest.approx(wanted, rel=1e-14)


def test_an_average_that_remembers_nothing_is_the_value_to_the_last_digit() -> None:
    average = np.array([1e20, -3.0])
    move_average(average, np.array([1.0, 0.1]), 1.0)
    assert average.tolist() == [1.0, 0.1]


@given(grad=st.floats(1e-3, 1e6) | st.floats(-1e6, -1e-3), lr=st.floats(1e-6, 1.0), beta=st.floats(0.0, 0.99))
def test_the_first_step_of_adam_has_size_lr(grad: float, lr: float, beta: float) -> None:
    parameter = Holder(np.zeros(()))
    parameter.grad = np.array(grad)
    ours.Adam([parameter], lr=lr, betas=(beta, 0.999)).step()
    assert float(parameter.data) == pytest.approx(-lr * np.sign(grad), rel=2e-5)  # eps over the least gradient


def test_adamw_without_decay_is_adam_and_with_it_is_not() -> None:
    finals = []
    for name, decay in (("Adam", 0.0), ("AdamW", 0.0), ("AdamW", 0.1), ("Adam", 0.1)):
        generator = np.random.default_rng(0)
        optimizer, parameters = of(name, "numpy", [normal(generator, (5,))], weight_decay=decay)
        for _ in range(20):
            give("numpy", parameters, [normal(generator, (5,))])
            optimizer.step()
        finals.append(read(parameters[0]))
    assert np.array_equal(finals[0], finals[1])
    assert not np.allclose(finals[1], finals[2], rtol=1e-6)
    assert not np.allclose(finals[2], finals[3], rtol=1e-6)


@pytest.mark.parametrize("name", [*OPTIONS, "Muon"])
def test_nan_and_infinity_go_where_torch_sends_them(name: str) -> None:
    start = np.ones((2, 2))
    optimizer, mine = of(name, "numpy", [start])
    theirs = [torch.nn.Parameter(torch.tensor(start))]
    reference = getattr(torch.optim, name)(theirs)
    for grad in (np.array([[np.nan, np.inf], [-np.inf, 1.0]]), np.ones((2, 2))):
        give("numpy", mine, [grad])
        give("torch", theirs, [grad])
        optimizer.step()
        reference.step()
    assert np.array_equal(np.isnan(read(mine[0])), np.isnan(theirs[0].detach().numpy()))


def test_a_group_can_join_later() -> None:
    first, second = Holder(np.zeros(2)), Holder(np.zeros(2))
    optimizer = ours.SGD([first], lr=1.0)
    optimizer.add_param_group({"params": second, "lr": 0.5})
    for parameter in (first, second):
        parameter.grad = np.ones(2)
    optimizer.step()
    assert (first.data[0], second.data[0]) == (-1.0, -0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("name", "options", "wrong"),
    [
        ("SGD", {"lr": -1.0}, "lr"),
        ("SGD", {"lr": float("nan")}, "lr"),
        ("SGD", {"lr": "fast"}, "lr"),
        ("SGD", {"momentum": -0.1}, "momentum"),
        ("SGD", {"dampening": None}, "dampening"),
        ("SGD", {"nesterov": True}, "nesterov"),
        ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "nesterov"),
        ("SGD", {"maximize": 1}, "maximize"),
        ("Adagrad", {"lr_decay": -1}, "lr_decay"),
        ("Adagrad", {"initial_accumulator_value": -1}, "initial_accumulator_value"),
        ("RMSprop", {"alpha": -0.1}, "alpha"),
        ("RMSprop", {"centered": "yes"}, "centered"),
        ("Adam", {"betas": (1.0, 0.999)}, r"betas\[0\]"),
        ("Adam", {"betas": (0.9, -0.1)}, r"betas\[1\]"),
        ("Adam", {"betas": 0.9}, "betas"),
        ("Adam", {"eps": -1e-8}, "eps"),
        ("Adam", {"amsgrad": None}, "amsgrad"),
        ("AdamW", {"weight_decay": -1}, "weight_decay"),
        ("Muon", {"ns_steps": 100}, "ns_steps"),
        ("Muon", {"ns_steps": 2.5}, "ns_steps"),
        ("Muon", {"ns_coefficients": (1, 2)}, "ns_coefficients"),
        ("Muon", {"adjust_lr_fn": "guess"}, "adjust_lr_fn"),
    ],
)
def test_options_out_of_range_are_refused(name: str, options: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=f"^{wrong}"):
        getattr(ours, name)([Holder(np.ones((2, 2)))], **options)
    optimizer = getattr(ours, name)([Holder(np.ones((2, 2)))])
    with pytest.raises(ValueError, match=f"^{wrong}"):
        optimizer.add_param_group({"params": [Holder(np.ones((2, 2)))], **options})
    assert len(optimizer.param_groups) == 1


TWICE = Holder(np.ones(2))


class Equal(Holder):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ([], ValueError, "at least one"),
        (Holder(np.ones(2)), TypeError, "list"),
        (torch.ones(2), TypeError, "list"),
        (None, TypeError, "list"),
        ({TWICE}, TypeError, "order"),
        ([TWICE, TWICE], ValueError, "twice"),
        ([{"params": [TWICE]}, {"params": [TWICE]}], ValueError, "twice"),
        ([{"params": [TWICE]}, Holder(np.ones(3))], TypeError, "group"),
        ({"params": [TWICE]}, TypeError, "list"),
        ([{"params": 3}], TypeError, "list"),
        ([{"lr": 1.0}], ValueError, "params"),
        ([np.ones(2)], TypeError, "grad"),
        ([3.0], TypeError, "data"),
        ([Holder([1.0])], TypeError, "in place"),
        ([Holder(np.float64(1.0))], TypeError, "in place"),
        ([Holder(np.arange(3))], TypeError, "floating"),
        ([Holder(np.ones(2) + 1j)], TypeError, "floating"),
        ([torch.arange(3)], TypeError, "floating"),
        ([Equal(np.ones(2))], TypeError, "identity"),
        ([Parameter(np.ones(2)) * 2], ValueError, "leaves"),
        ([torch.nn.Parameter(torch.ones(2)) * 2], ValueError, "leaves"),
    ],
)
def test_what_cannot_be_optimized_is_refused(params: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ours.SGD(params)


def test_a_gradient_of_another_shape_or_library_is_refused_before_any_write() -> None:
    first, second = Holder(np.zeros((2, 3))), Holder(np.zeros((2, 3)))
    optimizer = ours.SGD([first, second])
    first.grad, second.grad = np.ones((2, 3)), np.ones(3)  # it would broadcast
    with pytest.raises(ValueError, match=r"\(3,\)"):
        optimizer.step()
    second.grad = torch.ones(2, 3)
    with pytest.raises(TypeError, match="numpy and torch"):
        optimizer.step()
    assert not first.data.any()
