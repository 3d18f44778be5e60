"""Losses equal torch's with every option: ignored and weighted classes, smoothing, probabilities, empty batches."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.autograd import Tensor, losses

REDUCTIONS = st.sampled_from(["mean", "sum", "none"])


def draw_classification(against_torch: Any, data: st.DataObject) -> tuple[Any, Any, Any, np.random.Generator]:
    classes = data.draw(st.integers(1, 4))
    places = tuple(data.draw(st.lists(st.integers(0, 3), max_size=2)))
    shape = (places[0], classes, *places[1:]) if places else (classes,)
    generator = np.random.default_rng(data.draw(st.integers(0, 999)))
    x = against_torch.draw(data, shape)
    weight = generator.uniform(0.1, 2.0, classes) if data.draw(st.booleans()) else None
    return x, places, weight, generator


def both(against_torch: Any, weight: Any) -> tuple[Any, Any]:
    """The weight for us and for torch."""
    if weight is None:
        return None, None
    return against_torch.tensor(weight), torch.tensor(weight)


@settings(max_examples=120)
@given(data=st.data())
def test_cross_entropy_and_nll_of_classes_equal_torchs(against_torch: Any, data: st.DataObject) -> None:
    x, places, weight, generator = draw_classification(against_torch, data)
    targets = generator.integers(0, x.shape[0] if x.ndim == 1 else x.shape[1], places)
    ignored = data.draw(st.sampled_from([-100, 0, 7, -1]))
    if data.draw(st.booleans()):
        targets = np.asarray(
            np.where(generator.random(places) < data.draw(st.sampled_from([0.5, 1.0])), ignored, targets)
        )
    options = {"reduction": data.draw(REDUCTIONS), "ignore_index": ignored}
    mine, yours = both(against_torch, weight)
    # Of no row that counts, the gradient with respect to g is NaN in torch, and 0 here.
    second = bool((targets != ignored).any())
    against_torch.same(
        lambda x, t: losses.nll_loss(x, t, mine, **options),
        lambda x, t: TF.nll_loss(x, t, yours, **options),
        x,
        targets,
        second=second,
    )
    options["label_smoothing"] = data.draw(st.sampled_from([0.0, 0.1, 1.0]))
    against_torch.same(
        lambda x, t: losses.cross_entropy(x, t, mine, **options),
        lambda x, t: TF.cross_entropy(x, t, yours, **options),
        x,
        targets,
        second=second,
    )


@settings(max_examples=50)
@given(data=st.data())
def test_cross_entropy_of_probabilities_equals_torchs(against_torch: Any, data: st.DataObject) -> None:
    x, _, weight, generator = draw_classification(against_torch, data)
    likely = generator.random(x.shape)
    options = {"reduction": data.draw(REDUCTIONS), "label_smoothing": data.draw(st.sampled_from([0.0, 0.3]))}
    mine, yours = both(against_torch, weight)
    against_torch.same(
        lambda x, t: losses.cross_entropy(x, t, mine, **options),
        lambda x, t: TF.cross_entropy(x, t, yours, **options),
        x,
        likely,
        second=x.size > 0,
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_all_ignored_is_nan_with_a_gradient_of_zeros(against_torch: Any, smoothing: float, weighted: bool) -> None:
    x = against_torch.tensor(np.random.default_rng(0).normal(size=(3, 4)), requires_grad=True)
    targets = against_torch.tensor(np.full(3, -100))
    weight = against_torch.tensor(np.ones(4)) if weighted else None
    loss = losses.cross_entropy(x, targets, weight, label_smoothing=smoothing)
    loss.backward()
    assert np.isnan(loss.item())
    np.testing.assert_array_equal(x.grad.numpy(), 0.0)
    assert losses.cross_entropy(x, targets, weight, reduction="sum").item() == 0.0


def test_an_ignored_row_may_hold_anything(against_torch: Any) -> None:
    x = np.array([[np.inf, np.nan, -np.inf], [1.0, 2.0, -np.inf]])
    tensor = against_torch.tensor(x, requires_grad=True)
    loss = losses.nll_loss(tensor, against_torch.tensor(np.array([-100, 1])))
    loss.backward()
    assert loss.item() == -2.0
    np.testing.assert_array_equal(tensor.grad.numpy(), [[0, 0, 0], [0, -1, 0]])


@settings(max_examples=80)
@given(data=st.data())
def test_losses_of_differences_equal_torchs(against_torch: Any, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["l1_loss", "mse_loss", "huber_loss", "smooth_l1_loss"]))
    shape = data.draw(st.lists(st.integers(0, 3), max_size=2))
    x, t, weight = (against_torch.draw(data, shape, *bounds) for bounds in ((-2, 2), (-2, 2), (0.1, 1)))
    options: dict[str, Any] = {"reduction": data.draw(REDUCTIONS)}
    if name == "huber_loss":
        options["delta"] = data.draw(st.sampled_from([0.3, 1.0, 2.0]))
    if name == "smooth_l1_loss":
        options["beta"] = data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    inputs = [x, t, weight] if name != "smooth_l1_loss" and data.draw(st.booleans()) else [x, t]

    def ours(x: Any, t: Any, w: Any = None) -> Any:
        return getattr(losses, name)(x, t, **options, **({} if w is None else {"weight": w}))

    def theirs(x: Any, t: Any, w: Any = None) -> Any:
        return getattr(TF, name)(x, t, **options, **({} if w is None else {"weight": w}))

    against_torch.same(ours, theirs, *inputs, second=x.size > 0)  # of no numbers: 0 with torch, NaN with us


@pytest.mark.parametrize("name", ["l1_loss", "mse_loss", "huber_loss", "smooth_l1_loss"])
def test_losses_at_their_bends_and_at_infinity_equal_torchs(against_torch: Any, name: str) -> None:
    x, t = np.array([-2.0, -1.0, 0.0, 1.0, 2.0, np.inf, np.nan]), np.zeros(7)
    against_torch.same(
        lambda x: getattr(losses, name)(x, against_torch.array(t), reduction="none"),
        lambda x: getattr(TF, name)(x, torch.tensor(t), reduction="none"),
        x,
        second=False,
    )


@settings(max_examples=60)
@given(data=st.data())
def test_binary_cross_entropy_equals_torchs(against_torch: Any, data: st.DataObject) -> None:
    shape = (data.draw(st.integers(0, 3)), data.draw(st.integers(1, 3)))
    x, t = against_torch.draw(data, shape, -30, 30), against_torch.draw(data, shape, 0, 1)
    weights = [
        against_torch.draw(data, kind, 0.1, 3) if data.draw(st.booleans()) else None for kind in (shape, shape[1:])
    ]
    mine, yours = zip(*(both(against_torch, weight) for weight in weights), strict=True)
    reduction = data.draw(REDUCTIONS)
    against_torch.same(
        lambda x, t: losses.binary_cross_entropy_with_logits(x, t, mine[0], reduction=reduction, pos_weight=mine[1]),
        lambda x, t: TF.binary_cross_entropy_with_logits(x, t, yours[0], reduction=reduction, pos_weight=yours[1]),
        x,
        t,
        second=x.size > 0,
    )


@pytest.mark.filterwarnings("ignore:reduction")
@settings(max_examples=60)
@given(data=st.data())
def test_kl_div_equals_torchs(against_torch: Any, data: st.DataObject) -> None:
    shape = (data.draw(st.integers(0, 3)), data.draw(st.integers(1, 3)))
    x, t = against_torch.draw(data, shape, -3, 0), against_torch.draw(data, shape, 0.01, 1)
    reduction, log_target = data.draw(REDUCTIONS | st.just("batchmean")), data.draw(st.booleans())
    options: dict[str, Any] = {"reduction": reduction, "log_target": log_target}
    against_torch.same(
        lambda x, t: losses.kl_div(x, t, **options), lambda x, t: TF.kl_div(x, t, **options), x, t, second=shape[0] > 0
    )


def test_kl_div_to_targets_of_zero(against_torch: Any) -> None:
    x, t = np.array([[-1.0, -2.0, -0.5]]), np.array([[0.0, 0.5, -1.0]])
    against_torch.same(
        lambda x: losses.kl_div(x, against_torch.array(t), reduction="none"),
        lambda x: TF.kl_div(x, torch.tensor(t), reduction="none"),
        x,
    )
    target = against_torch.tensor(t[:, :2], requires_grad=True)
    losses.kl_div(against_torch.tensor(x[:, :2]), target, reduction="sum").backward()
    assert np.isfinite(target.grad.numpy()).all()


X, T = np.ones((2, 3)), np.array([0, 2])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.cross_entropy(X, np.array([0, 3])), ValueError, "target must be from 0 to 2, got 3"),
        (lambda: losses.cross_entropy(X, np.array([0, -1])), ValueError, "got -1"),
        (lambda: losses.cross_entropy(X, np.array([0])), ValueError, "target must have shape"),
        (lambda: losses.cross_entropy(X, T * 1.0), TypeError, "target must be integers"),
        (lambda: losses.cross_entropy(X, X.astype(int)), TypeError, "target must be floating"),
        (lambda: losses.cross_entropy(X, X, ignore_index=1), ValueError, "ignore_index"),
        (lambda: losses.cross_entropy(X, T, ignore_index=1.5), ValueError, "ignore_index"),
        (lambda: losses.cross_entropy(X, T, np.ones(2)), ValueError, "weight must have shape"),
        (lambda: losses.cross_entropy(X, T, np.ones(3, np.float32)), TypeError, "one dtype"),
        (lambda: losses.cross_entropy(X, T, label_smoothing=1.1), ValueError, "label_smoothing"),
        (lambda: losses.cross_entropy(X, T, reduction="most"), ValueError, "reduction"),
        (lambda: losses.cross_entropy(X[:, :0], T), ValueError, "at least one class"),
        (lambda: losses.cross_entropy(X.astype(int), T), TypeError, "input must be floating"),
        (lambda: losses.cross_entropy(X, [0, 2]), TypeError, "target must be a tensor"),
        (lambda: losses.cross_entropy(X, torch.tensor(T)), TypeError, "in one operation"),
        (lambda: losses.nll_loss(X, X), TypeError, "target must be integers"),
        (lambda: losses.mse_loss(X, X[:1]), ValueError, "target must have the shape"),
        (lambda: losses.mse_loss(X, X, weight=X[0]), ValueError, "weight must have the shape"),
        (lambda: losses.mse_loss(X, X, reduction="batchmean"), ValueError, "reduction"),
        (lambda: losses.mse_loss(X, X.astype(int)), TypeError, "target must be floating"),
        (lambda: losses.huber_loss(X, X, delta=0), ValueError, "delta"),
        (lambda: losses.smooth_l1_loss(X, X, beta=-1), ValueError, "beta"),
        (lambda: losses.kl_div(np.array(1.0), np.array(1.0), reduction="batchmean"), ValueError, "batchmean"),
        (lambda: losses.binary_cross_entropy_with_logits(X, X, X[:, :2]), ValueError, "weight"),
        (lambda: losses.binary_cross_entropy_with_logits(X, X, pos_weight=X[:, :2]), ValueError, "pos_weight"),
        (lambda: losses.binary_cross_entropy_with_logits(Tensor(X), Tensor(T)), TypeError, "target"),
    ],
)
def test_bad_input(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
