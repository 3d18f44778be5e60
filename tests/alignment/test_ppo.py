"""Rewards per token, advantages and PPO's losses: by hand, by loop, and as trl 0.11.4 computed them.

trl took PPO's first trainer out later; what ``PPOTrainer.compute_advantages`` and ``PPOTrainer.loss`` of that release
return for the numbers below was written down (clip 0.2 for ratio and value, gamma 1, lambda 0.95, value weight 0.1).
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kb.alignment import (
    adapted_beta,
    gae,
    gae_loop,
    kl_estimate,
    policy_loss,
    policy_loss_loop,
    ptx_loss,
    token_rewards,
    token_rewards_loop,
    value_loss,
    value_loss_loop,
    whiten,
)


def double(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


MASK = torch.tensor([[True, True, True, True], [True, True, True, False]])
VALUES = double([0.3, -0.2, 0.5, 0.1], [0.0, 0.4, 0.2, 0.9])
REWARDS = double([-0.01, 0.02, -0.03, 1.0], [0.05, -0.04, -0.5, 0.7])
OLD = double([-1.0, -2.0, -0.5, -1.5], [-0.7, -1.1, -2.2, -9.0])
NEW = double([-0.7, -2.1, -0.9, -1.4], [-1.0, -0.8, -2.2, -3.0])
SEEN = double([0.6, -0.3, 0.4, 0.5], [0.1, 0.1, 0.9, -4.0])
ADVANTAGES = double(
    [0.5158222683037926, 1.2180213473460924, 0.3514151321244442, 0.9405213249405916],
    [-0.6838614877771956, -1.298082207760768, -1.0438363771769572, 0.0],
)
RETURNS = double([0.8575625, 0.92375, 0.925, 1.0], [-0.40975, -0.505, -0.5, 0.0])


def test_advantages_by_hand() -> None:
    # gamma 1, lambda 1: the return is all that is still to come.
    advantages, returns = gae_loop([-0.1, 0.2, 1.0], [0.5, 0.4, 0.3], decay=1.0)
    assert returns == pytest.approx([1.1, 1.2, 1.0])
    assert advantages == pytest.approx([0.6, 0.8, 0.7])
    # lambda 0: one step ahead only.
    advantages, _ = gae_loop([-0.1, 0.2, 1.0], [0.5, 0.4, 0.3], decay=0.0)
    assert advantages == pytest.approx([-0.1 + 0.4 - 0.5, 0.2 + 0.3 - 0.4, 1.0 - 0.3])


def test_advantages_equal_trl() -> None:
    advantages, returns = gae(REWARDS, VALUES, MASK)
    torch.testing.assert_close(returns, RETURNS)
    torch.testing.assert_close(whiten(advantages, MASK), ADVANTAGES)


@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=30)
def test_the_product_equals_the_loop(seed: int, discount: float, decay: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards, values = (torch.randn(3, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    spans = [(0, 7), (2, 5), (6, 7)]
    mask = torch.zeros(3, 7, dtype=torch.bool)
    for row, (start, stop) in zip(mask, spans, strict=True):
        row[start:stop] = True
    advantages, returns = gae(rewards, values, mask, discount=discount, decay=decay)
    for b, (start, stop) in enumerate(spans):
        wanted = gae_loop(
            rewards[b, start:stop].tolist(), values[b, start:stop].tolist(), discount=discount, decay=decay
        )
        assert advantages[b, start:stop].tolist() == pytest.approx(wanted[0], abs=1e-9)
        assert returns[b, start:stop].tolist() == pytest.approx(wanted[1], abs=1e-9)
    assert not advantages[~mask].any()
    assert not returns[~mask].any()


def test_rewards_by_hand_and_the_sign_of_the_penalty() -> None:
    found = token_rewards(
        double([2.0, 1.0])[0],
        double([-1.0, -2.0, -0.5], [-1.0, -1.0, math.nan]),
        double([-1.5, -1.0, -0.5], [-1.0, -3.0, math.nan]),
        torch.tensor([[True, True, True], [True, True, False]]),
        beta=0.1,
    )
    # More likely than under the reference costs, less likely pays; the score comes with the last real choice.
    assert found.tolist() == [pytest.approx([-0.05, 0.1, 2.0]), pytest.approx([0.0, 0.8, 0.0])]
    assert token_rewards_loop(2.0, [-1.0, -2.0, -0.5], [-1.5, -1.0, -0.5], beta=0.1) == pytest.approx(found[0].tolist())


def test_rewards_carry_no_gradient() -> None:
    scores, log_probs = torch.ones(2, requires_grad=True), NEW.float().requires_grad_()
    assert not token_rewards(scores, log_probs, OLD.float(), MASK, beta=0.1).requires_grad


def test_the_three_estimators_agree_in_the_mean_and_two_are_never_negative() -> None:
    p, q = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.4, 0.4, 0.2]).double()
    exact = float((p * (p / q).log()).sum())
    means = {kind: float((p * kl_estimate(p.log(), q.log(), kind)).sum()) for kind in ("k1", "k2", "k3")}
    assert means["k1"] == pytest.approx(exact)
    assert means["k3"] == pytest.approx(exact)
    assert means["k2"] != pytest.approx(exact, rel=1e-3)
    assert bool((kl_estimate(p.log(), q.log(), "k1") < 0).any())
    for kind in ("k2", "k3"):
        assert bool((kl_estimate(p.log(), q.log(), kind) >= 0).all())


def test_the_controller_by_hand() -> None:
    assert adapted_beta(0.2, 6.3, 6.0) == pytest.approx(0.2 * (1 + 0.1 * 0.05))
    assert adapted_beta(0.2, 60.0, 6.0) == pytest.approx(0.2 * 1.02)  # the error is cut at 0.2
    assert adapted_beta(0.2, 0.0, 6.0) == pytest.approx(0.2 * 0.98)


def test_losses_equal_trl_in_value_and_gradient() -> None:
    new, seen = NEW.clone().requires_grad_(), SEEN.clone().requires_grad_()
    acted = policy_loss(new, OLD, ADVANTAGES, MASK)
    valued = value_loss(seen, VALUES, RETURNS, MASK)
    assert float(acted.loss.detach()) == pytest.approx(0.04957969025640344)
    assert 0.1 * float(valued.loss.detach()) == pytest.approx(0.03648507190290178)
    assert float(acted.clip_fraction) == pytest.approx(2 / 7)
    assert float(valued.clip_fraction) == pytest.approx(3 / 7)
    assert float(((OLD - NEW) * MASK).sum() / 7) == pytest.approx(0.014285714285714282)
    (acted.loss + 0.1 * valued.loss).backward()
    by_policy = [
        [0.0, -0.15744447014933124, -0.033651515363325384, -0.14849097373633116],
        [0.0, 0.25031824301479655, 0.149119482453851, 0.0],
    ]
    by_value = [
        [0.0, -0.01748214285714286, -0.007500000000000001, 0.0],
        [0.007282142857142857, 0.0, 0.02, 0.0],
    ]
    assert new.grad.tolist() == [pytest.approx(row) for row in by_policy]
    assert seen.grad.tolist() == [pytest.approx(row) for row in by_value]


def test_the_four_corners_of_the_clip() -> None:
    # ratio 1.5 or 0.5, advantage +1 or -1: the gradient is 0 where the step has gone far enough already.
    ratios = double([1.5, 0.5, 1.5, 0.5]).log().requires_grad_()
    loss = policy_loss(ratios, double([0.0] * 4), double([1, 1, -1, -1]), torch.ones(1, 4, dtype=torch.bool))
    loss.loss.backward()
    assert ratios.grad.tolist()[0] == pytest.approx([0, -0.5 / 4, 1.5 / 4, 0])
    assert float(loss.clip_fraction) == pytest.approx(0.5)
    assert float(loss.loss.detach()) == pytest.approx((-1.2 - 0.5 + 1.5 + 0.8) / 4)


@given(st.integers(0, 10_000), st.floats(0.05, 0.5))
@settings(max_examples=30)
def test_losses_equal_their_loops_with_gradient(seed: int, clip: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second, third = (torch.randn(2, 5, generator=generator, dtype=torch.float64) for _ in range(3))
    mask = torch.rand(2, 5, generator=generator) < 0.7
    mask[0, 0] = True
    for fast, loop in ((policy_loss, policy_loss_loop), (value_loss, value_loss_loop)):
        given_BS = first.clone().requires_grad_()
        found, wanted = (
            fast(given_BS, second, third, mask, clip=clip).loss,
            loop(given_BS, second, third, mask, clip=clip),
        )
        torch.testing.assert_close(found, wanted)
        gradients = [torch.autograd.grad(one, [given_BS])[0] for one in (found, wanted)]
        torch.testing.assert_close(*gradients)


def test_on_the_first_step_the_gradient_is_that_of_the_plain_policy_gradient() -> None:
    new = OLD.clone().requires_grad_()
    loss = policy_loss(new, OLD, ADVANTAGES, MASK)
    loss.loss.backward()
    torch.testing.assert_close(new.grad, -ADVANTAGES * MASK / MASK.sum())
    assert float(loss.moved) == 0


def test_an_infinite_ratio_at_padding_leaves_gradients_finite() -> None:
    new = torch.tensor([[0.0, 1000.0]], requires_grad=True)
    policy_loss(new, torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([[True, False]])).loss.backward()
    assert new.grad.tolist() == [[-1.0, 0.0]]


@pytest.mark.parametrize("clip", [0.2, None])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_no_number_at_padding_leaves_the_value_gradient_alone(clip: float | None, place: int) -> None:
    three = [SEEN.clone(), VALUES.clone(), RETURNS.clone()]
    three[place][1, 3] = math.nan
    three[0].requires_grad_()
    found = value_loss(*three, MASK, clip=clip)
    found.loss.backward()
    torch.testing.assert_close(found.loss.detach(), value_loss(SEEN, VALUES, RETURNS, MASK, clip=clip).loss)
    assert three[0].grad is not None
    assert bool(three[0].grad.isfinite().all())
    assert float(three[0].grad[1, 3]) == 0


def test_the_plain_square_and_the_mixture() -> None:
    plain = value_loss(SEEN, VALUES, RETURNS, MASK, clip=None)
    torch.testing.assert_close(plain.loss, ((SEEN - RETURNS) ** 2)[MASK].mean() / 2)
    assert float(ptx_loss(torch.tensor(1.0), torch.tensor(2.0), 27.8)) == pytest.approx(56.6)


def test_bad_input_is_named() -> None:
    hole = torch.tensor([[True, False, True, True], [True, True, True, False]])
    for wrong, told in (
        (lambda: gae(REWARDS, VALUES, hole), "one run"),
        (lambda: gae(REWARDS, VALUES[:1], MASK), "one shape"),
        (lambda: gae(REWARDS, VALUES, MASK, decay=1.5), "decay"),
        (lambda: gae(REWARDS[0], VALUES[0], MASK[0]), r"\[B, S\]"),
        (lambda: gae_loop([1.0], []), "as many"),
        (lambda: gae_loop([], []), "at least one"),
        (lambda: token_rewards(REWARDS[0], OLD, NEW, MASK, beta=0.1), "scores"),
        (lambda: token_rewards(REWARDS[:, 0], OLD, NEW, MASK, beta=math.inf), "beta"),
        (lambda: kl_estimate(OLD, NEW, "k4"), "kind"),
        (lambda: adapted_beta(0.0, 1.0, 6.0), "beta"),
        (lambda: adapted_beta(0.1, math.nan, 6.0), "observed"),
        (lambda: policy_loss(NEW, OLD, ADVANTAGES, MASK, clip=0.0), "clip"),
        (lambda: policy_loss(NEW, OLD[:1], ADVANTAGES, MASK), "one shape"),
        (lambda: value_loss(SEEN, VALUES, RETURNS, MASK, clip=-1.0), "clip"),
        (lambda: ptx_loss(torch.tensor(1.0), torch.tensor(1.0), -1.0), "gamma"),
        (lambda: ptx_loss(torch.ones(2), torch.tensor(1.0), 1.0), "single"),
    ):
        with pytest.raises(ValueError, match=told):
            wrong()
