"""Every gradient that is written as a formula, against autograd."""

import pytest
import torch
from hypothesis import given
from torch import Tensor

from kb import contrastive as kb
from kb.contrastive import gradients
from tests.contrastive.drawn import few, labelled, paired


def assert_gradient(loss: Tensor, x: Tensor, formula: Tensor) -> None:
    (found,) = torch.autograd.grad(loss, x)
    torch.testing.assert_close(formula, found, rtol=1e-7, atol=1e-7 * float(found.abs().max()) + 1e-12)


@few
@given(labelled())
def test_of_classes(batch: tuple[Tensor, Tensor]) -> None:
    x, labels = batch
    bare, margin = x.detach(), 1.5
    assert_gradient(kb.pair_loss(x, labels, margin=margin), x, gradients.pair_gradient(bare, labels, margin=margin))
    if labels.bincount().max() == 1 or len(labels.unique()) == 1:
        return
    triplets = kb.mine(kb.distances(bare), labels)
    loss = kb.triplet_loss(kb.distances(x, squared=True), triplets, margin=margin)
    assert_gradient(loss, x, gradients.triplet_gradient(bare, triplets, margin=margin))
    s = kb.cosines(bare, bare)
    for average in ("out", "in"):
        found = gradients.supcon_gradient(s, labels, temperature=0.1, average=average)
        assert_gradient(kb.supcon_loss(x, labels, average=average), x, gradients.to_both(found, bare))
    found = gradients.circle_gradient(s, labels, scale=9.0)
    assert_gradient(kb.circle_loss(x, labels, scale=9.0), x, gradients.to_both(found, bare))


@few
@given(paired())
def test_of_pairs(batch: tuple[Tensor, Tensor]) -> None:
    a, b = batch[0], batch[1].detach()
    bare = a.detach()
    s = kb.cosines(bare, b)
    found = gradients.info_nce_gradient(s, temperature=0.2)
    assert_gradient(kb.info_nce(a, b, temperature=0.2), a, gradients.to_rows(found, bare, b))
    assert_gradient(kb.sigmoid_loss(a, b), a, gradients.to_rows(gradients.sigmoid_gradient(s), bare, b))
    assert_gradient(kb.byol_loss(a, b), a, gradients.byol_gradient(bare, b))
    assert_gradient(kb.uniformity(a), a, gradients.uniformity_gradient(bare))
    for scale in (0.3, 3.0):
        wide = (scale * bare).requires_grad_()
        assert_gradient(kb.vicreg_loss(wide, b).total, wide, gradients.vicreg_gradient(scale * bare, b))


def test_a_far_positive_is_pulled_outside_the_logarithm_and_hardly_inside() -> None:
    s = torch.tensor([[1.0, 0.9, -0.5, 0.8], [0.9, 1, 0, 0], [-0.5, 0, 1, 0], [0.8, 0, 0, 1]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1])
    out, inside = (
        float(gradients.supcon_gradient(s, labels, temperature=0.1, average=average)[0, 2]) for average in ("out", "in")
    )
    assert out == pytest.approx(-0.5 / 0.1 / 3, rel=1e-4)
    assert abs(inside) < 1e-4
