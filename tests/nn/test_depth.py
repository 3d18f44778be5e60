"""Stacks at initialization: where the norm stands decides what comes back, as the theory of Xiong et al. says."""

from typing import Any

import pytest
import torch
from torch import nn

from kb.nn import PLACEMENTS, DepthReport, ResidualStack, StackConfig, depth_report


def report(depth: int, **options: Any) -> DepthReport:
    config = StackConfig(depth, **{"width": 32, "inner": 128, "initialization": "xavier", **options})
    return depth_report(config, seed=0, batch=2, tokens=8)


def test_lengths_and_determinism() -> None:
    first = report(3)
    assert [len(first.variance), len(first.stream_gradient)] == [4, 4]
    assert [len(first.weight_gradient), len(first.last_matrix_gradient)] == [3, 3]
    assert first == report(3)
    assert first != depth_report(
        StackConfig(3, width=32, inner=128, initialization="xavier"), seed=1, batch=2, tokens=8
    )


def test_last_gradient_is_constant_in_depth_for_post_and_falls_as_the_root_for_pre() -> None:
    post, pre = ([report(depth, placement=where) for depth in (4, 64)] for where in ("post", "pre"))
    assert post[0].last_matrix_gradient[-1] / post[1].last_matrix_gradient[-1] == pytest.approx(1, rel=0.35)
    assert pre[0].last_matrix_gradient[-1] / pre[1].last_matrix_gradient[-1] == pytest.approx(4, rel=0.35)
    assert post[1].variance[1:] == pytest.approx([1.0] * 64, rel=0.01)
    # Pre's stream grows by about as much in each block.
    growth = (pre[1].variance[64] - pre[1].variance[32]) / (pre[1].variance[32] - pre[1].variance[0])
    assert growth == pytest.approx(1, rel=0.35)


def test_sandwich_grows_by_two_in_each_block_whatever_the_weights() -> None:
    # Each of two branches adds a vector of variance 1.
    for std in (0.02, 0.2):
        variance = report(24, placement="sandwich", initialization="normal", std=std).variance
        assert variance[-1] == pytest.approx(1 + 2 * 24, rel=0.35)


def test_no_norm_explodes_or_does_nothing() -> None:
    assert report(12, placement="none", initialization="he").variance[-1] > 1e6
    still = report(12, placement="none", initialization="normal", std=0.001)
    assert still.variance[-1] == pytest.approx(still.variance[0], rel=1e-3)
    assert still.stream_gradient == pytest.approx([1.0] * 13, rel=1e-3)


def test_scaling_by_depth_keeps_the_stream() -> None:
    plain, scaled = (report(32, initialization=how, std=0.2).variance for how in ("normal", "depth_scaled"))
    # Behind a norm each branch adds the same variance whatever the depth; 64 of them add 64 times it, or once.
    assert (plain[-1] - plain[0]) / (scaled[-1] - scaled[0]) == pytest.approx(2 * 32, rel=0.35)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("qk_norm", [False, True])
def test_the_stream_is_what_the_formula_says(placement: str, qk_norm: bool) -> None:
    stack = ResidualStack(
        StackConfig(2, width=8, heads=2, inner=16, placement=placement, qk_norm=qk_norm, std=0.5),
        torch.Generator().manual_seed(0),
    ).double()
    x = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    branch, norm = stack.blocks[0][0], nn.LayerNorm(8, dtype=torch.float64)  # type: ignore[index]
    wanted = {
        "none": lambda f: x + f(x),
        "post": lambda f: norm(x + f(x)),
        "pre": lambda f: x + f(norm(x)),
        "sandwich": lambda f: x + norm(f(norm(x))),
    }[placement](branch.sublayer)
    torch.testing.assert_close(branch(x), wanted, rtol=1e-9, atol=1e-9)
    stream = stack(x)
    assert len(stream) == 2 + 2
    last = norm(stream[-2]) if placement in ("pre", "sandwich") else stream[-2]
    torch.testing.assert_close(stream[-1], last, rtol=1e-9, atol=1e-9)


def test_attention_is_causal_and_qk_norm_bounds_its_scores() -> None:
    config = StackConfig(1, width=8, heads=2, inner=16, qk_norm=True, std=1.0)
    stack = ResidualStack(config, torch.Generator().manual_seed(0))
    x = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(1))
    changed = x.clone()
    changed[:, 4] += 1
    torch.testing.assert_close(stack(x)[-1][:, :4], stack(changed)[-1][:, :4])
    attention = stack.blocks[0][0].sublayer  # type: ignore[index]
    q, k = (
        norm(layer(1000 * x).unflatten(-1, (2, 4)))
        for norm, layer in ((attention.q_norm, attention.query), (attention.k_norm, attention.key))
    )
    scores = torch.einsum("btnh,bsnh->bnts", q, k) / 2
    assert float(scores.detach().abs().max()) <= 2 + 1e-4  # sqrt(H), whatever the input


def test_the_same_seed_gives_every_placement_the_same_weights() -> None:
    stacks = [
        ResidualStack(StackConfig(2, width=8, heads=2, inner=16, placement=p), torch.Generator().manual_seed(0))
        for p in PLACEMENTS
    ]
    for stack in stacks[1:]:
        for name, weight in stacks[0].state_dict().items():
            assert torch.equal(weight, stack.state_dict()[name])


def test_deviations_are_the_sources() -> None:
    for how, wanted in (("xavier", (2 / 160) ** 0.5), ("he", (2 / 128) ** 0.5), ("depth_scaled", 0.02 / 4)):
        stack = ResidualStack(StackConfig(8, width=32, inner=128, initialization=how), torch.Generator().manual_seed(0))
        weights = torch.cat([block[1].sublayer.out.weight.flatten() for block in stack.blocks])  # type: ignore[index]
        assert float(weights.detach().std()) == pytest.approx(wanted, rel=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth"),
        ({"heads": 3}, "heads must divide"),
        ({"placement": "middle"}, "none, post, pre, sandwich"),
        ({"initialization": "zeros"}, "initialization"),
        ({"std": -0.1}, "std"),
        ({"std": float("nan")}, "std"),
    ],
)
def test_refuses_bad_stacks(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StackConfig(**{"depth": 2, **options})


@pytest.mark.parametrize("options", [{"seed": -1}, {"seed": 0, "batch": 0}, {"seed": 0, "tokens": 0}])
def test_refuses_bad_reports(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=list(options)[-1]):
        depth_report(StackConfig(1), **options)
