"""Statistics of inputs: equal to those of the stacked inputs; the error of an output needs no more."""

import pytest
import torch
from torch import nn

from kb.compression import InputStatistics, collect_inputs, linear_layers, output_error, swapped_weights


def model() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    made.lm_head = nn.Linear(3, 2)
    return made


def test_sums_equal_those_of_all_inputs() -> None:
    net, x = model(), torch.randn(2, 5, 4)
    layers = linear_layers(net)
    assert list(layers) == ["0", "2"]
    found = collect_inputs(lambda: [net[2](net[1](net[0](part))) for part in x], layers)
    hidden = torch.tanh(net[0](x)).detach().double().reshape(-1, 6)
    assert found["0"].count == found["2"].count == 10
    torch.testing.assert_close(found["2"].gram, hidden.T @ hidden)
    torch.testing.assert_close(found["2"].norm, hidden.norm(dim=0))
    torch.testing.assert_close(found["2"].mean_abs, hidden.abs().mean(0))
    torch.testing.assert_close(found["2"].max_abs, hidden.abs().amax(0))
    assert not net[0]._forward_pre_hooks


def test_output_error_equals_its_definition() -> None:
    x, weight, other = torch.randn(9, 4).double(), torch.randn(3, 4).double(), torch.randn(3, 4).double()
    expected = (x @ (weight - other).T).square().sum() / (x @ weight.T).square().sum()
    assert output_error(weight, other, x.T @ x) == pytest.approx(float(expected))
    assert output_error(weight, weight, x.T @ x) == 0


def test_weights_are_swapped_and_put_back() -> None:
    net = model()
    layers, own = linear_layers(net), net[0].weight.detach().clone()
    with swapped_weights(layers, {"0": torch.zeros(6, 4)}):
        assert not net[0].weight.any()
    assert torch.equal(net[0].weight, own)
    with pytest.raises(ZeroDivisionError), swapped_weights(layers, {"0": torch.zeros(6, 4)}):
        1 / 0  # noqa: B018
    assert torch.equal(net[0].weight, own)
    with pytest.raises(ValueError, match="none of the layers"), swapped_weights(layers, {"7": own}):
        pass
    with pytest.raises(ValueError, match=r"must be \(6, 4\)"), swapped_weights(layers, {"0": own[:2]}):
        pass


def test_bad_input_is_refused() -> None:
    net = model()
    with pytest.raises(ValueError, match="no input to layer 2"):
        collect_inputs(lambda: net[0](torch.ones(1, 4)), linear_layers(net))
    with pytest.raises(ValueError, match=r"x must be \[..., 4\]"):
        InputStatistics(4).add(torch.ones(3))
    with pytest.raises(ValueError, match="weight, approximate and gram"):
        output_error(torch.ones(2, 3), torch.ones(2, 3), torch.ones(2, 2))
