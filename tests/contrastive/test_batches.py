"""A loss over parts has the gradient of the whole batch; rows from other devices need one of theirs."""

import pytest
import torch
from torch import Tensor, nn

from kb.contrastive import cached_backward, gathered_loss, info_nce
from tests.contrastive.drawn import rows


def gradients(model: nn.Module) -> Tensor:
    found = torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
    model.zero_grad()
    return found


def loss(pairs_N2D: Tensor) -> Tensor:
    return info_nce(pairs_N2D[:, 0], pairs_N2D[:, 1], temperature=0.1)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_parts_with_dropout_give_the_gradient_of_the_whole(size: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 20), nn.Dropout(0.5), nn.Tanh(), nn.Linear(20, 3)).double()
    parts = torch.randn(8, 2, 4, dtype=torch.float64).split(size)
    torch.manual_seed(1)
    whole = loss(torch.cat([model(part) for part in parts]))
    after = torch.rand(1)
    whole.backward()
    wanted = gradients(model)
    torch.manual_seed(1)
    torch.testing.assert_close(cached_backward(model, parts, loss), whole.detach())
    assert torch.rand(1) == after  # the random numbers go on as if nothing had been encoded twice
    torch.testing.assert_close(gradients(model), wanted)


def test_a_temperature_that_the_loss_learns_has_the_gradient_of_the_whole() -> None:
    torch.manual_seed(0)
    model, pairs = nn.Linear(4, 3), torch.randn(8, 2, 4)
    scale = torch.tensor(5.0, requires_grad=True)

    def scaled(pairs_N2D: Tensor) -> Tensor:
        return info_nce(pairs_N2D[:, 0], pairs_N2D[:, 1], temperature=1 / scale)

    (wanted,) = torch.autograd.grad(scaled(model(pairs)), scale)
    cached_backward(model, pairs.split(4), scaled)
    assert scale.grad is not None
    torch.testing.assert_close(scale.grad, wanted)


def test_the_mean_over_parts_is_another_loss() -> None:
    torch.manual_seed(0)
    model, pairs = nn.Linear(4, 3), torch.randn(8, 2, 4)
    cached_backward(model, pairs.split(4), loss)
    wanted = gradients(model)
    torch.stack([loss(model(part)) for part in pairs.split(4)]).mean().backward()
    assert (gradients(model) - wanted).norm() > 0.02 * wanted.norm()


def test_through_the_gather_is_the_whole_batch_and_a_detached_one_is_not() -> None:
    q, p = rows(6, 4, 0), rows(6, 4, 1)
    whole = info_nce(q, p, temperature=0.1)
    wanted = torch.autograd.grad(whole, (q, p))
    for through in (True, False):
        found = gathered_loss(q.view(3, 2, 4), p.view(3, 2, 4), temperature=0.1, through=through)
        got = torch.autograd.grad(found, (q, p))
        torch.testing.assert_close(found, whole)
        torch.testing.assert_close(got[0], wanted[0])
        assert torch.allclose(got[1], wanted[1]) == through
    torch.testing.assert_close(gathered_loss(q[None], p[None], temperature=0.1, through=False), whole)


def test_no_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="parts must hold at least one part"):
        cached_backward(nn.Identity(), [], loss)
    for queries, positives in ((0, 0), (2, 3)):
        with pytest.raises(ValueError, match="query_RND and positive_RND must have one shape"):
            gathered_loss(torch.ones(queries, 2, 2), torch.ones(positives, 2, 2), temperature=0.1)
