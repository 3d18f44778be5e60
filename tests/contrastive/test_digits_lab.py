"""The laboratory of digits: its views, its batches, and the parts of self-distillation."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kb.contrastive import digits_lab, nt_xent


def test_views_move_each_way_and_change_the_light() -> None:
    (images, labels), (test, _) = digits_lab.digits()
    assert (len(images), len(test), len(labels)) == (1297, 500, 1297)
    dot = F.one_hot(torch.tensor([3 * 8 + 4]), 64).float().expand(2000, -1)
    seen = digits_lab.view(dot, torch.Generator().manual_seed(0), noise=0.0)
    places = {divmod(int(place), 8) for place in seen.argmax(1)}
    assert places == {(row, column) for row in (2, 3, 4) for column in (3, 4, 5)}
    light = seen.amax(1)
    assert 0.75 <= light.min() < 0.77
    assert 1.23 < light.max() <= 1.25
    assert float((digits_lab.view(0 * dot, torch.Generator(), noise=0.3)).std()) == pytest.approx(0.3, rel=0.02)


def test_a_batch_has_two_views_of_different_images_and_their_labels() -> None:
    (images, labels), _ = digits_lab.digits()
    batches = digits_lab.view_batches((images, labels), batch=64, seed=3)
    a, b, shown = next(batches)
    near = torch.cdist(a, images).argmin(1)
    assert (labels[near] == shown).double().mean() > 0.3  # of 0.1 by chance
    assert not torch.equal(a, b)
    assert not torch.equal(a, next(batches)[0])
    assert torch.equal(a, next(digits_lab.view_batches((images, labels), batch=64, seed=3))[0])


@pytest.mark.parametrize("predictor", [True, False])
@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("momentum", [None, 0.9])
def test_self_distillation_is_the_parts_it_has(predictor: bool, stop: bool, momentum: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    views = (*torch.rand(2, 16, 64, generator=generator), torch.zeros(16, dtype=torch.int64))
    pair = digits_lab.SelfDistillation(seed=0, predictor=predictor, stop=stop, momentum=momentum)
    assert (pair.target is pair.encoder) == (momentum is None)
    leaf = pair.encoder[0].weight
    assert torch.equal(pair.target[0].weight, leaf)  # both begin as one
    assert isinstance(pair.predictor, torch.nn.Identity) != predictor

    def half(seen: Tensor, other: Tensor) -> Tensor:
        target = pair.encoder(other)
        if stop or momentum is not None:
            target = target.detach()
        return (2 - 2 * F.cosine_similarity(pair.predictor(pair.encoder(seen)), target)).mean()

    wanted = (half(views[0], views[1]) + half(views[1], views[0])) / 2
    loss = pair.loss(views)
    torch.testing.assert_close(loss, wanted)
    found, right = (torch.autograd.grad(one, leaf)[0] for one in (loss, wanted))
    torch.testing.assert_close(found, right, rtol=1e-3, atol=1e-6)


def test_the_laboratory_trains_and_the_slow_target_follows() -> None:
    train, (test, labels) = digits_lab.digits()
    network = digits_lab.network(seed=0)
    before = digits_lab.map_at_r(digits_lab.embed_images(network, test), labels)
    digits_lab.fit(network, train, lambda n, v: nt_xent(n(v[0]), n(v[1]), temperature=0.2), steps=30)
    assert digits_lab.map_at_r(digits_lab.embed_images(network, test), labels) > before
    assert network.training
    slow = digits_lab.SelfDistillation(seed=0, momentum=0.5)
    start = slow.target[0].weight.clone()
    digits_lab.fit(slow, train, lambda n, v: n.loss(v), steps=11, after_step=slow.follow)
    assert not torch.equal(slow.target[0].weight, start)
    assert not torch.equal(slow.target[0].weight, slow.encoder[0].weight)
