"""Scales by width: the paper's table by hand, sizes of starts, rates that reach the optimizer, the coordinate check."""

import pytest
import torch
from torch import Tensor, nn

from kb.training import TrainConfig, constant, initialize_scaled, mup_scales, standard_scales, train
from kb.training.width_transfer import TensorScale, coordinate_check

CONFIG = TrainConfig(4, learning_rate=0.02, schedule=constant, weight_decay=0.0, clip=None)


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, width)
        self.one, self.two = nn.Linear(width, 2 * width, bias=False), nn.Linear(2 * width, width)
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, 11, bias=False)
        self.fixed = nn.Linear(11, 11)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        x = x + self.two(torch.relu(self.one(self.norm(x))))
        return self.fixed(self.head(self.norm(x)))


def loss(model: nn.Module, tokens: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(tokens), (3 * tokens + 1) % 11)


def batches() -> list[Tensor]:
    return [torch.randint(11, (32,), generator=torch.Generator().manual_seed(seed)) for seed in range(4)]


def test_the_table_by_hand() -> None:
    model, base = Net(32), Net(8)
    standard, mup = standard_scales(model, base), mup_scales(model, base)
    assert standard["two.weight"] == TensorScale("hidden", 1 / 8, 1.0)
    assert mup["two.weight"] == TensorScale("hidden", 1 / 8, 1 / 4)
    assert mup["one.weight"] == TensorScale("hidden", 32**-0.5, 1 / 4)
    assert standard["head.weight"] == TensorScale("output", 32**-0.5, 1.0)
    assert mup["head.weight"] == TensorScale("output", 32**-0.5 / 2, 1 / 4)
    assert mup["embed.weight"] == TensorScale("input", 1.0, 1.0)
    assert mup["norm.weight"] == TensorScale("input", 0.0, 1.0)
    assert (mup["fixed.weight"].role, mup["fixed.weight"].rate) == ("fixed", 1.0)
    assert mup_scales(base, Net(8)) == {**standard_scales(base, Net(8))}


def test_a_start_has_its_sizes_and_comes_again() -> None:
    model, base = Net(128), Net(16)
    scales = mup_scales(model, base)
    initialize_scaled(model, scales, seed=3)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            assert float(parameter.detach().std()) == pytest.approx(scales[name].std, rel=0.1)
    assert float(model.norm.weight.detach().min()) == 1.0
    assert not model.two.bias.any()
    again = Net(128)
    initialize_scaled(again, scales, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_rates_reach_the_weights() -> None:
    model = Net(8)
    initialize_scaled(model, standard_scales(model, Net(8)), seed=0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    rates = dict.fromkeys(before, 0.0) | {"head.weight": 0.5, "two.weight": 2.0}
    steps = train(model, batches()[:1], loss, TrainConfig(1, learning_rate=0.01, clip=None), rates=rates)
    moved = {name: float((p.detach() - before[name]).abs().max()) for name, p in model.named_parameters()}
    assert steps[0].rate == 0.01
    assert moved["head.weight"] == pytest.approx(0.005, rel=0.1)
    assert moved["two.weight"] == pytest.approx(0.02, rel=0.1)
    assert max(size for name, size in moved.items() if rates[name] == 0) == 0


def test_rates_of_one_are_none() -> None:
    first, second = Net(8), Net(8)
    second.load_state_dict(first.state_dict())
    train(first, batches(), loss, CONFIG)
    train(second, batches(), loss, CONFIG, rates=dict.fromkeys(dict(second.named_parameters()), 1.0))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_coordinate_check_grows_with_width_under_sp_and_not_under_mup() -> None:
    moved: dict[str, list[float]] = {}
    for scheme in (standard_scales, mup_scales):
        for width in (32, 512):
            model = Net(width)
            scales = scheme(model, Net(32))
            initialize_scaled(model, scales, seed=0)
            found = coordinate_check(model, scales, batches(), loss, CONFIG)
            moved.setdefault(scheme.__name__, []).append(found["head"])
    assert moved["standard_scales"][1] > 2.5 * moved["standard_scales"][0]
    assert 0.6 < moved["mup_scales"][1] / moved["mup_scales"][0] < 1.6


def test_bad_input_is_refused() -> None:
    model = Net(8)
    scales = standard_scales(model, Net(8))
    with pytest.raises(ValueError, match=r"same parameters.*bias"):
        standard_scales(nn.Linear(3, 3), nn.Linear(3, 3, bias=False))
    with pytest.raises(ValueError, match="two"):
        mup_scales(nn.Conv2d(2, 2, 3), nn.Conv2d(1, 1, 3))
    with pytest.raises(ValueError, match="at least one batch"):
        coordinate_check(model, scales, [], loss, CONFIG)
    tied, narrow = Net(8), Net(4)
    tied.head.weight, narrow.head.weight = tied.embed.weight, narrow.embed.weight
    with pytest.raises(ValueError, match=r"share no parameter.*head"):
        mup_scales(tied, narrow)
    with pytest.raises(ValueError, match="seed"):
        initialize_scaled(model, scales, seed=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scales"):
        initialize_scaled(nn.Linear(2, 2), scales, seed=1)
    with pytest.raises(ValueError, match="rates"):
        train(model, batches(), loss, CONFIG, rates={"head.weight": 1.0})
    with pytest.raises(ValueError, match=r"rates of embed"):
        train(model, batches(), loss, CONFIG, rates=dict.fromkeys(scales, -1.0))
