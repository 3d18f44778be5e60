"""Uses that once gave wrong numbers without a word: each gives torch's numbers now, or a clear error."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from kb.autograd import Parameter, Tensor, checkpoint, fitting, grad, nn, ones, optim, schedulers, tensor, where, zeros
from kb.autograd import functional as F
from kb.autograd.clipping import clip_grad_norm_

LIBRARIES = ["numpy", "torch"]


def made(values: Any, library: str, requires_grad: bool = False) -> Tensor:
    array = np.array(values, np.float64)
    return Tensor(torch.from_numpy(array) if library == "torch" else array, requires_grad)


@pytest.mark.parametrize("size", [4, 300])
def test_a_condition_must_be_boolean(size: int) -> None:
    numbers = tensor(np.arange(size) % 3)
    calls: list[Callable[[Any], Any]] = [
        lambda x: x.masked_fill(numbers, 0.0),
        lambda x: where(numbers, x, 0.0),
        lambda x: x.where(numbers, x),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="condition must be boolean"):
            call(Parameter(np.ones(size)))
    x = Parameter(np.ones(size))
    x.masked_fill(numbers > 0, 0.0).sum().backward()
    assert x.grad.tolist() == [float(number == 0) for number in numbers.tolist()]


def test_backward_from_a_view_of_what_was_written_since_is_refused() -> None:
    for start in (lambda v, x: v.backward(tensor(np.ones(2))), lambda v, x: grad(v, x, np.ones(2))):
        x = Parameter(np.ones(3))
        y = x * 2
        v = y[:2]
        y *= 5.0
        with pytest.raises(RuntimeError, match="written in place since"):
            start(v, x)
        y[:2].sum().backward()
        assert x.grad.tolist() == [10, 10, 0]


def test_a_view_of_numbers_does_not_hide_that_these_became_remembered_ones() -> None:
    base, w, u = tensor(np.zeros(3)), Parameter(np.ones(3)), Parameter(np.ones(2))
    v = base[0:2]
    base += 1.0  # plain numbers, which the view shares
    assert (v * u).tolist() == [1, 1]
    base += w * 2.0
    with pytest.raises(RuntimeError, match="written in place since"):
        v * u
    (base[0:2] * u).sum().backward()
    assert w.grad.tolist() == [2, 2, 0]
    assert base.detach()[0:2].tolist() == [3, 3]


INDICES: list[Any] = [
    (0, slice(None), [0, 1]),
    (slice(None), 1, [2, 0, 2]),
    ([1, 0], slice(None), -1),
    (..., 0, [1, 0]),
    (None, 1, slice(None), [0, 1]),
    ([0, 1], None, 1, slice(None)),
    (0, [1, 0], [2, 2]),
    (1, slice(None), np.array([True, False, True])),
    (np.array([[True, False], [False, True]]), 2),
]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("index", INDICES, ids=str)
def test_an_integer_beside_an_array_only_takes_its_axis_away(index: Any, library: str) -> None:
    values = np.arange(12.0).reshape(2, 2, 3)
    theirs = torch.tensor(values, requires_grad=True)
    plain = tuple(torch.from_numpy(one) if isinstance(one, np.ndarray) else one for one in index)
    wanted = theirs[plain]
    mine = made(values, library, requires_grad=True)
    own = tuple(made_mask(one, library) for one in index)
    found = mine[own]
    assert found.tolist() == wanted.tolist()
    weights = np.arange(found.numel(), dtype=float).reshape(found.shape)
    (found * made(weights, library)).sum().backward()
    (wanted * torch.from_numpy(weights)).sum().backward()
    assert mine.grad.tolist() == theirs.grad.tolist()
    # Assigned, as numbers and as what a gradient passes through.
    for remembered in (False, True):
        target, reference = made(values, library) * 1.0, torch.tensor(values) * 1.0
        leaf = made(weights, library, requires_grad=remembered)
        target[own] = leaf
        reference[plain] = torch.from_numpy(weights)
        assert target.detach().tolist() == reference.tolist()


def made_mask(place: Any, library: str) -> Any:
    return torch.from_numpy(place) if isinstance(place, np.ndarray) and library == "torch" else place


def test_what_a_hook_gives_or_keeps_is_nobody_elses() -> None:
    x, fixed = Parameter(np.ones(2)), tensor(np.ones(2))
    handle = x.register_hook(lambda g: fixed)
    found = []
    for _ in range(3):
        (x * 5).sum().backward()
        found.append(x.grad.tolist())
    assert found == [[1, 1], [2, 2], [3, 3]]
    assert fixed.tolist() == [1, 1]
    handle.remove()
    seen: list[Tensor] = []
    x.register_hook(seen.append)
    x.grad = None
    for _ in range(3):
        (x * 5).sum().backward()
    assert [one.tolist() for one in seen] == [[5, 5]] * 3


def test_a_hook_must_be_one_and_give_what_it_got() -> None:
    x = Parameter(np.ones(2))
    with pytest.raises(TypeError, match="hook must be callable"):
        x.register_hook(3)  # type: ignore[arg-type]
    for wrong in (lambda g: g.float(), lambda g: g.to("torch")):
        x = Parameter(np.ones(2))
        x.register_hook(wrong)
        with pytest.raises(TypeError, match=r"must give the dtype|must give an array of"):
            (x * 2).sum().backward()


def test_numbers_are_not_rounded_on_their_way() -> None:
    assert tensor([0.1], dtype=np.float64).item() == 0.1
    assert tensor([1e300], dtype=np.float64).tolist() == [1e300]
    assert tensor([1.5, 2.0]).dtype == np.float32
    assert tensor([2**62]).tolist() == [2**62]
    with pytest.raises(ValueError, match="at most"):
        tensor([2**63])


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("generator", [True, False])
def test_what_was_dropped_out_is_dropped_out_again(nested: bool, generator: bool) -> None:
    layer = nn.Linear(3, 3, dtype=np.float64, generator=np.random.default_rng(0))
    drop = nn.Dropout(0.5) if generator else lambda x: F.dropout(x, 0.5)
    x = Parameter(np.arange(12.0).reshape(4, 3))

    def part(x: Any) -> Any:
        return drop(layer(x))

    def twice(x: Any) -> Any:
        return drop((checkpoint(part, x) if nested else part(x)) * 2.0)

    out = checkpoint(twice, x)
    mask = (out.detach().numpy() != 0).astype(float)
    out.sum().backward()
    factor = 1 / 0.25 * 2  # two layers of 1 / (1 - 0.5), and the 2
    np.testing.assert_allclose(layer.bias.grad.numpy(), factor * mask.sum(axis=0))
    np.testing.assert_allclose(x.grad.numpy(), factor * mask @ layer.weight.detach().numpy())


@pytest.mark.parametrize("library", LIBRARIES)
def test_places_outside_of_an_axis_are_refused(library: str) -> None:
    x = made([1, 2, 3], library)
    for places, error in (([-1], IndexError), ([3], IndexError), ([True, False, True], TypeError)):
        index = np.array(places)
        index, values = made_mask(index, library), made([1.0] * len(index), library)
        for call in (
            lambda index=index: x.gather(0, index),
            lambda index=index: x.index_select(0, index),
            lambda index=index, values=values: x.scatter_add(0, index, values),
        ):
            with pytest.raises(error, match="places must be"):
                call()


def test_a_fraction_beside_integers_is_not_cut() -> None:
    whole, theirs = tensor([1, 5]), torch.tensor([1, 5])
    assert whole.clamp(max=2.5).tolist() == theirs.clamp(max=2.5).tolist() == [1.0, 2.5]
    assert whole.clamp(min=2).tolist() == [2, 5]
    assert whole.clamp(min=2).dtype == np.int64
    assert whole.maximum(2.75).tolist() == [2.75, 5.0]
    with pytest.raises(TypeError, match="min must be a number"):
        tensor([1.0]).clamp(min=Parameter(np.ones(1)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="min, max or both"):
        tensor([1.0]).clamp()


def test_a_list_of_tensors_is_not_assigned_without_its_gradients() -> None:
    x, w = zeros(2), Parameter(np.ones((), np.float32))
    with pytest.raises(TypeError, match="stack"):
        x[:] = [w, w]


SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "StepLR": lambda o: schedulers.StepLR(o, 2, 0.1),
    "ExponentialLR": lambda o: schedulers.ExponentialLR(o, 0.5),
    "MultiStepLR": lambda o: schedulers.MultiStepLR(o, [1, 3]),
    "LinearLR": lambda o: schedulers.LinearLR(o, 0.1, total_iters=8),
    "CosineAnnealingLR": lambda o: schedulers.CosineAnnealingLR(o, 9),
    "OneCycleLR": lambda o: schedulers.OneCycleLR(o, 1.0, 10),
    "ReduceLROnPlateau": lambda o: schedulers.ReduceLROnPlateau(o, patience=0),
    "SequentialLR": lambda o: schedulers.SequentialLR(
        o, [schedulers.LinearLR(o, 0.1, total_iters=3), schedulers.ExponentialLR(o, 0.9)], [3]
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("made_last", [True, False])
def test_a_resumed_schedule_has_the_rate_that_it_had(name: str, made_last: bool) -> None:
    def start() -> tuple[optim.SGD, Any]:
        stepper = optim.SGD([Parameter(np.ones(1))], lr=1.0, momentum=0.9)
        return stepper, SCHEDULES[name](stepper)

    def go(scheduler: Any) -> None:
        scheduler.step(1.0) if name == "ReduceLROnPlateau" else scheduler.step()

    stepper, scheduler = start()
    for _ in range(5):
        stepper.step()
        go(scheduler)
    other, resumed = start()
    other.load_state_dict(stepper.state_dict())
    if made_last:  # which writes the first rate once more
        resumed = SCHEDULES[name](other)
    resumed.load_state_dict(scheduler.state_dict())
    for _ in range(3):
        for key in ("lr", "momentum"):
            assert other.param_groups[0][key] == stepper.param_groups[0][key]
        go(scheduler)
        go(resumed)
    state = resumed.state_dict()
    for value in state.values():
        if isinstance(value, list):
            value.clear()
    assert resumed.state_dict() != state or not any(isinstance(value, list) for value in state.values())


def test_a_tape_of_torchs_is_left_alone() -> None:
    theirs = torch.nn.Parameter(torch.ones(2))
    for mine in (Parameter(theirs), tensor(theirs, requires_grad=True)):
        (mine * mine).sum().backward()
        assert not mine.grad.data.requires_grad
        optim.SGD([mine], lr=0.1).step()
        assert mine.tolist() == pytest.approx([0.8, 0.8])
        assert "Tensor" in repr(mine)
        mine.data[...] = 1.0


def test_a_mean_divides() -> None:
    assert all(ones(count, dtype=np.float64).mean().item() == 1 for count in range(1, 400))


def test_sixteen_bits_do_not_overflow_in_a_norm() -> None:
    for kind in (np.float16, torch.float16, torch.bfloat16):
        library = np if kind is np.float16 else torch
        p = Parameter(library.zeros(10, dtype=kind))
        p.grad = Tensor(library.ones(10, dtype=kind) * 300)
        assert float(clip_grad_norm_(p, 1000.0)) == pytest.approx(300 * math.sqrt(10), rel=0.01)
        assert float(p.grad.data[0]) == 300


def test_what_numpy_does_not_know_is_refused() -> None:
    for call in (lambda: tensor([1.0]).to(device="cuda"), lambda: nn.Linear(2, 2).to(device="nonsense")):
        with pytest.raises(ValueError, match="lie on 'cpu'"):
            call()
    assert tensor([1.0]).to(device="cpu").tolist() == [1]


def test_a_schedule_that_wants_a_metric_is_refused_before_a_step() -> None:
    model = nn.Linear(2, 2)
    before = model.weight.detach().numpy().copy()
    stepper = optim.SGD(model.parameters(), lr=0.1)
    batches = [(np.ones((3, 2), np.float32), np.zeros(3, np.int64))]
    with pytest.raises(ValueError, match="metric"):
        fitting.fit(model, batches, F.cross_entropy, stepper, scheduler=schedulers.ReduceLROnPlateau(stepper))
    np.testing.assert_array_equal(model.weight.detach().numpy(), before)


def test_tensors_are_taken_for_arrays_where_torch_takes_them() -> None:
    assert f"{tensor(2.5):.3f}" == "2.500"
    assert np.asarray(tensor([1.0, 2.0])).tolist() == [1, 2]
    with pytest.raises(RuntimeError, match="detach"):
        np.asarray(Parameter(np.ones(2)))
    assert nn.Parameter(zeros(3)).requires_grad
    assert tensor(np.ones((2, 3))).sum(np.int64(0)).shape == (3,)  # type: ignore[arg-type]
