"""The rules of a step: what is written, what is recorded, closures, forgotten gradients, steps done by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kb.autograd import Parameter, Tensor, no_grad
from kb.autograd import optim as ours
from kb.autograd.optim.averages import move_average
from kb.autograd.optim.parameters import array_of
from tests.autograd.optimizing import KINDS, Holder, give, normal, of, read

pytestmark = pytest.mark.filterwarnings("ignore:You are comparing a array_api_strict dtype")


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


def test_a_group_can_join_later() -> None:
    first, second = Holder(np.zeros(2)), Holder(np.zeros(2))
    optimizer = ours.SGD([first], lr=1.0)
    optimizer.add_param_group({"params": second, "lr": 0.5})
    for parameter in (first, second):
        parameter.grad = np.ones(2)
    optimizer.step()
    assert (first.data[0], second.data[0]) == (-1.0, -0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 0.5]
