"""Balance: losses against the papers' formulas and transformers, measures at their ends, and a bias that moves load."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from kb.moe import (
    RouterConfig,
    Routing,
    choice_entropy,
    drop_over_capacity,
    expert_load,
    load_entropy,
    max_violation,
    route,
    sequence_loss,
    switch_loss,
    updated_bias,
    z_loss,
)


def even_routing(experts: int, top_k: int) -> Routing:
    """Each expert is chosen equally often, and all score the same."""
    experts_TK = (torch.arange(experts)[:, None] + torch.arange(top_k)) % experts
    scores_TE = torch.full((experts, experts), 1 / experts)
    return Routing(experts_TK, torch.ones(experts, top_k), scores_TE.log(), scores_TE)


@settings(max_examples=30)
@given(experts=st.integers(1, 9), data=st.data(), tokens=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_the_switch_loss_equals_transformers_in_value_and_gradient(
    experts: int, data: st.DataObject, tokens: int, seed: int
) -> None:
    torch.manual_seed(seed)
    top_k = data.draw(st.integers(1, experts))
    logits_TE = torch.randn(tokens, experts, requires_grad=True)
    ours = switch_loss(route(logits_TE, RouterConfig(experts, top_k)))
    # Theirs counts K pairs a token, where ours takes shares of pairs.
    theirs = load_balancing_loss_func((logits_TE,), experts, top_k) / top_k
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad(loss, logits_TE)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


@settings(max_examples=30)
@given(experts=st.integers(1, 8), data=st.data())
def test_at_balance_the_loss_is_one_and_nothing_is_violated(experts: int, data: st.DataObject) -> None:
    routing = even_routing(experts, data.draw(st.integers(1, experts)))
    assert float(switch_loss(routing)) == pytest.approx(1, rel=1e-6)
    assert float(max_violation(expert_load(routing))) == 0
    assert float(load_entropy(expert_load(routing))) == pytest.approx(math.log(experts), abs=1e-6)
    assert float(choice_entropy(routing)) == pytest.approx(math.log(experts), abs=1e-6)


def test_where_one_expert_does_all_they_are_at_their_other_end() -> None:
    logits_TE = torch.tensor([[40.0, 0.0, 0.0, 0.0]] * 7)
    routing = route(logits_TE, RouterConfig(4, 1))
    assert expert_load(routing).tolist() == [7, 0, 0, 0]
    assert float(switch_loss(routing)) == pytest.approx(4)
    assert float(max_violation(expert_load(routing))) == 3
    assert float(load_entropy(expert_load(routing))) == 0
    assert float(choice_entropy(routing)) == pytest.approx(0, abs=1e-6)
    assert expert_load(drop_over_capacity(routing, 2), served=True).tolist() == [2, 0, 0, 0]
    assert expert_load(drop_over_capacity(routing, 2)).tolist() == [7, 0, 0, 0]


def sequence_loss_by_formula(affinities_TE: Tensor, top_k: int) -> Tensor:
    """DeepSeek-V3, equations 17 to 20, of one sequence and without its factor alpha."""
    T, E = affinities_TE.shape
    loss = affinities_TE.new_zeros(())
    chosen = [set(row.topk(top_k).indices.tolist()) for row in affinities_TE]
    for i in range(E):
        f_i = E / (top_k * T) * sum(i in experts for experts in chosen)
        loss = loss + f_i * sum(affinities_TE[t, i] / affinities_TE[t].sum() for t in range(T)) / T
    return loss


def test_the_sequence_loss_equals_the_formula_of_each_sequence() -> None:
    torch.manual_seed(0)
    logits_TE = torch.randn(12, 5, dtype=torch.float64, requires_grad=True)
    ours = sequence_loss(route(logits_TE, RouterConfig(5, 2, scoring="sigmoid")), 3)
    theirs = torch.stack([sequence_loss_by_formula(logits_BE.sigmoid(), 2) for logits_BE in logits_TE.split(4)]).mean()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(loss, logits_TE)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_the_z_loss_and_its_gradient() -> None:
    torch.manual_seed(0)
    logits_TE = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    loss = z_loss(route(logits_TE, RouterConfig(5, 2)))
    sums_T = logits_TE.detach().exp().sum(-1).log()
    torch.testing.assert_close(loss.detach(), (sums_T**2).mean())
    wanted_TE = 2 * sums_T[:, None] * logits_TE.detach().softmax(-1) / 6
    torch.testing.assert_close(torch.autograd.grad(loss, logits_TE)[0], wanted_TE)


@settings(max_examples=40)
@given(loads=st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_the_bias_goes_towards_the_mean_load(loads: list[int]) -> None:
    bias_E = torch.linspace(-1, 1, len(loads), dtype=torch.float64)
    moved_E = updated_bias(bias_E, torch.tensor(loads), 0.25) - bias_E
    mean = sum(loads) / len(loads)
    wanted = [0.25 if load < mean else -0.25 if load > mean else 0.0 for load in loads]
    # A mean that no float holds exactly is no load's, either.
    assert moved_E.tolist() == pytest.approx(wanted)


def test_steps_of_the_bias_even_the_load_out() -> None:
    torch.manual_seed(0)
    logits_TE = torch.randn(2000, 8) + torch.linspace(-2, 2, 8)
    config, bias_E = RouterConfig(8, 2, scoring="sigmoid", bias=True), torch.zeros(8)
    first = float(max_violation(expert_load(route(logits_TE, config, bias_E))))
    for _ in range(400):
        bias_E = updated_bias(bias_E, expert_load(route(logits_TE, config, bias_E)), 2e-3)
    last = float(max_violation(expert_load(route(logits_TE, config, bias_E))))
    assert first > 1
    assert last < 0.1


def test_the_global_violation_is_of_summed_loads() -> None:
    load_BE = torch.tensor([[4, 0], [0, 4]])
    assert max_violation(load_BE).tolist() == [1, 1]
    assert float(max_violation(load_BE.sum(0))) == 0
    assert max_violation(torch.zeros(3)).tolist() == load_entropy(torch.zeros(3)).tolist() == 0


def test_refuses_what_cannot_be_balanced() -> None:
    routing, none = (route(torch.randn(tokens, 4), RouterConfig(4, 2)) for tokens in (6, 0))
    for loss in (switch_loss, z_loss, choice_entropy):
        with pytest.raises(ValueError, match=r"token"):
            loss(none)
    with pytest.raises(ValueError, match=r"6 tokens.*4"):
        sequence_loss(routing, 4)
    with pytest.raises(ValueError, match="num_sequences"):
        sequence_loss(routing, 0)
    for measure in (max_violation, load_entropy):
        with pytest.raises(ValueError, match="at least one expert"):
            measure(torch.zeros(3, 0))
    with pytest.raises(ValueError, match=r"\(4,\) and \(3,\)"):
        updated_bias(torch.zeros(4), torch.zeros(3))
    with pytest.raises(ValueError, match="bfloat16"):
        updated_bias(torch.zeros(4, dtype=torch.bfloat16), torch.zeros(4))
    for rate in (0, math.nan, "fast"):
        with pytest.raises(ValueError, match="rate"):
            updated_bias(torch.zeros(4), torch.zeros(4), rate)  # type: ignore[arg-type]


def test_loads_of_half_precision_are_counted_in_full() -> None:
    logits_TE = torch.tensor([[1.0, 0.0]]).expand(70_001, 2)
    for dtype in (torch.float16, torch.bfloat16):
        routing = route(logits_TE.to(dtype), RouterConfig(2, 1))
        assert expert_load(routing).tolist() == [70_001, 0]
        assert float(switch_loss(routing)) == pytest.approx(
            float(switch_loss(route(logits_TE, RouterConfig(2, 1)))), 0.01
        )


def test_sigmoids_that_are_all_zero_make_no_nan() -> None:
    routing = route(torch.full((3, 4), -200.0), RouterConfig(4, 2, scoring="sigmoid"))
    assert float(switch_loss(routing)) == 0


def test_a_load_of_one_more_than_sixteen_million_moves_the_bias() -> None:
    moved = updated_bias(torch.zeros(3), torch.tensor([2**24 + 1, 2**24, 2**24]), 1.0)
    assert moved.tolist() == [-1, 1, 1]
