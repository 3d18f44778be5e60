"""The training loop against one written out with torch alone, its schedules against torch's, and what it refuses."""

import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.lm import DecoderLM, ModelConfig
from kb.training import (
    Step,
    TrainConfig,
    constant,
    cosine,
    evaluate,
    initialize,
    linear,
    next_token_loss,
    random_windows,
    train,
    warmup_stable_decay,
)

SMALL = ModelConfig(16, 8, 12, 2, 2, 1, 4, 32)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(7, 3, generator=generator), torch.randn(7, 1, generator=generator)) for _ in range(count)]


def squared(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.mse_loss(model(batch[0]), batch[1])


def test_the_loop_is_torchs_optimizer_schedulers_and_clipping() -> None:
    ours, theirs = network(), network()
    steps, warmup, peak = 12, 3, 0.05
    config = TrainConfig(steps, learning_rate=peak, warmup=warmup, weight_decay=0.3, clip=0.2)
    reports = train(ours, batches(steps), squared, config)
    groups: list[dict[str, Any]] = [
        {"params": [theirs[0].weight, theirs[2].weight], "weight_decay": 0.3},
        {"params": [theirs[0].bias, theirs[2].bias], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.95))
    up = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
    down = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps - warmup - 1, eta_min=peak / 10)
    for number, batch in enumerate(batches(steps)):
        scheduler = up if number < warmup else down
        if number == warmup:  # the decay begins at the full rate
            for group in optimizer.param_groups:
                group["lr"] = peak
        loss = squared(theirs, batch)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(theirs.parameters(), 0.2)
        assert reports[number].loss == pytest.approx(float(loss.detach()), rel=1e-5)
        assert reports[number].gradient_norm == pytest.approx(float(norm), rel=1e-5)
        assert reports[number].rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        optimizer.step()
        optimizer.zero_grad()
        if number != warmup - 1:
            scheduler.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_schedules_at_their_ends_and_middle() -> None:
    assert [constant(x) for x in (0, 0.5, 1)] == [1, 1, 1]
    assert [cosine(x) for x in (0, 0.5, 1)] == pytest.approx([1, 0.55, 0.1])
    assert [linear(x, floor=0.2) for x in (0, 0.5, 1)] == pytest.approx([1, 0.6, 0.2])
    assert [warmup_stable_decay(0.2)(x) for x in (0, 0.8, 0.9, 1)] == pytest.approx([1, 1, 0.5, 0])
    for wrong in (0, 1.1, None):
        with pytest.raises(ValueError, match="decay must be a share above 0 and at most 1"):
            warmup_stable_decay(wrong)  # type: ignore[arg-type]


def test_rates_of_a_run_of_one_step_and_of_one_without_warmup() -> None:
    assert TrainConfig(1, learning_rate=2.0).rate(0) == 2.0
    config = TrainConfig(5, learning_rate=1.0, schedule=linear)
    assert [config.rate(step) for step in range(5)] == pytest.approx([1, 0.75, 0.5, 0.25, 0])


def test_metrics_are_kept_without_gradients_and_handed_on_after_each_step() -> None:
    model = network()
    seen: list[tuple[Step, Tensor]] = []

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        value = squared(model, batch)
        return value, {"twice": 2 * value}

    start = model[0].weight.detach().clone()
    steps = train(
        model, batches(3), loss, TrainConfig(3), after_step=lambda s: seen.append((s, model[0].weight.detach().clone()))
    )
    assert [step for step, _ in seen] == steps
    assert all(not torch.equal(weight, start) for _, weight in seen)
    for step in steps:
        assert not step.metrics["twice"].requires_grad
        assert float(step.metrics["twice"]) == pytest.approx(2 * step.loss)


def test_metrics_whose_shape_or_dtype_changes_are_kept_as_they_are() -> None:
    given = [torch.tensor([1.0, 2.0]), torch.tensor([3.0]), torch.tensor([4, 5]), torch.tensor([6.0, 7.0])]
    left = iter(given)
    steps = train(network(), batches(4), lambda m, b: (squared(m, b), {"some": next(left)}), TrainConfig(4))
    for step, wanted in zip(steps, given, strict=True):
        found = step.metrics["some"]
        assert torch.equal(found, wanted)
        assert found.dtype == wanted.dtype


def test_frozen_parameters_stay_and_the_mode_comes_back() -> None:
    model = network().eval()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    train(model, batches(2), squared, TrainConfig(2))
    assert torch.equal(model[0].weight, before)
    assert not model.training


def test_a_loss_that_is_not_finite_ends_the_run_with_the_weights_before_it() -> None:
    model = network()
    data = batches(3)
    data[1][0][0, 0] = float("nan")
    kept: list[Tensor] = []
    with pytest.raises(ValueError, match="loss of step 1 is not a finite number: nan"):
        train(model, data, squared, TrainConfig(3), after_step=lambda _: kept.append(model[0].weight.detach().clone()))
    assert len(kept) == 1
    assert torch.equal(model[0].weight, kept[0])
    assert model.training


