"""Modules: the tree has torch's names; modes, moves between libraries, loading, initial values, refusals."""

import copy
import math
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn as theirs

from kb.autograd import Parameter, Tensor, no_grad
from kb.autograd import nn as ours

D = "float64"


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def numbers(*shape: int) -> np.ndarray:
    return generator(5).normal(size=shape)


def small(nn: Any, dtype: Any) -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, dtype=dtype),
        nn.BatchNorm2d(2, dtype=dtype),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Sequential(nn.Linear(8, 4, dtype=dtype), nn.Tanh(), nn.Linear(4, 3, dtype=dtype)),
    )


def test_a_tree_of_modules_has_torchs_names_order_and_picture() -> None:
    model, reference = small(ours, D), small(theirs, torch.float64)
    assert repr(model) == repr(reference)
    for method in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        assert [name for name, _ in getattr(model, method)()] == [name for name, _ in getattr(reference, method)()]
    assert [name for name, _ in model.named_parameters("all")] == [n for n, _ in reference.named_parameters("all")]
    assert list(model.state_dict()) == list(reference.state_dict())
    assert list(model.state_dict(prefix="m.")) == list(reference.state_dict(prefix="m."))
    assert [type(one).__name__ for one in model.modules()] == [type(one).__name__ for one in reference.modules()]
    assert list(model.parameters(recurse=False)) == []
    visited: list[str] = []
    theirs_visited: list[str] = []
    assert model.apply(lambda module: visited.append(type(module).__name__)) is model
    reference.apply(lambda module: theirs_visited.append(type(module).__name__))
    assert visited == theirs_visited


