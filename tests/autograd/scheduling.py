"""Optimizers of ours and of torch with two learning rates each, and the rates that a scheduler gives them."""

from typing import Any

import numpy as np
import torch

from kb.autograd import optim


class Holder:
    def __init__(self) -> None:
        self.data, self.grad = np.ones(2), None


def ours_of(name: str = "SGD", lrs: tuple[float, ...] = (0.1, 0.02), **options: Any) -> Any:
    return getattr(optim, name)([{"params": [Holder()], "lr": lr} for lr in lrs], **options)


def theirs_of(name: str = "SGD", lrs: tuple[float, ...] = (0.1, 0.02), **options: Any) -> Any:
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": lr} for lr in lrs]
    return getattr(torch.optim, name)(groups, **options)


def rates(scheduler: Any, steps: int) -> list[list[float]]:
    """What every group has at each of the first numbers, with what else is scheduled."""
    found = []
    for _ in range(steps):
        groups = scheduler.optimizer.param_groups
        assert scheduler.get_last_lr() == [group["lr"] for group in groups]
        found.append([value for g in groups for value in (g["lr"], g.get("momentum", 0), *g.get("betas", ()))])
        scheduler.step()
    return found


def assert_equal(found: list[list[float]], wanted: list[list[float]], least: float = 1e-15) -> None:
    np.testing.assert_allclose(np.array(found), np.array(wanted), rtol=1e-12, atol=least)


def warm_up(module: Any, optimizer: Any) -> Any:
    return module.SequentialLR(
        optimizer,
        [
            module.LinearLR(optimizer, start_factor=0.1, total_iters=5),
            module.CosineAnnealingLR(optimizer, T_max=20, eta_min=1e-4),
            module.ExponentialLR(optimizer, gamma=0.5),
        ],
        milestones=[5, 25],
    )
