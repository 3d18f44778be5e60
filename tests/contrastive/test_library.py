"""The losses against pytorch-metric-learning 2.9: values and gradients, and where it means another loss."""

from collections.abc import Callable

import pytest
import torch
from pytorch_metric_learning import distances as their_distances
from pytorch_metric_learning import losses, miners, reducers
from torch import Tensor

from kb import contrastive as kb
from tests.contrastive.drawn import rows, value_and_gradient

LABELS = torch.tensor([0, 0, 1, 1, 1, 2, 2, 3])  # of the last there is one
EUCLID = their_distances.LpDistance(normalize_embeddings=False)
SQUARED = their_distances.LpDistance(normalize_embeddings=False, power=2)
MEAN = reducers.MeanReducer()


def assert_equal(ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], *, width: int = 5) -> None:
    for seed in range(5):
        x = rows(len(LABELS), width, seed)
        for one, other in zip(value_and_gradient(ours, x), value_and_gradient(theirs, x), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


def test_pairs() -> None:
    def theirs(x: Tensor) -> Tensor:
        parts = losses.ContrastiveLoss(neg_margin=4.0, distance=EUCLID, reducer=reducers.DoNothingReducer())(x, LABELS)
        total = parts["pos_loss"]["losses"].sum() + parts["neg_loss"]["losses"].sum()
        return total / (len(LABELS) * (len(LABELS) - 1))  # it has each pair twice

    assert_equal(lambda x: kb.pair_loss(x, LABELS, margin=4.0, power=1), theirs)


@pytest.mark.parametrize("kind", ["hard", "semi-hard"])
@pytest.mark.parametrize("soft", [True, False])
def test_triplets(kind: str, soft: bool) -> None:
    miner = (
        miners.BatchHardMiner(distance=SQUARED)
        if kind == "hard"
        else miners.TripletMarginMiner(margin=2.0, type_of_triplets="semihard", distance=SQUARED)
    )
    loss = losses.TripletMarginLoss(margin=0.0 if soft else 2.0, smooth_loss=soft, distance=SQUARED, reducer=MEAN)

    def ours(x: Tensor) -> Tensor:
        d = kb.distances(x, squared=True)
        return kb.triplet_loss(d, kb.mine(d, LABELS, kind, margin=2.0), margin=None if soft else 2.0)

    assert_equal(ours, lambda x: loss(x, LABELS, miner(x, LABELS)))


def test_triplets_over_the_active() -> None:
    loss = losses.TripletMarginLoss(margin=1.0, distance=SQUARED)

    def ours(x: Tensor) -> Tensor:
        d = kb.distances(x, squared=True)
        return kb.triplet_loss(d, kb.mine(d, LABELS), margin=1.0, only_active=True)

    assert_equal(ours, lambda x: loss(x, LABELS))


def test_n_pairs() -> None:
    labels = torch.arange(4).repeat(2)
    loss = losses.NPairsLoss(distance=their_distances.DotProductSimilarity(normalize_embeddings=False))
    assert_equal(lambda x: kb.n_pair_loss(x[:4], x[4:]), lambda x: loss(x, labels))


def test_nt_xent_and_info_nce() -> None:
    labels = torch.arange(4).repeat(2)
    assert_equal(lambda x: kb.nt_xent(x[:4], x[4:]), lambda x: losses.NTXentLoss(0.5)(x, labels))
    one_way = losses.NTXentLoss(0.05)
    ids = torch.arange(4)  # one object on both sides would mean rows compared with themselves
    assert_equal(
        lambda x: kb.info_nce(x[:4], x[4:]), lambda x: one_way(x[:4], ids, ref_emb=x[4:], ref_labels=ids.clone())
    )


def test_its_nt_xent_with_several_positives_leaves_the_others_out_and_is_not_supcon() -> None:
    x = rows(len(LABELS), 5, 0)
    assert not torch.allclose(losses.NTXentLoss(0.1)(x, LABELS), kb.supcon_loss(x, LABELS, temperature=0.1))


def test_supcon_and_circle() -> None:
    assert_equal(lambda x: kb.supcon_loss(x, LABELS), lambda x: losses.SupConLoss(0.1)(x, LABELS))
    assert_equal(lambda x: kb.circle_loss(x, LABELS), lambda x: losses.CircleLoss()(x, LABELS))


def test_vicreg() -> None:
    loss = losses.VICRegLoss(reducer=MEAN)
    assert_equal(lambda x: kb.vicreg_loss(x[:4], x[4:]).total, lambda x: loss(x[:4], ref_emb=x[4:]))