class Tied(ours.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = ours.Embedding(5, 3, dtype=D, generator=generator())
        self.head = ours.Linear(3, 5, bias=False, dtype=D)
        self.head.weight = self.embedding.weight
        self.again = self.head
        self.register_buffer("steps", np.zeros(()))
        self.register_buffer("scratch", np.ones(2), persistent=False)

    def forward(self, ids: Any) -> Any:
        return self.again(self.embedding(ids))


def test_shared_parameters_and_modules_count_once_and_get_both_gradients() -> None:
    model = Tied()
    assert [name for name, _ in model.named_parameters()] == ["embedding.weight"]
    assert [name for name, _ in model.named_modules()] == ["", "embedding", "head"]
    assert [name for name, _ in model.named_children()] == ["embedding", "head"]
    assert [n for n, _ in model.named_parameters(remove_duplicate=False)] == [
        "embedding.weight",
        "head.weight",
        "again.weight",
    ]
    assert list(model.state_dict()) == ["steps", "embedding.weight", "head.weight", "again.weight"]
    assert [name for name, _ in model.named_buffers()] == ["steps", "scratch"]
    model(Tensor(np.array([1, 2]))).sum().backward()
    weight = torch.tensor(model.embedding.weight.detach().numpy(), requires_grad=True)
    (weight[[1, 2]] @ weight.T).sum().backward()
    np.testing.assert_allclose(model.embedding.weight.grad.numpy(), weight.grad.numpy(), 1e-12)


def test_a_tied_module_moves_once_and_stays_tied() -> None:
    model = Tied().to(library="torch")
    assert model.head.weight is model.embedding.weight
    assert isinstance(model.embedding.weight.data, torch.Tensor)


def test_modes_gradients_and_requirements() -> None:
    model = small(ours, D)
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    assert model.train() is model
    assert all(module.training for module in model.modules())
    model(Tensor(numbers(2, 1, 6, 6))).sum().backward()
    model.zero_grad(set_to_none=False)
    assert all((one.grad.numpy() == 0).all() for one in model.parameters())
    model.zero_grad()
    assert all(one.grad is None for one in model.parameters())
    assert model.requires_grad_(False) is model
    assert not model(Tensor(numbers(2, 1, 6, 6))).requires_grad


def test_a_module_moves_between_libraries_in_place_and_gives_the_same() -> None:
    model = small(ours, D)
    x = numbers(3, 1, 6, 6)
    model(Tensor(x)).sum().backward()
    parameters, before = list(model.parameters()), model.eval()(Tensor(x)).detach().numpy()
    gradients = [one.grad.numpy().copy() for one in parameters]
    assert model.to(library="torch") is model
    assert all(one is other for one, other in zip(parameters, model.parameters(), strict=True))
    np.testing.assert_allclose(model(Tensor(torch.from_numpy(x))).detach().numpy(), before, 1e-12)
    for one, gradient in zip(parameters, gradients, strict=True):
        assert isinstance(one.data, torch.Tensor)
        np.testing.assert_array_equal(one.grad.numpy(), gradient)
    model.to(dtype=torch.float32)
    assert model[1].num_batches_tracked.dtype == torch.int64
    assert {one.dtype for one in parameters} == {one.grad.dtype for one in parameters} == {torch.float32}
    assert {one.dtype for one in model.double().to("numpy").parameters()} == {np.dtype("float64")}
    assert {one.dtype for one in model.float().parameters()} == {np.dtype("float32")}
    assert ours.ReLU().float().to("torch").extra_repr() == ""


def test_a_move_that_cannot_be_moves_nothing() -> None:
    model = small(ours, D)
    arrays = [one.data for one in model.parameters()]
    for options in (
        {"library": "jax"},
        {"dtype": np.int64},
        {"dtype": torch.float32},
        {"library": "torch", "dtype": np.float32},
    ):
        with pytest.raises(ValueError, match="must be"):
            model.to(**options)
    assert all(one.data is array for one, array in zip(model.parameters(), arrays, strict=True))


def test_backward_after_a_move_refuses() -> None:
    model = ours.Linear(2, 2)
    out = model(Tensor(np.ones((1, 2), np.float32), requires_grad=True)).sum()
    model.to(library="torch")
    with pytest.raises(RuntimeError, match="in place"):
        out.backward()


def test_containers() -> None:
    layers = [ours.Linear(2, 2), ours.ReLU(), ours.Linear(2, 1)]
    model = ours.Sequential(OrderedDict(first=layers[0], act=layers[1]))
    model.append(layers[2])
    assert [name for name, _ in model.named_children()] == ["first", "act", "2"]
    assert list(model) == layers
    assert len(model) == 3
    assert model[-1] is layers[2]
    assert [name for name, _ in model[1:].named_children()] == ["act", "2"]
    assert model[1:][0] is layers[1]
    model[1] = ours.Tanh()
    assert isinstance(model.act, ours.Tanh)
    assert list(model) == [layers[0], model.act, layers[2]]
    many = ours.ModuleList(ours.Linear(2, 2) for _ in range(3)).extend([ours.ReLU()])
    assert [name for name, _ in many.named_parameters()][:2] == ["0.weight", "0.bias"]
    assert [name for name, _ in many[2:].named_children()] == ["0", "1"]
    with pytest.raises(NotImplementedError, match="ModuleList has no forward"):
        many(1)


def test_a_module_is_copied_with_its_parameters() -> None:
    model = Tied()
    other = copy.deepcopy(model)
    assert other.head.weight is other.embedding.weight
    other.head.weight.data[...] = 0.0
    assert model.head.weight.data.any()


def test_dropout_as_a_module() -> None:
    x = Tensor(np.ones(1000))
    one, same = ours.Dropout(0.3, generator=generator(3)), ours.Dropout(0.3, generator=generator(3))
    assert np.array_equal(one(x).numpy(), same(x).numpy())
    assert 0.2 < (one(x).numpy() == 0).mean() < 0.4
    assert one.eval()(x) is x
    assert 0.3 < (ours.Dropout()(x).numpy() == 0).mean() < 0.7


def test_what_does_not_fit_is_named_and_nothing_is_loaded() -> None:
    model = ours.Sequential(ours.Linear(2, 3), ours.Linear(3, 1))
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    state: dict[str, Any] = {name: np.zeros(value.shape) for name, value in model.state_dict().items()}
    state["extra.weight"] = state.pop("1.bias")
    state["0.weight"] = np.zeros((3, 3))
    with pytest.raises(ValueError, match=r"missing: 1\.bias; unexpected: extra\.weight; 0\.weight has shape \(3, 3\)"):
        model.load_state_dict(state)
    with pytest.raises(ValueError, match=r"0\.weight has shape"):
        model.load_state_dict(state, strict=False)
    with pytest.raises(TypeError, match="mapping"):
        model.load_state_dict([1])
    with pytest.raises(TypeError, match=r"1\.weight must be a tensor"):
        model.load_state_dict({**state, "1.weight": 3.0})
    assert all(np.array_equal(value.numpy(), before[name]) for name, value in model.state_dict().items())
    del state["0.weight"]
    loaded = model.load_state_dict(state, strict=False)
    assert loaded.missing_keys == ["0.weight", "1.bias"]
    assert loaded.unexpected_keys == ["extra.weight"]
    assert not model[0].bias.data.any()


def test_a_state_is_converted_to_the_modules_dtype_and_library() -> None:
    reference = theirs.Linear(2, 3).to(torch.bfloat16)
    layer = ours.Linear(2, 3, dtype=D)
    memory = layer.weight.data
    layer.load_state_dict(reference.state_dict())
    assert layer.weight.data is memory
    np.testing.assert_array_equal(memory, reference.weight.detach().double().numpy())
    other = ours.Linear(2, 3).to(library="torch")
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(other.weight.detach().numpy(), memory)
    with no_grad():
        assert not layer.state_dict()["weight"].requires_grad


class Own(ours.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = Parameter(np.ones(2))
        self.register_parameter("bias", None)
        self.register_buffer("mean", np.zeros(2))
        self.register_buffer("none", None)
        self.add_module("part", ours.ReLU())


def test_what_is_registered_by_name() -> None:
    module = Own()
    assert list(module.state_dict()) == ["weight", "mean"]
    module.mean = Tensor(np.ones(2))
    module.weight = Parameter(np.zeros(2))
    module.none = Tensor(np.ones(1))
    assert list(module.state_dict()) == ["weight", "mean", "none"]
    module.weight = None
    assert list(module.parameters()) == []


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: setattr(Own(), "weight", Tensor(np.ones(2))), TypeError, "weight is a parameter"),
        (lambda: setattr(Own(), "mean", np.ones(2)), TypeError, "mean is a buffer"),
        (lambda: Own().register_buffer("mean.x", np.ones(2)), ValueError, "without dots"),
        (lambda: Own().register_buffer("weight", np.ones(2)), ValueError, "called 'weight' already"),
        (lambda: Own().register_buffer("new", [1.0]), TypeError, "tensor must be"),
        (lambda: Own().register_parameter("new", np.ones(2)), TypeError, "param must be a Parameter"),
        (lambda: Own().add_module("train", ours.ReLU()), ValueError, "called 'train' already"),
        (lambda: Own().add_module("new", 3), TypeError, "module must be a Module"),
        (lambda: Own().train("yes"), ValueError, "mode"),
        (lambda: Own()(1), NotImplementedError, "Own has no forward"),
        (lambda: ours.Sequential(ours.ReLU, ours.ReLU()), TypeError, "a Module is wanted"),
        (lambda: ours.Sequential()[0], IndexError, "out of range"),
        (lambda: ours.Sequential()["0"], TypeError, "index"),
        (lambda: ours.Linear(0, 2), ValueError, "in_features"),
        (lambda: ours.Linear(2, 2.0), ValueError, "out_features"),
        (lambda: ours.Linear(2, 2, dtype=np.int64), TypeError, "dtype"),
        (lambda: ours.Linear(2, 2, dtype=torch.float32), TypeError, "dtype"),
        (lambda: ours.Linear(2, 2, generator=3), TypeError, "generator"),
        (lambda: ours.Linear(2, 2)(Tensor(np.array([[1, 2]]))), TypeError, "input must be floating"),
        (lambda: ours.Conv2d(3, 4, 3, groups=2), ValueError, "groups"),
        (lambda: ours.Conv2d(3, 4, 3, padding="most"), ValueError, "padding"),
        (lambda: ours.Conv2d(3, 4, (3, 3, 3)), ValueError, "kernel_size"),
        (lambda: ours.MaxPool2d(0), ValueError, "kernel_size"),
        (lambda: ours.Embedding(3, 4, padding_idx=3), ValueError, "padding_idx"),
        (lambda: ours.LayerNorm(()), ValueError, "normalized_shape"),
        (lambda: ours.RMSNorm(3, eps="x"), ValueError, "eps"),
        (lambda: ours.BatchNorm2d(3)(Tensor(numbers(2, 3))), ValueError, "wants an input of 4 axes"),
        (lambda: ours.BatchNorm1d(3, dtype=D)(Tensor(numbers(1, 3))), ValueError, "more than one number"),
        (lambda: ours.BatchNorm1d(3, momentum="x"), ValueError, "momentum"),
        (lambda: ours.Dropout(-0.1), ValueError, "p must be"),
        (lambda: ours.GELU("fast"), ValueError, "approximate"),
        (lambda: ours.Flatten(2, 1)(Tensor(numbers(2, 3, 4))), ValueError, "comes after"),
        (lambda: ours.Flatten(1.0), ValueError, "start_dim"),
        (lambda: ours.MSELoss(reduction="batchmean"), ValueError, "reduction"),
        (lambda: ours.init.kaiming_uniform_(Tensor(np.ones(3))), ValueError, "shape"),
        (lambda: ours.init.kaiming_uniform_(Tensor(numbers(2, 2)), mode="both"), ValueError, "mode"),
        (lambda: ours.init.kaiming_uniform_(Tensor(numbers(2, 2)), nonlinearity="x"), ValueError, "nonlinearity"),
        (lambda: ours.init.kaiming_normal_(Tensor(np.ones(3))), ValueError, "shape"),
        (lambda: ours.init.xavier_normal_(Tensor(numbers(2, 2)), gain=math.nan), ValueError, "gain"),
        (lambda: ours.init.normal_(Tensor(np.ones(3)), std=-1), ValueError, "std"),
    ],
)
def test_bad_input(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
