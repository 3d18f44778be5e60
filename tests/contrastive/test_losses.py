"""Every loss against its loop, in value and gradient; and by hand, as one another, and where it could overflow."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import Tensor

from kb import contrastive as kb
from tests.contrastive.drawn import assert_same, few, labelled, paired, rows

ON_PAIRS = {
    "info_nce": (kb.info_nce, kb.info_nce_loop, {"temperature": 0.1}),
    "nt_xent": (kb.nt_xent, kb.nt_xent_loop, {"temperature": 0.3}),
    "n_pair": (kb.n_pair_loss, kb.n_pair_loss_loop, {}),
    "sigmoid": (kb.sigmoid_loss, kb.sigmoid_loss_loop, {"scale": 3.0, "bias": -1.0}),
    "vicreg": (lambda a, b: kb.vicreg_loss(a, b).total, kb.vicreg_loss_loop, {}),
}
ON_CLASSES = {
    "pairs": (kb.pair_loss, kb.pair_loss_loop, {"margin": 2.0}),
    "pairs, not squared": (kb.pair_loss, kb.pair_loss_loop, {"margin": 0.5, "power": 1}),
    "supcon out": (kb.supcon_loss, kb.supcon_loss_loop, {"temperature": 0.2}),
    "supcon in": (kb.supcon_loss, kb.supcon_loss_loop, {"average": "in"}),
    "circle": (kb.circle_loss, kb.circle_loss_loop, {"scale": 9.0}),
    "circle, margin": (kb.circle_loss, kb.circle_loss_loop, {"margin": 0.25, "scale": 2.0}),
}
QUARTER = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], dtype=torch.float64)


@pytest.mark.parametrize("name", ON_PAIRS)
@few
@given(batch=paired())
def test_pairs_by_loop(name: str, batch: tuple[Tensor, Tensor]) -> None:
    loss, loop, settings = ON_PAIRS[name]
    assert_same(partial(loss, **settings), partial(loop, **settings), *batch)


@pytest.mark.parametrize("name", ON_CLASSES)
@few
@given(batch=labelled())
def test_classes_by_loop(name: str, batch: tuple[Tensor, Tensor]) -> None:
    loss, loop, settings = ON_CLASSES[name]
    x, labels = batch
    if name.startswith("pairs") or (labels.bincount().max() > 1 and len(labels.unique()) > 1):
        assert_same(lambda x: loss(x, labels, **settings), lambda x: loop(x, labels, **settings), x)


@few
@given(batch=paired())
def test_extra_negatives_and_both_ways(batch: tuple[Tensor, Tensor]) -> None:
    a, b = batch
    extra = rows(3, a.shape[1], 7)
    assert_same(kb.info_nce, kb.info_nce_loop, a, b, extra)
    torch.testing.assert_close(kb.info_nce(a, b, symmetric=True), (kb.info_nce(a, b) + kb.info_nce(b, a)) / 2)


@few
@given(batch=paired())
def test_one_loss_is_another(batch: tuple[Tensor, Tensor]) -> None:
    a, b = batch
    labels = torch.arange(len(a)).repeat(2)
    for average in ("out", "in"):  # one positive each: nothing to average
        other = kb.supcon_loss(torch.cat((a, b)), labels, temperature=0.5, average=average)
        torch.testing.assert_close(kb.nt_xent(a, b), other)
    logits = 10 * F.normalize(a) @ F.normalize(b).T - 10
    binary = F.binary_cross_entropy_with_logits(logits, torch.eye(len(a)).double(), reduction="sum") / len(a)
    torch.testing.assert_close(kb.sigmoid_loss(a, b), binary)
    penalty = (a.square().sum() + b.square().sum()) / (2 * len(a))
    torch.testing.assert_close(kb.n_pair_loss(a, b, length_weight=0.3), kb.n_pair_loss(a, b) + 0.3 * penalty)


@few
@given(batch=labelled())
def test_the_mean_inside_the_logarithm_is_never_larger(batch: tuple[Tensor, Tensor]) -> None:
    out, inside = (float(kb.supcon_loss(*batch, average=average).detach()) for average in ("out", "in"))
    assert inside <= out + 1e-12


def test_by_hand() -> None:
    query = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    positive = torch.tensor([[0.8, 0.6], [1.8, 2.4]], dtype=torch.float64)
    # Cosines 0.8 with the own one and 0.6 with the other, for both.
    wanted = math.log1p(math.exp((0.6 - 0.8) / 0.5))
    assert float(kb.info_nce(query, positive, temperature=0.5)) == pytest.approx(wanted)
    # Classes 0, 0, 1: two anchors, cosine 0.6 with the positive and 0 or 0.8 with the negative.
    labels = torch.tensor([0, 0, 1])
    wanted = (math.log1p(math.exp(0 - 0.6)) + math.log1p(math.exp(0.8 - 0.6))) / 2
    assert float(kb.supcon_loss(QUARTER, labels, temperature=1.0)) == pytest.approx(wanted)
    # m 0.25: αₚ is 1.25 - 0.6 for both, αₙ 0.25 and 1.05; Δₚ is 0.75, Δₙ 0.25.
    pull, pushes = 0.65 * (0.6 - 0.75), (0.25 * (0.0 - 0.25), 1.05 * (0.8 - 0.25))
    wanted = sum(math.log1p(math.exp(2 * (push - pull))) for push in pushes) / 2
    assert float(kb.circle_loss(QUARTER, labels, margin=0.25, scale=2.0)) == pytest.approx(wanted)
    # Columns (1, -1) twice: variance 2 each, covariance 2; the other view is the same times 0.1.
    view = torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    found = kb.vicreg_loss(view, 0.1 * view)
    assert float(found.invariance) == pytest.approx(0.81)
    assert float(found.variance) == pytest.approx((1 - math.sqrt(0.02 + 1e-4)) / 2)
    assert float(found.covariance) == pytest.approx((2 * 2**2 + 2 * 0.02**2) / 2)
    p, z = torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([[0.6, 0.8], [0.0, -1.0]])
    assert float(kb.byol_loss(p, z)) == pytest.approx((2 - 1.2 + 2 + 2) / 2)


def test_in_one_point_the_loss_is_the_logarithm_of_the_candidates_or_of_the_positives() -> None:
    x, labels = torch.ones(8, 4), torch.zeros(8, dtype=torch.int64)
    for average in ("out", "in"):
        assert float(kb.supcon_loss(x, labels, average=average)) == pytest.approx(math.log(7))
    assert float(kb.info_nce(x, x)) == pytest.approx(math.log(8))
    assert float(kb.info_nce(x, x, torch.ones(5, 4))) == pytest.approx(math.log(13))
    assert float(kb.nt_xent(x, x)) == pytest.approx(math.log(15))


@pytest.mark.parametrize("labels", [[0], [0, 1, 2]])
def test_without_a_positive_the_loss_is_zero_and_so_is_the_gradient(labels: list[int]) -> None:
    x = rows(len(labels), 3, 0)
    for loss in (kb.supcon_loss, kb.circle_loss):
        value = loss(x, torch.tensor(labels))
        (gradient,) = torch.autograd.grad(value, x)
        assert float(value.detach()) == float(gradient.abs().max()) == 0


def test_one_point_is_perfect_for_byol_and_dear_for_vicreg() -> None:
    x = torch.ones(4, 3, requires_grad=True)
    assert float(kb.byol_loss(x, x).detach()) == pytest.approx(0, abs=1e-6)
    found = kb.vicreg_loss(x, x)
    assert float(found.variance.detach()) == pytest.approx(0.99)
    assert float(found.total.detach()) == pytest.approx(25 * 0.99)
    assert torch.autograd.grad(found.total, x)[0].isfinite().all()


def test_a_learned_temperature_has_a_gradient_and_the_target_of_byol_has_none() -> None:
    a, b, log_scale = rows(4, 3, 0), rows(4, 3, 1), torch.tensor(2.0, requires_grad=True)
    kb.info_nce(a, b, temperature=(-log_scale).exp()).backward()
    assert log_scale.grad is not None
    assert log_scale.grad != 0
    b.grad = None
    kb.byol_loss(a, b).backward()
    assert b.grad is None


HALF: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "info_nce": lambda a, b: kb.info_nce(a, b, temperature=0.01),
    "sigmoid": kb.sigmoid_loss,
    "supcon": lambda a, b: kb.supcon_loss(torch.cat((a, b)), torch.arange(len(a)).repeat(2)),
    "circle": lambda a, b: kb.circle_loss(torch.cat((a, b)), torch.arange(len(a)).repeat(2)),
    "pairs": lambda a, b: kb.pair_loss(torch.cat((a, b)), torch.arange(len(a)).repeat(2), margin=1e4),
    "byol": kb.byol_loss,
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", HALF)
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    x = 1000 * torch.randn(6, 16, generator=torch.Generator().manual_seed(0))  # squares that float16 has not
    a, b = x[:3].to(dtype).requires_grad_(), x[3:].to(dtype)
    found = HALF[name](a, b)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, HALF[name](a.float(), b.float()))
    (gradient,) = torch.autograd.grad(found, a)
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()


def test_autocast_does_not_round_the_products() -> None:
    a, b = rows(16, 64, 0).float(), rows(16, 64, 1).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = kb.info_nce(a, b), kb.n_pair_loss(a, b), kb.vicreg_loss(a, b).total
    assert inside == (kb.info_nce(a, b), kb.n_pair_loss(a, b), kb.vicreg_loss(a, b).total)


def test_extreme_settings_overflow_nothing() -> None:
    a, b = rows(6, 4, 0), rows(6, 4, 1)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    losses = (
        kb.info_nce(a, b, temperature=1e-30),
        kb.circle_loss(a, labels, scale=1e6),
        kb.sigmoid_loss(a, b, scale=1e9),
    )
    for loss in losses:
        assert loss.isfinite()
        assert torch.autograd.grad(loss, a)[0].isfinite().all()
    assert kb.info_nce(torch.full((2, 2), torch.nan), torch.ones(2, 2)).isnan()


def test_the_slow_target_moves_by_what_is_left() -> None:
    online, target = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    wanted = 0.9 * target.weight + 0.1 * online.weight
    kb.follow(target, online, momentum=0.9)
    torch.testing.assert_close(target.weight, wanted)
    kb.follow(target, online, momentum=0)
    torch.testing.assert_close(target.bias, online.bias)


X, GOOD = torch.zeros(3, 2), torch.tensor([0, 1, 1])
REFUSED: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: kb.pair_loss(X.long(), GOOD), TypeError, "x_ND must be a floating-point tensor, got torch.int64"),
    (lambda: kb.pair_loss(X[:, 0], GOOD), ValueError, r"x_ND must be \[N, D\] .* got \(3,\)"),
    (lambda: kb.pair_loss(X, GOOD.float()), TypeError, "labels_N must be a tensor of integers, got torch.float32"),
    (lambda: kb.supcon_loss(X, GOOD > 0), TypeError, "labels_N must be a tensor of integers, got torch.bool"),
    (lambda: kb.pair_loss(X, GOOD[:2]), ValueError, r"labels_N must be \[3\]"),
    (lambda: kb.pair_loss(X, GOOD, margin=-1), ValueError, "margin must be a number above 0, got -1"),
    (lambda: kb.pair_loss(X, GOOD, power=3), ValueError, "power must be 1 or 2, got 3"),
    (lambda: kb.supcon_loss(X, GOOD, average="mean"), ValueError, "average must be one of out, in, got 'mean'"),
    (lambda: kb.circle_loss(X, GOOD, scale=0), ValueError, "scale must be a number above 0, got 0"),
    (lambda: kb.info_nce(X, X[:2]), ValueError, r"query_ND and positive_ND must have one shape, got \(3, 2\) and"),
    (lambda: kb.info_nce(X, X, X[:, :1]), ValueError, r"negatives_MD must have rows of 2 numbers, got \(3, 1\)"),
    (lambda: kb.info_nce(X, X, X, symmetric=True), ValueError, "symmetric has no use for negatives_MD"),
    (lambda: kb.nt_xent([[1.0]], X), TypeError, "a_ND must be a floating-point tensor"),  # type: ignore[arg-type]
    (lambda: kb.nt_xent(X, X.double()), TypeError, "b_ND must be of the other rows' dtype, torch.float32"),
    (lambda: kb.vicreg_loss(X, X, weights=(1.0, 1.0)), ValueError, "weights must be three"),  # type: ignore[arg-type]
    (lambda: kb.vicreg_loss(X[:1], X[:1]), ValueError, "a_ND must have at least two rows"),
    (lambda: kb.follow(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1), momentum=1.5), ValueError, "momentum must be"),
    (lambda: kb.follow(torch.nn.Linear(1, 1), torch.nn.Linear(1, 2), momentum=0.5), ValueError, "same names and"),
    (lambda: kb.n_pair_loss(X, X, length_weight=-1), ValueError, "length_weight must be a number of at least 0"),
    (lambda: kb.sigmoid_loss(X, X, scale=-10.0), ValueError, "scale must be a number above 0"),
    (lambda: kb.sigmoid_loss(X, X, scale=torch.ones(3)), ValueError, r"scale must .* got torch.float32 \(3,\)"),
    (lambda: kb.sigmoid_loss(X, X, bias=math.nan), ValueError, "bias must be a number, got nan"),
    (lambda: kb.vicreg_loss(X, X, weights=(1, -1, 1)), ValueError, "the weight of the variance must be a number of at"),
    *[
        (lambda wrong=wrong: kb.info_nce(X, X, temperature=wrong), ValueError, "temperature must be a number above 0")
        for wrong in (0, -1.0, math.nan, math.inf, "x", torch.ones(1), torch.tensor(1))
    ],
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
