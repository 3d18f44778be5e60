"""Mining and triplets by hand, by loop, and at their edges; pairs by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kb.contrastive import distances, mine, mine_loop, pair_loss, triplet_loss
from tests.contrastive.drawn import assert_same, few, labelled, rows

CIRCLE = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 0, 1, 1])


def test_by_hand() -> None:
    # Squared distances: 0.8 and 2 within the classes; 2, 4, 0.4 and 3.2 between, of which 0.4 alone is within 1.
    near = 1 - math.sqrt(0.4)
    assert float(pair_loss(CIRCLE, LABELS)) == pytest.approx((0.8 + 2 + near**2) / 2 / 6)
    assert float(pair_loss(CIRCLE, LABELS, power=1)) == pytest.approx((math.sqrt(0.8) + math.sqrt(2) + near) / 6)
    d = distances(CIRCLE, squared=True)
    hard = mine(d, LABELS, "hard")
    assert hard.tolist() == [[0, 1, 2], [1, 0, 2], [2, 3, 1], [3, 2, 1]]
    # From 0, the negative 2 lies 1.2 behind the positive 1; from 3, the negative 1 lies 1.2 behind 2.
    assert mine(d, LABELS, "semi-hard", margin=1.3).tolist() == [[0, 1, 2], [3, 2, 1]]
    gaps = [0.8 - 2, 0.8 - 0.4, 2 - 0.4, 2 - 3.2]
    assert float(triplet_loss(d, hard)) == pytest.approx((0.6 + 1.8) / 4)
    assert float(triplet_loss(d, hard, only_active=True)) == pytest.approx((0.6 + 1.8) / 2)
    soft = sum(math.log1p(math.exp(gap)) for gap in gaps) / 4
    assert float(triplet_loss(d, hard, margin=None)) == pytest.approx(soft)


def test_of_equal_distances_the_first_is_mined_and_what_lies_at_the_margin_is_not_within_it() -> None:
    d, labels = torch.full((5, 5), 0.5).fill_diagonal_(0), torch.tensor([0, 0, 0, 1, 1])
    assert mine(d, labels, "hard").tolist() == [[0, 1, 3], [1, 0, 3], [2, 0, 3], [3, 4, 0], [4, 3, 0]]
    assert mine(d, labels, "semi-hard").tolist() == []  # none lies behind its positive
    d[0, 3] = d[0, 4] = 0.75
    assert mine(d, labels, "semi-hard", margin=0.25).tolist() == []
    assert mine(d, labels, "semi-hard", margin=0.26).tolist() == [[0, 1, 3], [0, 1, 4], [0, 2, 3], [0, 2, 4]]


@few
@given(labelled(), st.sampled_from(["all", "hard", "semi-hard"]), st.sampled_from([0.2, 3.0]))
def test_mining_is_its_loop(batch: tuple[Tensor, Tensor], kind: str, margin: float) -> None:
    d = distances(batch[0].detach())
    assert mine(d, batch[1], kind, margin=margin).tolist() == mine_loop(d, batch[1], kind, margin=margin)


@few
@given(labelled())
def test_triplet_loss_is_a_sum_over_triplets(batch: tuple[Tensor, Tensor]) -> None:
    triplets = mine(distances(batch[0].detach()), batch[1])

    def loop(x: Tensor) -> Tensor:
        terms = [(x[a] - x[p]).square().sum() - (x[a] - x[n]).square().sum() + 0.2 for a, p, n in triplets.tolist()]
        return torch.stack(terms).clamp_min(0).mean() if terms else (x * 0).sum()

    assert_same(lambda x: triplet_loss(distances(x, squared=True), triplets), loop, batch[0])


@pytest.mark.parametrize("squared", [True, False])
def test_all_in_one_point_is_a_trap(squared: bool) -> None:
    # FaceNet's collapse: every distance is 0 and so is every gradient, and the loss is the margin.
    x = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    d = distances(x, squared=squared)
    loss = triplet_loss(d, mine(d, LABELS, "hard"))
    assert float(loss.detach()) == pytest.approx(0.2)
    assert torch.autograd.grad(loss, x)[0].abs().max() == 0


@pytest.mark.parametrize("labels", [[0], [0, 0, 0], [0, 1, 2]])
def test_nothing_to_compare_is_zero_with_a_gradient(labels: list[int]) -> None:
    x, kinds = rows(len(labels), 3, 0), torch.tensor(labels)
    for how in ("all", "hard", "semi-hard"):
        d = distances(x)
        triplets = mine(d, kinds, how)
        assert triplets.shape == (0, 3)
        (gradient,) = torch.autograd.grad(triplet_loss(d, triplets, only_active=True), x)
        assert gradient.abs().max() == 0
    if len(labels) == 1:
        assert float(pair_loss(x, kinds).detach()) == 0


def test_what_is_refused() -> None:
    square, labels = torch.zeros(3, 3), torch.tensor([0, 1, 1])
    with pytest.raises(ValueError, match="kind must be one of all, hard, semi-hard, got 'easy'"):
        mine(square, labels, "easy")
    for wrong in (torch.zeros(3, 2), torch.full((3, 3), torch.nan), torch.full((3, 3), torch.inf)):
        with pytest.raises(ValueError, match="distances_NN must be square and finite"):
            mine(wrong, labels)
    with pytest.raises(TypeError, match="triplets_T3 must be int64 of two axes"):
        triplet_loss(square, torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"triplets_T3 must be \[T, 3\]"):
        triplet_loss(square, torch.zeros(1, 2, dtype=torch.int64))
    for wrong in ([0, 1, 3], [0, 1, -1]):
        with pytest.raises(ValueError, match="triplets_T3 must be from 0 to 2"):
            triplet_loss(square, torch.tensor([wrong]))
    with pytest.raises(ValueError, match=r"distances_NN must be square, got \(3, 2\)"):
        triplet_loss(square[:, :2], torch.tensor([[0, 1, 1]]))
    with pytest.raises(ValueError, match="margin must be a number above 0"):
        triplet_loss(square, torch.zeros(1, 3, dtype=torch.int64), margin=0.0)
