"""A tensor as an object: where its numbers come from, what it says of itself, what it turns into."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from kb.autograd import Parameter, Tensor, grad, no_grad, tensor


@pytest.mark.parametrize(
    "data", [1.5, 2, True, [1.0, 2], [[1, 2], [3, 4]], [True, False], [], [[], []], (1.0, 2.0), [1, True]], ids=repr
)
def test_lists_and_numbers_become_what_torch_makes_of_them(data: Any) -> None:
    theirs = torch.tensor(data)
    for ours in (Tensor(data), tensor(data)):
        assert isinstance(ours.data, np.ndarray)
        assert ours.shape == tuple(theirs.shape)
        assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")
        assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("data", ["abc", None, [1, "a"], [[1], [1, 2]], {"a": 1}, object, [None], 1j], ids=repr)
def test_what_is_not_made_of_numbers_is_a_type_error(data: Any) -> None:
    with pytest.raises(TypeError, match="wanted an array, a number or nested lists"):
        Tensor(data)


def test_an_array_is_shared_by_the_class_and_copied_by_the_function() -> None:
    for array in (np.zeros(2), torch.zeros(2)):
        shared, own = Tensor(array), tensor(array)
        array[0] = 5.0
        assert shared.tolist() == [5.0, 0.0]
        assert own.tolist() == [0.0, 0.0]
        assert type(own.data) is type(array)
    assert tensor(Tensor([1.0]), dtype=np.float64, requires_grad=True).dtype == np.float64


def test_scalars_of_numpy_become_arrays_that_can_be_written() -> None:
    x = Tensor(np.float64(3.0))
    x += 1.0
    assert isinstance(x.data, np.ndarray)
    assert x.item() == 4.0
    assert isinstance(Tensor(np.ones(3)).argmax().data, np.ndarray)
    assert isinstance((Tensor(np.ones(3)).sum() * 2.0).data, np.ndarray)


def test_what_it_says_of_itself(against_torch: Any) -> None:
    x = against_torch.tensor(np.ones((2, 3)), requires_grad=True)
    y = x * 2.0
    assert (x.shape, x.size(), x.size(1), x.ndim, x.dim(), x.numel(), len(x)) == ((2, 3), (2, 3), 3, 2, 2, 6, 2)
    assert (x.is_leaf, y.is_leaf, x.grad_fn, y.grad_fn.name) == (True, False, None, "mul")
    assert "requires_grad=True" in repr(x)
    assert "grad_fn=<mul>" in repr(y)
    assert "grad" not in repr(x.detach())
    assert [row.tolist() for row in x] == [[1.0] * 3] * 2
    assert str(x.device) == "cpu"


def test_conversions_to_pythons_numbers_and_their_errors(against_torch: Any) -> None:
    x = against_torch.tensor([[2.5]], requires_grad=True)
    assert (x.item(), float(x), int(x), bool(x), bool(x > 3.0)) == (2.5, 2.5, 2, True, False)
    assert isinstance(x.item(), float)
    for call in (Tensor.item, float, int, bool):
        with pytest.raises(ValueError, match=r"item\(\) wants a tensor of one number, got shape \(2,\)"):
            call(against_torch.tensor([1.0, 2.0]))
    with pytest.raises(TypeError, match="has no length"):
        len(against_torch.tensor(1.0))
    with pytest.raises(TypeError, match="has no length"):
        iter(against_torch.tensor(1.0))


def test_numpy_is_refused_what_it_would_forget(against_torch: Any) -> None:
    x = against_torch.tensor([1.0], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"detach\(\) it first"):
        x.numpy()
    assert isinstance(x.detach().numpy(), np.ndarray)
    x.detach().numpy()[0] = 4.0
    assert x.item() == 4.0, "a view where there can be one"


@pytest.mark.parametrize("text", ["a + x", "x + a", "a - x", "a * x", "a / x", "a ** x", "a @ x", "x @ a", "a < x"])
def test_a_numpy_array_on_either_side_gives_a_tensor(text: str) -> None:
    a, values = np.array([[1.0, 2.0], [0.5, 3.0]]), np.array([[2.0, 1.0], [1.5, 0.25]])
    x = Tensor(values, requires_grad=True)
    out = eval(text, {"a": a, "x": x})
    assert isinstance(out, Tensor)
    np.testing.assert_array_equal(out.detach().numpy(), eval(text, {"a": a, "x": values}))
    if out.requires_grad:
        out.sum().backward()
        assert x.grad.shape == (2, 2)


def test_a_numpy_scalar_on_the_left_gives_a_tensor() -> None:
    x = Tensor(np.ones(2), requires_grad=True)
    for out in (np.float64(2.0) * x, np.float64(2.0) + x, np.int64(2) * x):
        assert isinstance(out, Tensor)
        assert out.requires_grad


@pytest.mark.parametrize("text", ["x + [1.0]", "[1.0] + x", "x * (1, 2)", "x - None", "x @ [1]", "[1] @ x", "x < '1'"])
def test_an_operand_that_is_no_array_is_a_type_error(text: str) -> None:
    with pytest.raises(TypeError, match=r"wanted (an array|arrays)"):
        eval(text, {"x": Tensor(np.ones(2))})


def test_augmented_assignment_to_an_array_is_refused() -> None:
    a = np.ones(2)
    a_tensor = a
    a_tensor = a_tensor + Tensor(np.ones(2))
    assert isinstance(a_tensor, Tensor)
    assert a.tolist() == [1.0, 1.0]


def test_requires_grad_is_asked_for_and_taken_back() -> None:
    x = Tensor(np.ones(2))
    assert x.requires_grad_() is x
    y = x * 2.0
    with pytest.raises(RuntimeError, match=r"only a leaf can stop requiring a gradient: detach\(\) gives one"):
        y.requires_grad_(False)
    assert y.requires_grad_().node is not None
    x.requires_grad_(False)
    assert not (x * 2.0).requires_grad


def test_detach_and_clone() -> None:
    x = Tensor(np.ones(2), requires_grad=True)
    y = x * 2.0
    assert y.detach().data is y.data
    assert not y.detach().requires_grad
    assert y.detach().is_leaf
    z = y.clone()
    assert z.data is not y.data
    z.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_a_parameter_requires_a_gradient_and_operations_on_it_give_tensors() -> None:
    p = Parameter([1.0, 2.0])
    assert p.requires_grad
    assert p.dtype == np.float32
    assert type(p * 2.0) is Tensor
    assert type(p.detach()) is Tensor
    (p * p).sum().backward()
    assert type(p.grad) is Tensor
    assert type(grad((p * p).sum(), p)[0]) is Tensor


def test_tensors_are_told_apart_by_identity_in_sets_and_dicts() -> None:
    x, y = Tensor([1.0]), Tensor([1.0])
    assert len({x, y, x}) == 2
    assert {x: 1}[x] == 1
    assert (x == y).tolist() == [True]


def test_a_copy_of_a_leaf_has_memory_of_its_own() -> None:
    x = Parameter(np.ones(2))
    (x * 2.0).sum().backward()
    for twin in (copy.copy(x), copy.deepcopy(x)):
        assert type(twin) is Parameter
        assert twin.requires_grad
    with no_grad():
        twin[0] = 7.0
    assert x.tolist() == [1.0, 1.0]
    assert twin.grad is not x.grad


@pytest.mark.parametrize("call", [lambda x: x.size(2), lambda x: x[5], lambda x: x[0, 0, 0]])
def test_places_that_there_are_not(call: Callable[[Tensor], Any]) -> None:
    with pytest.raises(IndexError):
        call(Tensor(np.ones((2, 2))))


def test_the_public_names_import_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, kb.autograd, kb.autograd.checking, kb.autograd.derivatives, kb.autograd.recompute as r;"
        "import numpy as np; from kb.autograd import Tensor;"
        "x = Tensor(np.ones(3), requires_grad=True); r.checkpoint(lambda x: x.exp(), x).sum().backward();"
        "kb.autograd.checking.check_grads(lambda x: x * x, np.ones(2)); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
