"""MMoE: one bank of experts, a softmax gate and a tower for each task; and the two models that it is held against.

The experts belong to no task: only gates and towers do. A shared bottom is the same with one expert, whose gate is
always 1, and single-task models are as many networks as there are tasks. Unusual: a gate is the router of language
models, with K = E for the paper's dense gate and a smaller K for a sparse one over the same bank.

Source: Ma et al. 2018, KDD, section 4 (equations 1, 6 and 7).
Shapes: T rows, D width, S tasks, E experts, O outputs of an expert.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from kb.arguments import require_count
from kb.moe.banks import ModuleExperts, SwiGLUExperts
from kb.moe.multi_task.gates import run_gates
from kb.moe.multi_task.perceptron import perceptron
from kb.moe.router_config import RouterConfig
from kb.moe.routing import Router, Routing


class MultiGateMixture(nn.Module):
    """MMoE.

    Args:
        experts: E of them, modules of any kind or the SwiGLU networks of a language model.
        gates: A router to these experts for each task.
        towers: For each task, a module from [T, O] to [T, 1].

    Raises:
        ValueError: gates and towers are not equally many, or a gate is not to as many experts as there are.
    """

    def __init__(
        self, experts: ModuleExperts | SwiGLUExperts, gates: Iterable[Router], towers: Iterable[nn.Module]
    ) -> None:
        super().__init__()
        gates = list(gates)
        self.experts = experts
        self.gates = nn.ModuleList(gates)
        self.towers = nn.ModuleList(towers)
        if not len(self.towers) or len(self.gates) != len(self.towers):
            raise ValueError(f"gates and towers must be one a task, got {len(self.gates)} and {len(self.towers)}")
        for gate in gates:
            if gate.config.num_experts != len(experts):
                raise ValueError(f"gates must be to {len(experts)} experts, got one to {gate.config.num_experts}")

    @classmethod
    def perceptrons(
        cls, width: int, tasks: int, num_experts: int, expert: Sequence[int], tower: Sequence[int], *, top_k: int = 0
    ) -> "MultiGateMixture":
        """Experts and towers of linear layers and ReLUs.

        Args:
            width: D.
            tasks: S.
            num_experts: E.
            expert: Widths of an expert's layers, the last one O.
            tower: Widths of a tower's layers but the last, which is 1.
            top_k: Experts of a row and task; 0 for all, as in the paper.

        Raises:
            ValueError: a size is out of its range.
        """
        for name, size in (("tasks", tasks), ("num_experts", num_experts)):
            require_count(name, size)
        require_count("top_k", top_k, least=0)
        config = RouterConfig(num_experts, top_k or num_experts)
        return cls(
            ModuleExperts(perceptron([width, *expert], last_relu=True) for _ in range(num_experts)),
            [Router(width, config) for _ in range(tasks)],
            [perceptron([expert[-1], *tower, 1], last_relu=False) for _ in range(tasks)],
        )

    def forward(self, x_TD: Tensor) -> tuple[Tensor, tuple[Routing, ...]]:
        """[T, D] to [T, S], one number a task (a logit, or the value itself), and each task's routing."""
        routings = tuple(gate(x_TD) for gate in self.gates)
        mixed = run_gates([x_TD] * len(self.experts), self.experts, routings)
        return apply_towers(self.towers, mixed), routings


class SharedBottom(nn.Module):
    """One network for all tasks, and a tower for each.

    Args:
        bottom: A module from [T, D] to [T, O].
        towers: For each task, a module from [T, O] to [T, 1].

    Raises:
        ValueError: there is no tower.
    """

    def __init__(self, bottom: nn.Module, towers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.bottom = bottom
        self.towers = nn.ModuleList(towers)
        if not len(self.towers):
            raise ValueError("towers must hold at least one, got none")

    @classmethod
    def perceptrons(cls, width: int, tasks: int, bottom: Sequence[int], tower: Sequence[int]) -> "SharedBottom":
        """Linear layers and ReLUs; arguments as those of :meth:`MultiGateMixture.perceptrons`."""
        require_count("tasks", tasks)
        return cls(
            perceptron([width, *bottom], last_relu=True),
            [perceptron([bottom[-1], *tower, 1], last_relu=False) for _ in range(tasks)],
        )

    def forward(self, x_TD: Tensor) -> tuple[Tensor, tuple[Routing, ...]]:
        """[T, D] to [T, S], and no routing."""
        return apply_towers(self.towers, [self.bottom(x_TD)] * len(self.towers)), ()


class SingleTasks(nn.Module):
    """A network of its own for each task.

    Args:
        networks: Modules from [T, D] to [T, 1].

    Raises:
        ValueError: there is none.
    """

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        if not len(self.networks):
            raise ValueError("networks must hold at least one, got none")

    def forward(self, x_TD: Tensor) -> tuple[Tensor, tuple[Routing, ...]]:
        """[T, D] to [T, S], and no routing."""
        return apply_towers(self.networks, [x_TD] * len(self.networks)), ()


def apply_towers(towers: nn.ModuleList, inputs: Sequence[Tensor]) -> Tensor:
    """[T, S]: each task's tower on its own input [T, O].

    Raises:
        ValueError: a tower gives something else than [T, 1].
    """
    columns = [tower(x_TO) for tower, x_TO in zip(towers, inputs, strict=True)]
    for column, x_TO in zip(columns, inputs, strict=True):
        if column.shape != (len(x_TO), 1):
            raise ValueError(f"towers must give [{len(x_TO)}, 1], got {tuple(column.shape)}")
    return torch.cat(columns, dim=1)
