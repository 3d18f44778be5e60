"""Initial values: torch's distributions, drawn from the generator that is given."""

import math

import numpy as np
import pytest
import torch
from torch import nn as theirs

from kb.autograd import Tensor
from kb.autograd import nn as ours

D = "float64"


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_initial_values_have_torchs_distribution_and_come_from_the_generator() -> None:
    one, same, other = (ours.Linear(400, 300, generator=generator(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one.weight.data, same.weight.data)
    assert not np.array_equal(one.weight.data, other.weight.data)
    assert not np.array_equal(ours.Linear(4, 4).weight.data, ours.Linear(4, 4).weight.data)
    reference = theirs.Linear(400, 300)
    for mine, yours in zip(one.parameters(), reference.parameters(), strict=True):
        values = mine.detach().numpy()
        assert np.abs(values).max() <= 1 / math.sqrt(400)
        assert values.std() == pytest.approx(yours.detach().numpy().std(), rel=0.1)
    conv, reference_conv = ours.Conv2d(8, 64, 5, groups=2, generator=generator()), theirs.Conv2d(8, 64, 5, groups=2)
    assert np.abs(conv.weight.data).max() <= 0.1
    assert conv.weight.data.std() == pytest.approx(reference_conv.weight.detach().numpy().std(), rel=0.1)
    table = ours.Embedding(300, 40, padding_idx=2, generator=generator())
    assert table.weight.data.std() == pytest.approx(1.0, rel=0.05)
    assert not table.weight.data[2].any()
    assert {parameter.dtype for parameter in (one.weight, conv.bias, table.weight)} == {np.dtype("float32")}


def test_init_has_torchs_variances() -> None:
    weight, reference = Tensor(np.zeros((300, 200), np.float32)), torch.zeros(300, 200)
    for name, options in (
        ("kaiming_uniform_", {"nonlinearity": "relu"}),
        ("kaiming_uniform_", {"a": 0.5, "mode": "fan_out"}),
        ("kaiming_uniform_", {"nonlinearity": "linear"}),
        ("kaiming_normal_", {"nonlinearity": "relu"}),
        ("kaiming_normal_", {"a": 0.5, "mode": "fan_out"}),
        ("xavier_uniform_", {"gain": 2.0}),
        ("xavier_normal_", {"gain": 2.0}),
        ("normal_", {"mean": 1.0, "std": 0.02}),
        ("uniform_", {"a": -1.0, "b": 3.0}),
    ):
        assert getattr(ours.init, name)(weight, **options, generator=generator()) is weight
        getattr(theirs.init, name)(reference, **options)
        assert weight.data.std() == pytest.approx(float(reference.std()), rel=0.02)
        assert weight.data.mean() == pytest.approx(float(reference.mean()), abs=0.03)
        if "normal" not in name:
            assert np.abs(weight.data).max() == pytest.approx(float(reference.abs().max()), rel=0.01)
    moved = ours.init.normal_(Tensor(torch.zeros(3, 4)), generator=generator())
    assert np.allclose(moved.numpy(), ours.init.normal_(Tensor(np.zeros((3, 4))), generator=generator()).numpy())
    assert ours.init.ones_(moved).numpy().all()
    assert not ours.init.zeros_(moved).numpy().any()
