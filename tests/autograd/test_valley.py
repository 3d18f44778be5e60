"""The valley against its formula and torch's optimizers, and the moving picture against its paths."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.autograd import Parameter, check_grads, optim, tensor
from kb.autograd.valley import Moving, Valley, descend


@settings(max_examples=30)
@given(st.floats(0.1, 100), st.floats(0.1, 100), st.floats(-360, 360))
def test_the_height_is_the_formula(along: float, across: float, degrees: float) -> None:
    valley = Valley(along, across, degrees)
    point = np.array([0.7, -1.3])
    turn = np.exp(-1j * np.deg2rad(degrees)) * complex(*point)  # the point as seen from the valley
    wanted = (along * turn.real**2 + across * turn.imag**2) / 2
    np.testing.assert_allclose(valley(tensor(point)).item(), wanted, rtol=1e-12)
    np.testing.assert_allclose(valley.height(np.stack([point, -point, 0 * point])), [wanted, wanted, 0], rtol=1e-12)


def test_its_gradient_is_the_derivative_and_its_curvatures_are_those_asked_for() -> None:
    valley = Valley(2.0, 30.0, 25.0)
    check_grads(valley, [tensor(np.array([0.4, -0.9]), requires_grad=True)])
    slopes = []
    for axis in valley.axes:
        point = Parameter(axis.copy())
        valley(point).backward()
        slopes.append(point.grad.numpy() @ axis)
    np.testing.assert_allclose(slopes, [2, 30])


@pytest.mark.parametrize("degrees", [0.0, 30.0])
def test_the_path_of_an_optimizer_is_that_of_torch(degrees: float) -> None:
    path = descend(Valley(1, 25, degrees), lambda params: optim.Adam(params, lr=0.3), start=(-3.0, 1.0), steps=40)
    turn = torch.from_numpy(Valley(1, 25, degrees).axes)
    point = (torch.tensor([-3.0, 1.0], dtype=torch.float64) @ turn).requires_grad_()
    adam = torch.optim.Adam([point], lr=0.3)
    for wanted in path:
        np.testing.assert_allclose(point.detach().numpy(), wanted, atol=1e-10)
        adam.zero_grad()
        (0.5 * torch.tensor([1.0, 25.0]) * (turn @ point) ** 2).sum().backward()
        adam.step()
    assert path.shape == (41, 2)


def test_plain_descent_shrinks_each_direction_by_its_own_factor_in_any_valley() -> None:
    for degrees in (0.0, 77.0):
        valley = Valley(1, 25, degrees)
        path = descend(valley, lambda params: optim.SGD(params, lr=0.05), start=(2.0, 1.0), steps=10)
        np.testing.assert_allclose(path[-1] @ valley.axes.T, [2 * 0.95**10, (-0.25) ** 10], atol=1e-12)


def test_whoever_leaves_the_range_of_floats_stays_outside() -> None:
    valley = Valley()
    path = descend(valley, lambda params: optim.SGD(params, lr=1e6), steps=100)
    heights = valley.height(path)
    assert np.isinf(path[-1]).all()
    assert heights[-1] == np.inf
    assert not np.isnan(heights).any()
    assert "inf" in repr(Moving(valley, {"SGD": path}))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Valley(along=0.0), ValueError, "along"),
        (lambda: Valley(across=float("inf")), ValueError, "across"),
        (lambda: Valley(degrees=float("nan")), ValueError, "degrees"),
        (lambda: descend(Valley, lambda p: optim.SGD(p, lr=1.0)), TypeError, "Valley"),
        (lambda: descend(Valley(), optim.SGD([Parameter(np.ones(2))], lr=1.0)), TypeError, "callable"),
        (lambda: descend(Valley(), lambda p: optim.SGD(p, lr=1.0), steps=0), ValueError, "steps"),
        (lambda: descend(Valley(), lambda p: optim.SGD(p, lr=1.0), start=(1.0, 2.0, 3.0)), ValueError, "start"),
        (lambda: descend(Valley(), lambda p: optim.SGD(p, lr=1.0), start=(1.0, np.inf)), ValueError, "start"),
        (lambda: Moving(Valley(), {}), ValueError, "at least one"),
        (lambda: Moving(Valley(), {"a": np.ones((3, 2)), "b": np.ones((4, 2))}), ValueError, "'b'"),
        (lambda: Moving(Valley(), {"a": np.ones((3, 2)), "b": np.zeros((3, 2))}), ValueError, "'b'"),
        (lambda: Moving(Valley(), {"a": np.zeros((3, 2))}), ValueError, "minimum"),
    ],
)
def test_bad_input_is_named(call, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_the_picture_has_each_point_of_each_path_and_moves_without_a_script() -> None:
    valley = Valley()
    makers = {"a & b": lambda p: optim.SGD(p, lr=0.05), "Adam": lambda p: optim.Adam(p, lr=0.3)}
    paths = {name: descend(valley, make, steps=20) for name, make in makers.items()}
    moving = Moving(valley, paths)
    page = moving._repr_html_()
    assert "<script" not in page
    assert "a &amp; b" in page
    scale = 100 / moving.half[0]
    frames = re.findall(r"@keyframes [\w-]+ \{ (.*?\}) \}", page)
    assert len(frames) == 2
    for frame, path in zip(frames, paths.values(), strict=True):
        found = np.array(re.findall(r"translate\((-?[\d.]+)px,(-?[\d.]+)px\)", frame), float)
        np.testing.assert_allclose(found, path * scale * (1, -1), atol=0.051)
        assert frame.startswith("0.00%")
        assert "100.00%" in frame
    names = re.findall(r"@keyframes ([\w-]+)", page)
    assert all(page.count(f"animation-name:{name};") == 1 for name in names)
    other = Moving(valley, {name: 0.5 * path for name, path in paths.items()})._repr_html_()
    assert not set(names) & set(re.findall(r"@keyframes ([\w-]+)", other)), "two of them on one page would mix"


def test_the_text_has_the_heights() -> None:
    valley = Valley()
    path = descend(valley, lambda params: optim.SGD(params, lr=0.05), steps=5)
    head, row = repr(Moving(valley, {"SGD": path})).splitlines()
    assert head.split() == ["step", "0", "1", "2", "5"]
    np.testing.assert_allclose([float(x) for x in row.split()[1:]], valley.height(path[[0, 1, 2, 5]]), rtol=0.05)
