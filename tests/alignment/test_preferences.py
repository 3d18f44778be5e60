"""DPO and its relatives, GRPO and best of n: by hand, by loop, in closed form, and as trl 1.16.0 computed them."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kb.alignment import (
    best_of_n_kl,
    best_of_n_mean,
    best_of_n_mean_loop,
    dpo_gradient,
    dpo_loss,
    group_advantages,
    grpo_loss,
    grpo_loss_loop,
    implicit_reward,
    ipo_loss,
    kto_loss,
    simpo_loss,
)


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


PAIRS = (double(-5.0, -3.0), double(-4.0, -6.0), double(-5.5, -3.2), double(-3.0, -4.5))
NEW = torch.stack((double(-0.7, -2.1, -0.9, -1.4), double(-1.0, -0.8, -2.2, -3.0)))
OLD = torch.stack((double(-1.0, -2.0, -0.5, -1.5), double(-0.7, -1.1, -2.2, -9.0)))
REFERENCE = torch.stack((double(-1.1, -1.9, -0.6, -1.2), double(-0.9, -1.2, -2.0, -1.0)))
MASK = torch.tensor([[True, True, True, True], [True, True, True, False]])


def test_dpo_by_hand() -> None:
    # log-ratios +0.5 and -1.0, beta 0.1: a margin of 0.15
    loss = dpo_loss(double(-5.0), double(-4.0), double(-5.5), double(-3.0))
    assert float(loss) == pytest.approx(math.log(1 + math.exp(-0.15)))
    assert float(implicit_reward(double(-5.0), double(-5.5), beta=0.1)) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("loss", "values", "gradient"),
    [
        (dpo_loss, [0.6209570477895321, 0.6117553388706229], [-0.04625701546562505, -0.045760205922564905]),
        (ipo_loss, [12.25, 10.89], [-7.0, -6.6]),
    ],
)
def test_dpo_and_ipo_equal_trl(loss, values, gradient) -> None:  # type: ignore[no-untyped-def]
    better, worse = PAIRS[0].clone().requires_grad_(), PAIRS[1].clone().requires_grad_()
    found = loss(better, worse, *PAIRS[2:], beta=0.1)
    found.sum().backward()
    assert found.tolist() == pytest.approx(values)
    assert better.grad.tolist() == pytest.approx(gradient)
    assert worse.grad.tolist() == pytest.approx([-one for one in gradient])


@given(st.integers(0, 10_000), st.floats(0.01, 5))
@settings(max_examples=25)
def test_the_closed_form_is_the_gradient(seed: int, beta: float) -> None:
    numbers = 3 * torch.randn(4, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    better = numbers[0].clone().requires_grad_()
    dpo_loss(better, *numbers[1:], beta=beta).sum().backward()
    torch.testing.assert_close(better.grad, dpo_gradient(*numbers, beta=beta))


def test_the_optimum_of_the_penalised_objective_has_the_true_reward_as_its_implicit_one() -> None:
    # Three responses, rewards r: pi* is proportional to pi_ref exp(r / beta) (equation 4), and inverting it gives r
    # back up to a constant, so that DPO's loss on pairs drawn by Bradley and Terry is least there.
    reference, rewards, beta = double(0.5, 0.3, 0.2), double(1.0, 0.0, 2.0), 0.7
    best = (reference.log() + rewards / beta).softmax(0)
    back = implicit_reward(best.log(), reference.log(), beta=beta)
    torch.testing.assert_close(back - back[0], rewards - rewards[0])
    logits = best.log().clone().requires_grad_()
    log_pi = logits.log_softmax(0)
    total = sum(
        torch.sigmoid(rewards[i] - rewards[j])
        * dpo_loss(log_pi[i], log_pi[j], reference.log()[i], reference.log()[j], beta=beta)
        for i, j in itertools.permutations(range(3), 2)
    )
    assert isinstance(total, Tensor)
    total.backward()
    torch.testing.assert_close(logits.grad, torch.zeros(3, dtype=torch.float64))


def test_simpo_and_kto_by_hand() -> None:
    found = simpo_loss(double(-1.0), double(-2.0), beta=2.0, gamma=0.5)
    assert float(found) == pytest.approx(math.log(1 + math.exp(-1.5)))
    marks = torch.tensor([True, False])
    found = kto_loss(double(-1.0, -1.0), double(-3.0, -3.0), marks, anchor=1.0, beta=1.0, undesirable_weight=2.0)
    value = 1 / (1 + math.exp(-1))  # sigmoid(2 - 1)
    assert found.tolist() == pytest.approx([1 - value, 2 * value])


def test_group_advantages_by_hand() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    scaled, plain = group_advantages(rewards), group_advantages(rewards, scale=False)
    assert plain.tolist() == [[0.5, -0.5, -0.5, 0.5], [0.0] * 4]
    assert scaled[0].tolist() == pytest.approx([0.5 / (math.sqrt(1 / 3) + 1e-4) * sign for sign in (1, -1, -1, 1)])
    assert scaled[1].tolist() == [0.0] * 4
    for kind in (torch.bool, torch.int64):  # what a verifier says
        assert torch.equal(group_advantages(rewards.to(kind)), scaled)


@pytest.mark.parametrize(
    ("options", "value", "gradient"),
    [
        (
            {},
            -0.46361245768980547,
            [
                [0.001648399769821804, -0.17076402967254328, -0.12743430266956238, -0.2083265609299848],
                [-0.0007011394538376497, 0.11468610032442933, 0.08185731494559886, 0.0],
            ],
        ),
        (
            {"average": "token", "beta": 0.0, "clip_high": 0.28},
            -0.6236518813475527,
            [
                [0.0, -0.19389373243627703, -0.14364000986477984, -0.2368223395876388],
                [0.0, 0.09641848625542879, 0.07142857142857142, 0.0],
            ],
        ),
        (
            {"average": "constant", "length": 6, "beta": 0.0},
            -0.3537969307860724,
            [
                [0.0, -0.11310467725449494, -0.08379000575445492, -0.13814636475945596],
                [0.0, 0.05624411698233346, 0.041666666666666664, 0.0],
            ],
        ),
        (
            {"level": "sequence", "beta": 0.0},
            -0.4814824340212496,
            [[-0.1828706085053124] * 4, [0.08333333333333333] * 3 + [0.0]],
        ),
    ],
    ids=["GRPO", "DAPO", "Dr. GRPO", "GSPO"],
)
def test_grpo_and_its_followers_equal_trl(options, value, gradient) -> None:  # type: ignore[no-untyped-def]
    new = NEW.clone().requires_grad_()
    loss = grpo_loss(new, OLD, REFERENCE, double(1.5, -0.5), MASK, **options)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(value)
    assert new.grad.tolist() == [pytest.approx(row) for row in gradient]


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_grpo_equals_the_loop_with_gradient(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    new, old, reference = (torch.randn(3, 5, generator=generator, dtype=torch.float64) for _ in range(3))
    advantages = torch.randn(3, generator=generator, dtype=torch.float64)
    mask = torch.arange(5) < torch.tensor([[5], [2], [1]])
    new.requires_grad_()
    ways = [way(new, old, reference, advantages, mask) for way in (grpo_loss, grpo_loss_loop)]
    torch.testing.assert_close(*ways)
    torch.testing.assert_close(*(torch.autograd.grad(one, [new])[0] for one in ways))


def test_each_response_its_own_mean_lets_a_long_wrong_one_off() -> None:
    """The length bias of Dr. GRPO: per token, a wrong response of four is pushed down half as hard as one of two."""
    mask = torch.arange(4) < torch.tensor([[4], [2]])
    same, wrong = torch.zeros(2, 4, dtype=torch.float64), double(-1.0, -1.0)
    pushes = {}
    for average in ("sequence", "token"):
        new = same.clone().requires_grad_()
        grpo_loss(new, same, same, wrong, mask, beta=0.0, average=average).backward()
        pushes[average] = new.grad[:, 0].tolist()
    assert pushes["sequence"][1] == pytest.approx(2 * pushes["sequence"][0])
    assert pushes["token"][1] == pytest.approx(pushes["token"][0])


def test_the_kl_of_best_of_n_is_exact_where_all_responses_differ() -> None:
    # m equally likely responses in order of reward: the best of n is response i with ((i+1)/m)^n - (i/m)^n
    m, n = 4000, 4
    edges = torch.linspace(0, 1, m + 1, dtype=torch.float64) ** n
    best = edges.diff()
    exact = float((best * (best * m).log()).sum())
    assert best_of_n_kl(n) == pytest.approx(exact, abs=1e-3)
    assert best_of_n_kl(1) == 0
    # two responses: an upper bound only
    two = double(0.25, 0.75)
    assert float((two * (two * 2).log()).sum()) < best_of_n_kl(2)


@given(st.integers(0, 10_000), st.integers(1, 7), st.booleans())
@settings(max_examples=25)
def test_best_of_n_equals_all_subsets(seed: int, n: int, ties: bool) -> None:
    proxy, gold = torch.randn(2, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    proxy = proxy.round() if ties else proxy
    assert best_of_n_mean(proxy, gold, n) == pytest.approx(best_of_n_mean_loop(proxy.tolist(), gold.tolist(), n))


def test_bad_input_is_named() -> None:
    for wrong, told in (
        (lambda: dpo_loss(*PAIRS, beta=0.0), "beta"),
        (lambda: dpo_loss(PAIRS[0][:1], *PAIRS[1:]), "one shape"),
        (lambda: ipo_loss(*PAIRS, beta=-1.0), "beta"),
        (lambda: simpo_loss(*PAIRS[:2], gamma=math.nan), "gamma"),
        (lambda: group_advantages(torch.zeros(3, 1)), "rewards"),
        (lambda: group_advantages(torch.zeros(3, 2), eps=0.0), "eps"),
        (lambda: grpo_loss(NEW, OLD, REFERENCE, double(1.0), MASK), "advantages"),
        (lambda: grpo_loss(NEW, OLD, REFERENCE, double(1.0, 1.0), MASK, average="mean"), "average"),
        (lambda: grpo_loss(NEW, OLD, REFERENCE, double(1.0, 1.0), MASK, average="constant"), "length"),
        (lambda: grpo_loss(NEW, OLD, REFERENCE, double(1.0, 1.0), MASK, level="word"), "level"),
        (lambda: grpo_loss(NEW, OLD, REFERENCE, double(1.0, 1.0), MASK, beta=-0.1), "beta"),
        (lambda: best_of_n_kl(0), "n must"),
        (lambda: best_of_n_mean(torch.zeros(3), torch.zeros(3), 4), "at most"),
        (lambda: best_of_n_mean(torch.zeros(3), torch.zeros(2), 1), "proxy"),
        (lambda: best_of_n_mean(double(0.0, math.nan), torch.zeros(2), 1), "NaN"),
    ):
        with pytest.raises(ValueError, match=told):
            wrong()
    with pytest.raises(TypeError, match="desirable"):
        kto_loss(double(1.0), double(1.0), double(1.0), anchor=0.0)
