"""Log-probabilities of responses, means over them, whitening: by hand, by loop, and as torch and trl have them."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.alignment import (
    choices,
    entropy,
    last_places,
    masked_mean,
    masked_sums,
    sft_loss,
    sft_loss_loop,
    token_log_probs,
    token_log_probs_loop,
    whiten,
    whiten_loop,
)

MASK = torch.tensor([[True, True, True, True], [True, True, True, False]])
REWARDS = torch.tensor([[-0.01, 0.02, -0.03, 1.0], [0.05, -0.04, -0.5, 0.7]], dtype=torch.float64)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tokens(B: int, T: int, V: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(V, (B, T), generator=torch.Generator().manual_seed(seed))


def test_two_choices_by_hand() -> None:
    # Before the first choice all logits are 0, so each of four tokens has 1/4; before the second, token 2 has 1/2.
    logits = torch.tensor([[[0.0, 0, 0, 0], [0, 0, math.log(3), 0], [9, 9, 9, 9]]], dtype=torch.float64)
    found = token_log_probs(logits, torch.tensor([[3, 1, 2]]))
    assert found.exp().tolist()[0] == pytest.approx([1 / 4, 1 / 2])


def test_log_probs_equal_the_loop_and_cross_entropy_with_gradient() -> None:
    logits, ids = random(3, 5, 7).requires_grad_(), tokens(3, 5, 7)
    upstream = random(3, 4, seed=2)
    theirs = -F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    wanted = torch.autograd.grad(theirs, [logits], upstream)[0]
    for way in (token_log_probs, token_log_probs_loop):
        found = way(logits, ids)
        torch.testing.assert_close(found, theirs)
        torch.testing.assert_close(torch.autograd.grad(found, [logits], upstream)[0], wanted)


def test_entropy_is_that_of_torch() -> None:
    logits = random(2, 4, 6)
    torch.testing.assert_close(entropy(logits), torch.distributions.Categorical(logits=logits[:, :-1]).entropy())


@pytest.mark.parametrize("average", ["token", "sequence"])
def test_sft_loss_equals_the_loop_and_torch_with_gradient(average: str) -> None:
    logits, ids = random(2, 6, 5).requires_grad_(), tokens(2, 6, 5)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 0]]).bool()
    loss = sft_loss(logits, ids, mask, average=average)
    loop = sft_loss_loop(logits, ids, mask, average=average)
    torch.testing.assert_close(loss, loop)
    gradients = [torch.autograd.grad(one, [logits])[0] for one in (loss, loop)]
    torch.testing.assert_close(*gradients)
    assert not gradients[0][0, 0].any()  # the choice of a prompt token teaches nothing
    if average == "token":
        labels = torch.where(mask, ids, -100)[:, 1:]
        torch.testing.assert_close(loss, F.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten()))


def test_the_two_averages_differ_where_lengths_do() -> None:
    logits, ids = torch.zeros(2, 4, 2, dtype=torch.float64), torch.zeros(2, 4, dtype=torch.int64)
    logits[1, 0, 0] = 50.0  # the one choice of the second row is certain
    mask = torch.tensor([[False, True, True, True], [False, True, False, False]])
    assert float(sft_loss(logits, ids, mask)) == pytest.approx(3 / 4 * math.log(2))
    assert float(sft_loss(logits, ids, mask, average="sequence")) == pytest.approx(1 / 2 * math.log(2))


def test_whitening_without_the_mean_equals_trl_0_11_4() -> None:
    found = whiten(REWARDS, MASK, shift_mean=False)
    theirs = [  # masked_whiten of trl 0.11.4, trl/core.py
        [-0.10732591263994466, -0.040828695399965406, -0.15165739079993085, 2.1314137344393567],
        [0.025668521840013843, -0.17382312987992393, -1.1934471275596057, 0.0],
    ]
    assert found.tolist() == [pytest.approx(row) for row in theirs]


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=25)
def test_whitening_equals_the_loop_and_has_variance_one(seed: int, shift_mean: bool) -> None:
    values, mask = random(3, 6, seed=seed), random(3, 6, seed=seed + 1) > -0.3
    mask[0, :2] = True
    found = whiten(values, mask, shift_mean=shift_mean)
    loop = whiten_loop(values.tolist(), mask.tolist(), shift_mean=shift_mean)
    torch.testing.assert_close(found, torch.tensor(loop, dtype=torch.float64))
    kept = found[mask]
    assert float(kept.var()) == pytest.approx(1, abs=1e-5)
    assert float(kept.mean()) == pytest.approx(0 if shift_mean else float(values[mask].mean()), abs=1e-9)
    assert not found[~mask].any()


def test_padding_does_not_touch_mean_sum_or_whitening() -> None:
    values, mask = random(2, 3), torch.ones(2, 3, dtype=torch.bool)
    wider = F.pad(values, (0, 2), value=math.nan)
    padded = F.pad(mask, (0, 2), value=False)
    torch.testing.assert_close(masked_mean(wider, padded), values.mean())
    torch.testing.assert_close(masked_sums(wider, padded), values.sum(-1))
    torch.testing.assert_close(whiten(wider, padded)[:, :3], whiten(values, mask))


def test_the_last_place_with_padding_on_either_side() -> None:
    mask = torch.tensor([[0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 0]]).bool()
    assert last_places(mask).tolist() == [2, 3, 0]
    assert choices(mask).tolist() == mask[:, 1:].tolist()


def test_bad_input_is_named() -> None:
    logits, ids = random(1, 3, 4), tokens(1, 3, 4)
    for wrong, told in (
        (lambda: token_log_probs(logits, ids[:, :2]), "logits"),
        (lambda: token_log_probs(logits[:, :1], ids[:, :1]), "at least 2"),
        (lambda: masked_mean(REWARDS, MASK[:1]), "shape"),
        (lambda: masked_mean(REWARDS, torch.zeros_like(MASK)), "nowhere"),
        (lambda: whiten(REWARDS[:1, :1], MASK[:1, :1]), "at least 2"),
        (lambda: last_places(torch.zeros(1, 2, dtype=torch.bool)), "every row"),
        (lambda: sft_loss(logits, ids, torch.ones(1, 3, dtype=torch.bool), average="batch"), "average"),
        (lambda: sft_loss(random(2, 3, 4), tokens(2, 3, 4), torch.tensor([[0, 1, 1], [0, 0, 0]]).bool(),
                          average="sequence"), "without a response"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=told):
            wrong()
    with pytest.raises(TypeError, match="boolean"):
        masked_mean(REWARDS, MASK.float())
    with pytest.raises(TypeError, match="boolean"):
        last_places(MASK.int())