def test_too_few_batches_and_nothing_to_train_are_refused() -> None:
    with pytest.raises(ValueError, match="batches ended after 2 of 3 steps"):
        train(network(), batches(2), squared, TrainConfig(3))
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        train(network().requires_grad_(False), batches(1), squared, TrainConfig(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be an integer of at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive number"),
        ({"learning_rate": float("inf")}, "learning_rate must be a positive number"),
        ({"warmup": -1}, "warmup must be an integer of at least 0"),
        ({"warmup": 10}, "warmup 10 leaves none of the 10 steps"),
        ({"weight_decay": -0.1}, "weight_decay must be a number of at least 0"),
        ({"betas": (0.9, 1.0)}, "betas must be two numbers"),
        ({"clip": 0}, "clip must be a positive number or None"),
    ],
)
def test_bad_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**({"steps": 10} | change))


def test_evaluation_weights_batches_by_their_length() -> None:
    model = network()
    (x, y), _ = batches(2)
    whole = float(squared(model, (x, y)).detach())

    class Rows(tuple):  # a batch whose length is its rows
        def __len__(self) -> int:
            return int(self[0].shape[0])

    parts = [Rows((x[:2], y[:2])), Rows((x[2:], y[2:]))]
    assert evaluate(model, parts, lambda m, b: F.mse_loss(m(b[0]), b[1])) == pytest.approx(whole)
    assert model.training
    with pytest.raises(ValueError, match="at least one batch"):
        evaluate(model, [], squared)


def test_evaluation_is_in_evaluation_mode() -> None:
    model = nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.5))
    (x, y), _ = batches(2)
    wanted = float(F.mse_loss(model[0](x), y).detach())
    assert evaluate(model, [(x, y)], squared) == pytest.approx(wanted)


def test_without_a_clip_the_gradient_is_taken_whole() -> None:
    ours, theirs = network(), network()
    data = [(100 * x, 100 * y) for x, y in batches(2)]
    (step, _) = train(ours, data, squared, TrainConfig(2, learning_rate=0.1, schedule=constant, clip=None))
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.1, betas=(0.9, 0.95), weight_decay=0.0)
    assert step.gradient_norm > 1
    optimizer.param_groups[0]["params"] = [theirs[0].weight, theirs[2].weight]
    optimizer.param_groups[0]["weight_decay"] = 0.1
    optimizer.add_param_group({"params": [theirs[0].bias, theirs[2].bias], "weight_decay": 0.0})
    for batch in data:
        optimizer.zero_grad()
        squared(theirs, batch).backward()
        optimizer.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_next_token_loss_is_the_mean_over_tokens_of_minus_log_probability() -> None:
    model = DecoderLM(SMALL)
    tokens_BT = torch.randint(16, (3, 7), generator=torch.Generator().manual_seed(0))
    log_BTV = model(tokens_BT[:, :-1]).log_softmax(-1)
    by_hand = -sum(log_BTV[b, t, tokens_BT[b, t + 1]] for b in range(3) for t in range(6)) / 18
    torch.testing.assert_close(next_token_loss(model, tokens_BT), by_hand)


def test_a_small_model_learns_a_repeating_text_and_twice_the_same_way() -> None:
    text_N = torch.arange(400) % 7
    losses = []
    for _ in range(2):
        model = DecoderLM(SMALL)
        initialize(model, seed=0)
        config = TrainConfig(150, learning_rate=1e-2, warmup=5)
        steps = train(model, random_windows(text_N, 16, 8, seed=0), next_token_loss, config)
        losses.append([step.loss for step in steps])
    assert losses[0] == losses[1]
    assert losses[0][0] > 2.5
    assert losses[0][-1] < 0.1


def test_metrics_may_change_their_names_and_shapes() -> None:
    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        number = next(numbers)
        values = {"always": torch.tensor([number, -number])}
        if number == 1:
            values = {"always": torch.tensor([float(number)]), "once": torch.ones(2, requires_grad=True) * 2}
        return squared(model, batch), values

    numbers = iter(range(3))
    first, second, third = (step.metrics for step in train(network(), batches(3), loss, TrainConfig(3)))
    assert list(first) == list(third) == ["always"]
    assert list(second) == ["always", "once"]
    assert third["always"].tolist() == [2, -2]
    assert second["always"].tolist() == [1.0]
    assert second["once"].tolist() == [2, 2]
    assert not second["once"].requires_grad
    assert first["always"].tolist() == [0, 0]
    assert "once" not in third
    assert str(first) == "{'always': tensor([0, 0])}"


GROWS = """
    import psutil, torch
    from torch import nn
    from kb.training import TrainConfig, train

    torch.set_num_threads(1)
    model = nn.Sequential(nn.Linear(8, 512), nn.Tanh(), nn.Linear(512, 1))
    at = {}

    def loss(model, batch):
        out = model(batch)
        return out.square().mean(), {"mean": out.mean(), "ends": out[:2, 0]}

    def after(step):
        at[step.number] = psutil.Process().memory_info().rss

    train(model, (torch.randn(2048, 8) for _ in range(120)), loss, TrainConfig(120), after_step=after)
    print((at[119] - at[19]) >> 20)
"""


def test_a_step_leaves_no_more_than_its_metrics_behind() -> None:
    """Small tensors kept at each step would be cut out of blocks that the next one needs: 4 MB a step."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(GROWS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) < 40


def test_a_gradient_that_is_not_finite_ends_the_run_before_the_weights() -> None:
    model = network()
    before = [parameter.detach().clone() for parameter in model.parameters()]

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return (model(batch[0]).sum() * 0).sqrt()  # 0, with a slope that is infinite times 0

    with pytest.raises(ValueError, match=r"the gradient of step 0 is not finite, its loss -?0.0 is"):
        train(model, batches(1), loss, TrainConfig(1))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
