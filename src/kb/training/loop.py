"""The training loop: a loss that is a function, AdamW, a warm-up and a schedule, a limit on the gradient's norm.

Unusual: what a step measured is returned, step by step, and nothing is printed or stored; a loss may give numbers
beside itself, and who wants to act on them between steps (a router's bias) gives a function. A loss that is not finite
ends the run before it has touched the weights.

Source: Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization (AdamW).
Shapes: B sequences, T tokens, V vocabulary.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from kb import datasets
from kb.arguments import is_number, require_count
from kb.training.metric_rows import MetricRows
from kb.training.schedules import Schedule, cosine

Measured = Tensor | tuple[Tensor, Mapping[str, Tensor]]
Loss = Callable[[Any, Any], Measured]


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """The model in training or in evaluation mode within the ``with`` block, and then in its own again."""
    was_training = model.training
    model.train(training)
    try:
        yield
    finally:
        model.train(was_training)


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Args:
        steps: How many batches.
        learning_rate: The highest one.
        warmup: Steps over which the rate rises along a line, the first at ``learning_rate / warmup``.
        schedule: The rate's factor after the warm-up, by how much of the rest is done (see
            :mod:`kb.training.schedules`).
        weight_decay: Of matrices; vectors (norms, biases) have none.
        betas: AdamW's two decay rates.
        clip: Longest that the gradient of all parameters together may be; None for any length.
        autocast: bfloat16, for ``torch.autocast`` to make the products in it; None for the dtype of the weights.
            Weights, gradients and the optimizer's state keep theirs either way.

    Raises:
        ValueError: a value is out of its range.
    """

    steps: int
    learning_rate: float = 3e-3
    warmup: int = 0
    schedule: Schedule = cosine
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float | None = 1.0
    autocast: torch.dtype | None = None

    def __post_init__(self) -> None:
        require_count("steps", self.steps)
        require_count("warmup", self.warmup, least=0)
        if not is_number(self.learning_rate) or self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be a positive number, got {self.learning_rate!r}")
        if not is_number(self.weight_decay) or self.weight_decay < 0:
            raise ValueError(f"weight_decay must be a number of at least 0, got {self.weight_decay!r}")
        if len(self.betas) != 2 or not all(is_number(beta) and 0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers of at least 0 and below 1, got {self.betas!r}")
        if self.clip is not None and not (is_number(self.clip) and self.clip > 0):
            raise ValueError(f"clip must be a positive number or None, got {self.clip!r}")
        if self.autocast not in (None, torch.bfloat16):
            raise ValueError(
                f"autocast must be torch.bfloat16 or None, got {self.autocast!r}: gradients are not scaled"
            )
        if self.warmup >= self.steps > 1:
            raise ValueError(f"warmup {self.warmup} leaves none of the {self.steps} steps at the full rate")

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        return self.learning_rate * self.schedule((step - self.warmup) / max(1, self.steps - self.warmup - 1))


@dataclass(frozen=True)
class Step:
    """What one step measured.

    Args:
        number: From 0.
        loss: Before the step, on its batch.
        rate: The learning rate.
        gradient_norm: Of all parameters together, before it was limited.
        metrics: What the loss gave beside itself, without gradients.
    """

    number: int
    loss: float
    rate: float
    gradient_norm: float
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


def next_token_loss(model: Any, tokens_BT: Tensor) -> Tensor:
    """Mean cross-entropy, in nats, of each token [B, T + 1] but the first, given those before it."""
    logits_BTV = model(tokens_BT[:, :-1])
    return F.cross_entropy(logits_BTV.flatten(0, 1), tokens_BT[:, 1:].flatten())


def train(
    model: nn.Module,
    batches: Iterable[Any],
    loss: Loss,
    config: TrainConfig,
    *,
    after_step: Callable[[Step], None] | None = None,
    rates: Mapping[str, float] | None = None,
) -> list[Step]:
    """Train a model in place; it comes back in the mode, training or evaluation, in which it came.

    Args:
        model: Those of its parameters that require a gradient are trained.
        batches: As many as there are steps are taken.
        loss: Of a model and a batch, a number; or that and a mapping of tensors, which the step then holds.
        config: How.
        after_step: Called with each step when the weights have changed.
        rates: By a parameter's name, what the learning rate is multiplied by for it (see
            ``kb.training.width_transfer``); the step's ``rate`` is without it. None for 1 throughout.

    Returns:
        One entry a step.

    Raises:
        ValueError: nothing is to be trained, there are fewer batches than steps, ``rates`` are not numbers of at
            least 0 for just these parameters, or the loss or its gradient is not finite.
    """
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not named:
        raise ValueError("model has no parameter that requires a gradient")
    optimizer = _adamw(named, config, dict.fromkeys(named, 1.0) if rates is None else rates)
    parameters = list(named.values())
    steps, rows = list[Step](), MetricRows(config.steps)
    hidden = not datasets.shows_progress()
    with in_mode(model, training=True), tqdm(total=config.steps, desc="training", disable=hidden, leave=False) as bar:
        for number, batch in enumerate(islice(batches, config.steps)):
            steps.append(_step(model, parameters, optimizer, loss, batch, number, config, rows))
            if after_step is not None:
                after_step(steps[-1])
            bar.update()
    if len(steps) < config.steps:
        raise ValueError(f"batches ended after {len(steps)} of {config.steps} steps; the model has made these")
    return steps


def _adamw(named: Mapping[str, nn.Parameter], config: TrainConfig, rates: Mapping[str, float]) -> torch.optim.AdamW:
    """A group for each multiple of the rate, and in it vectors apart, as they do not decay."""
    if set(rates) != set(named):
        raise ValueError(f"rates must be of the trained parameters; not both are {', '.join(set(rates) ^ set(named))}")
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in named.items():
        multiple, decays = rates[name], parameter.ndim > 1
        if not is_number(multiple) or multiple < 0:
            raise ValueError(f"rates of {name} must be a number of at least 0, got {multiple!r}")
        decay = config.weight_decay if decays else 0.0
        group = groups.setdefault((multiple, decays), {"params": [], "multiple": multiple, "weight_decay": decay})
        group["params"].append(parameter)
    return torch.optim.AdamW(list(groups.values()), lr=config.learning_rate, betas=config.betas)


def _step(
    model: nn.Module,
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    loss: Loss,
    batch: Any,
    number: int,
    config: TrainConfig,
    rows: MetricRows,
) -> Step:
    rate = config.rate(number)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["multiple"]
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(parameters[0].device.type, dtype=config.autocast, enabled=config.autocast is not None):
        measured = loss(model, batch)
    value, metrics = measured if isinstance(measured, tuple) else (measured, {})
    if value.ndim or not torch.isfinite(value):
        raise ValueError(f"the loss of step {number} is not a finite number: {value.detach()}")
    value.backward()
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.clip if config.clip is not None else float("inf")))
    if not math.isfinite(norm):
        raise ValueError(f"the gradient of step {number} is not finite, its loss {float(value.detach())} is")
    optimizer.step()
    return Step(number, float(value.detach()), rate, norm, rows.write(number, metrics))


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[Any], loss: Loss = next_token_loss) -> float:
    """Mean loss over batches, each weighted by its length, in evaluation mode; the model comes back in its own.

    Raises:
        ValueError: there are no batches.
    """
    total, count = 0.0, 0
    with in_mode(model, training=False):
        for batch in batches:
            measured = loss(model, batch)
            value = measured[0] if isinstance(measured, tuple) else measured
            total += float(value) * len(batch)
            count += len(batch)
    if not count:
        raise ValueError("batches must hold at least one batch, got none")
    return total / count
