"""A hundred steps of three models, by this package on two array libraries and by torch: the same losses, step by step.

The same weights, batches and precision (float64) on all sides; the loop and the models are written once. The MLP is
trained by hand as well. Kept small: what is compared are curves, not how good the models become.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from sklearn.datasets import load_digits

from kb import datasets
from kb.autograd import by_hand, models, nn, optim, schedulers
from kb.autograd import functional as F
from kb.autograd.fitting import fit

STEPS = 100
SAME = 1e-6
Batches = list[tuple[Any, Any]]
Make = Callable[[ModuleType, Any, Any], Any]


def digits(shape: tuple[int, ...], size: int) -> Batches:
    pixels, labels = load_digits(return_X_y=True)
    generator = np.random.default_rng(0)
    rows = [generator.integers(0, len(pixels), size) for _ in range(STEPS)]
    return [((pixels[row] / 16).reshape(size, *shape), labels[row]) for row in rows]


def characters(size: int, length: int) -> tuple[int, Batches]:
    text = np.frombuffer(datasets.read("tiny-shakespeare", "input.txt"), np.uint8)
    kinds, ids = np.unique(text, return_inverse=True)
    ids = ids.astype(np.int64)
    generator = np.random.default_rng(0)
    starts = [generator.integers(0, len(ids) - length, size) for _ in range(STEPS)]
    windows = [ids[start[:, None] + np.arange(length + 1)] for start in starts]
    return len(kinds), [(window[:, :-1], window[:, 1:]) for window in windows]


def cross_entropy(F: Any) -> Callable[[Any, Any], Any]:
    """Of logits [B, C] or [B, T, C], in the terms of either framework."""
    return lambda logits, targets: F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), label_smoothing=0.0
    )


def curve(side: str, make: Make, batches: Batches, optimizer: Callable[[Any, Any], Any], **options: Any) -> list[float]:
    """The losses of one side: "numpy", "torch" (ours on that library) or "reference", torch itself."""
    torch.manual_seed(0)
    model = make(torch.nn, TF, torch.float64)
    parts: tuple[Any, Any, Any] = (TF, torch.optim, torch.optim.lr_scheduler)
    if side != "reference":
        weights = model.state_dict()
        model = make(nn, F, np.float64)
        model.load_state_dict(weights)
        model.to(library=side)
        parts = (F, optim, schedulers)
    if side != "numpy":
        batches = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches]
    functions, optimizers, rates = parts
    stepper = optimizer(optimizers, model.parameters())
    scheduler = rates.CosineAnnealingLR(stepper, STEPS)
    return fit(model, batches, cross_entropy(functions), stepper, scheduler=scheduler, **options)


def assert_learns_alike(make: Make, batches: Batches, optimizer: Any, below: float, **options: Any) -> None:
    """All three curves are one, and it falls below a share of where it started."""
    reference = curve("reference", make, batches, optimizer, **options)
    assert len(reference) == STEPS
    for side in ("numpy", "torch"):
        np.testing.assert_allclose(
            curve(side, make, batches, optimizer, **options), reference, rtol=0, atol=SAME, err_msg=side
        )
    assert np.mean(reference[-10:]) < below * reference[0]


def test_an_mlp_on_digits_has_the_losses_of_torch() -> None:
    assert_learns_alike(
        lambda nn, F, dtype: models.mlp(nn, (64, 32, 10), dtype=dtype),
        digits((64,), 32),
        lambda optim, params: optim.SGD(params, lr=0.3, momentum=0.9, nesterov=True),
        0.2,
    )


def test_a_cnn_on_digits_has_the_losses_of_torch() -> None:
    assert_learns_alike(
        lambda nn, F, dtype: models.cnn(nn, dtype=dtype),
        digits((1, 8, 8), 32),
        lambda optim, params: optim.Adam(params, lr=0.01),
        0.2,
    )


def test_a_gpt_on_shakespeare_has_the_losses_of_torch() -> None:
    vocab, batches = characters(8, 16)
    assert_learns_alike(
        lambda nn, F, dtype: models.gpt(nn, F, vocab, context=16, width=32, heads=2, depth=2, dtype=dtype),
        batches,
        lambda optim, params: optim.AdamW(params, lr=0.01, weight_decay=0.1),
        0.75,
        max_norm=1.0,
    )


def test_an_mlp_by_hand_has_the_losses_of_the_tape() -> None:
    batches, rate = digits((64,), 32), 0.3
    by_hands = by_hand.MLP.initial((64, 32, 10), seed=0)
    model = models.mlp(nn, (64, 32, 10), dtype=np.float64)
    arrays = zip(model.state_dict(), by_hands.parameters, strict=True)
    model.load_state_dict({name: array.T.copy() for name, array in arrays})
    losses = fit(model, batches, F.cross_entropy, optim.SGD(model.parameters(), lr=rate))
    for (x, y), loss in zip(batches, losses, strict=True):
        own, gradients = by_hands.loss_and_gradients(x, y)
        by_hands.step(gradients, rate)
        assert own == pytest.approx(loss, rel=0, abs=SAME)
    assert np.mean(losses[-10:]) < 0.3 * losses[0]


def test_a_wrong_gradient_shows_in_the_losses() -> None:
    """The comparison can fail: one gradient that is a thousandth too large, and the curves part."""
    batches = digits((64,), 32)
    losses = []
    for factor in (1.0, 1.001):
        model = models.mlp(nn, (64, 32, 10), dtype=np.float64)
        weights = by_hand.MLP.initial((64, 32, 10), seed=0).parameters
        model.load_state_dict({name: w.T.copy() for name, w in zip(model.state_dict(), weights, strict=True)})
        model[0].weight.register_hook(lambda gradient, factor=factor: gradient * factor)
        losses.append(fit(model, batches, F.cross_entropy, optim.SGD(model.parameters(), lr=0.3)))
    assert losses[0][0] == losses[1][0]
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) > 10 * SAME


@pytest.mark.parametrize("max_norm", [0, -1.0, float("inf"), float("nan"), True, "1"])
def test_a_norm_to_clip_to_is_positive(max_norm: Any) -> None:
    model = models.mlp(nn, (2, 2))
    with pytest.raises(ValueError, match=r"max_norm.*got"):
        fit(model, [], F.mse_loss, optim.SGD(model.parameters(), lr=0.1), max_norm=max_norm)


@pytest.mark.parametrize("name", ["model", "loss"])
def test_what_is_called_can_be_called(name: str) -> None:
    model = models.mlp(nn, (2, 2))
    parts: dict[str, Any] = {"model": model, "loss": F.mse_loss, name: 3}
    with pytest.raises(TypeError, match=f"{name} must be callable, got int"):
        fit(batches=[], optimizer=optim.SGD(model.parameters(), lr=0.1), **parts)


def test_no_batch_is_no_step() -> None:
    model = models.mlp(nn, (2, 2))
    before = [parameter.detach().numpy().copy() for parameter in model.parameters()]
    assert fit(model, [], F.mse_loss, optim.SGD(model.parameters(), lr=0.1)) == []
    for parameter, old in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.detach().numpy(), old)
