"""Each optimizer equals torch's over 50 steps, on the arrays of every library; options and defaults are torch's."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.autograd import optim as ours
from tests.autograd.optimizing import KINDS, SHAPES, give, normal, of, read

pytestmark = pytest.mark.filterwarnings("ignore:You are comparing a array_api_strict dtype")

ONLY_FOR_SPEED = {"foreach", "fused", "capturable", "differentiable"}


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
@settings(max_examples=25)
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
@settings(max_examples=25)
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


@pytest.mark.parametrize("name", [*OPTIONS, "Adafactor", "Muon"])
def test_options_and_defaults_are_those_of_torch(name: str) -> None:
    mine = inspect.signature(getattr(ours, name)).parameters
    theirs = inspect.signature(getattr(torch.optim, name)).parameters
    assert set(theirs) - set(mine) <= {*ONLY_FOR_SPEED, "decoupled_weight_decay"}
    assert {key: mine[key].default for key in mine} == {key: theirs[key].default for key in mine}
    positional = [key for key in mine if mine[key].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert positional == [key for key in theirs if key in positional]


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
