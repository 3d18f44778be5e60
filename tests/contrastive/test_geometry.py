"""What is measured of a cloud: by hand, by loop, and for rows that are zero, tiny or huge."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import Tensor

from kb import contrastive as kb
from kb.contrastive.digits_lab import map_at_r, spread
from tests.contrastive.drawn import assert_same, few, paired

SQUARE = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)


@few
@given(paired())
def test_by_loop_and_by_torch(batch: tuple[Tensor, Tensor]) -> None:
    x, weights = batch[0], batch[1].detach()
    assert_same(lambda x: (weights * kb.unit_rows(x)).sum(), lambda x: (weights * F.normalize(x)).sum(), x)
    assert_same(kb.uniformity, kb.uniformity_loop, x)


@pytest.mark.parametrize("size", [1e-38, 1e-20, 1e20, 5e37])
def test_no_row_is_too_long_or_too_short(size: float) -> None:
    x = (torch.tensor([[3.0, 4.0], [0.0, 0.0]]) * size).requires_grad_()
    found = kb.unit_rows(x)
    torch.testing.assert_close(found.detach(), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    assert torch.autograd.grad(found[1].sum(), x)[0][1].tolist() == [1, 1]  # of the row of zeros


def test_a_square_by_hand() -> None:
    # Squared distances: 2 four times, 4 twice.
    assert float(kb.uniformity(SQUARE)) == pytest.approx(math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6))
    assert float(kb.mean_cosine(SQUARE)) == pytest.approx(-1 / 3)
    assert float(kb.alignment(SQUARE, SQUARE.roll(1, 0))) == pytest.approx(2)
    assert float(kb.effective_rank(SQUARE)) == pytest.approx(2)
    assert float(kb.tolerance(SQUARE, torch.tensor([0, 1, 0, 2]))) == pytest.approx(-1)
    assert kb.distances(SQUARE, squared=True)[0].tolist() == pytest.approx([0, 2, 4, 2])
    assert spread(SQUARE) == pytest.approx(math.sqrt(2 / 3) * math.sqrt(2))


def test_one_point_is_the_worst_and_a_sphere_the_best() -> None:
    x = torch.randn(800, 128, generator=torch.Generator().manual_seed(0))
    assert float(kb.uniformity(torch.ones(5, 3))) == pytest.approx(0, abs=1e-6)
    assert float(kb.uniformity(x)) == pytest.approx(-4, abs=0.1)
    assert float(kb.effective_rank(torch.ones(5, 3))) == pytest.approx(1)
    assert float(kb.effective_rank(x)) > 120
    assert spread(x) == pytest.approx(1, abs=0.01)


def test_map_at_r_by_hand() -> None:
    # By angle: 0° and 80° are of class 0, 10° and 60° of 1, 200° alone of 2. R is 1: does the nearest agree?
    angles = torch.tensor([0.0, 80.0, 10.0, 60.0, 200.0]).deg2rad()
    x = torch.stack((angles.cos(), angles.sin()), dim=1)
    assert map_at_r(x, torch.tensor([0, 0, 1, 1, 2])) == 0
    # Three of a class, R 2: from 0° the nearest is wrong and the second right, (0 + 1/2) / 2; and so on.
    assert map_at_r(x, torch.tensor([0, 0, 1, 0, 2])) == pytest.approx((0.25 + 0.5 + 0.5) / 3)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="x_ND must have at least two rows, got 1"):
        kb.uniformity(torch.ones(1, 2))
    for measure in (kb.tolerance, map_at_r):
        with pytest.raises(ValueError, match="labels_N must hold two rows of one class"):
            measure(torch.ones(2, 2), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="x_ND must be finite, got NaN or an infinity"):
        map_at_r(torch.full((2, 2), torch.nan), torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="x_ND must be finite and have a row that is not zero"):
        kb.effective_rank(torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"y_MD must have rows of 2 numbers, got \(2, 3\)"):
        kb.cosines(torch.ones(2, 2), torch.ones(2, 3))
