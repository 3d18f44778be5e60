"""PLE: experts that belong to a task beside experts that all share, in layers; CGC is one such layer.

A task's gate sees the task's own experts and the shared ones, never those of another task. Between layers a shared
gate over all experts makes what the next layer's shared experts read. Unusual: there is one bank a layer, and who sees
what is a matter of the gates alone, so the machinery of MMoE runs it.

Source: Tang et al. 2020, Progressive Layered Extraction (PLE), RecSys, section 4.
Shapes: T rows, D width, S tasks, E experts of a layer in this order: those of task 0, of task 1, ..., the shared ones;
M experts that a gate sees; O outputs of an expert.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from kb.arguments import require_count
from kb.moe.banks import ModuleExperts
from kb.moe.multi_task.gates import run_gates, widened
from kb.moe.multi_task.multi_gate import apply_towers
from kb.moe.multi_task.perceptron import perceptron
from kb.moe.router_config import RouterConfig
from kb.moe.routing import Router, Routing


class ExtractionLayer(nn.Module):
    """One layer: experts, a gate for each task and, unless it is the last one, a gate for what is shared.

    Args:
        width: D of all inputs.
        specific: The experts of each task, modules from [T, D] to [T, O], at least one each.
        shared: The experts of all, at least one.
        last: Whether there is no gate for what is shared.

    Raises:
        ValueError: there is no task, or a task or the shared part has no expert.
    """

    def __init__(
        self, width: int, specific: Sequence[Sequence[nn.Module]], shared: Sequence[nn.Module], *, last: bool
    ) -> None:
        super().__init__()
        counts = [len(own) for own in specific]
        if not counts or not all(counts) or not shared:
            raise ValueError(f"each task and the shared part need at least one expert, got {counts} and {len(shared)}")
        self.experts = ModuleExperts([expert for own in [*specific, shared] for expert in own])
        self.tasks = len(specific)
        # Whose input an expert reads: task 0, 1, ..., and last the shared one.
        self.owners = tuple(s for s, own in enumerate([*specific, shared]) for _ in own)
        self.gates = nn.ModuleList(
            Router(width, RouterConfig(len(members), len(members)))
            for members in map(self.members, range(len(specific) + (0 if last else 1)))
        )

    def members(self, gate: int) -> list[int]:
        """Which experts a gate sees: its task's and the shared ones; the gate after the last task's sees all."""
        return [e for e, owner in enumerate(self.owners) if gate == self.tasks or owner in (gate, self.tasks)]

    def forward(self, inputs: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Routing, ...]]:
        """S + 1 inputs [T, D], each task's and the shared one, to an output [T, O] and a routing for each gate.

        Raises:
            ValueError: there are not as many inputs, or their shapes do not fit.
        """
        if len(inputs) != self.tasks + 1:
            raise ValueError(f"inputs must be {self.tasks + 1}, got {len(inputs)}")
        routings = []
        for number, (gate, x_TD) in enumerate(zip(self.gates, inputs, strict=False)):
            members_M = torch.tensor(self.members(number), device=x_TD.device)
            routings.append(widened(gate(x_TD), members_M, len(self.experts)))
        read = [inputs[owner] for owner in self.owners]
        return run_gates(read, self.experts, routings), tuple(routings)


class ProgressiveExtraction(nn.Module):
    """PLE: extraction layers, then a tower for each task.

    Args:
        layers: All but the last one with a gate for what is shared.
        towers: For each task, a module from [T, O] to [T, 1].

    Raises:
        ValueError: there is no layer, the last one has a shared gate or another lacks it, or tasks and towers are not
            equally many.
    """

    def __init__(self, layers: Iterable[ExtractionLayer], towers: Iterable[nn.Module]) -> None:
        super().__init__()
        layers = list(layers)
        self.layers = nn.ModuleList(layers)
        self.towers = nn.ModuleList(towers)
        gates = [len(layer.gates) for layer in layers]
        tasks = len(self.towers)
        if not gates or gates != [tasks + 1] * (len(gates) - 1) + [tasks]:
            raise ValueError(
                f"layers for {tasks} towers must have {tasks + 1} gates each and the last one {tasks}, got {gates}"
            )

    @classmethod
    def perceptrons(
        cls,
        width: int,
        tasks: int,
        specific: int,
        shared: int,
        expert: Sequence[int],
        tower: Sequence[int],
        *,
        num_layers: int = 1,
    ) -> "ProgressiveExtraction":
        """Experts and towers of linear layers and ReLUs.

        Args:
            width: D.
            tasks: S.
            specific: Experts of each task, in each layer.
            shared: Experts of all, in each layer.
            expert: Widths of an expert's layers, the last one O, which the next layer reads.
            tower: Widths of a tower's layers but the last, which is 1.
            num_layers: Extraction layers; 1 is CGC.

        Raises:
            ValueError: a size is not a positive integer.
        """
        for name, size in (("tasks", tasks), ("specific", specific), ("shared", shared), ("num_layers", num_layers)):
            require_count(name, size)

        def some(number: int, read: int) -> list[nn.Module]:
            return [perceptron([read, *expert], last_relu=True) for _ in range(number)]

        layers = []
        for number in range(num_layers):
            read = expert[-1] if number else width
            own = [some(specific, read) for _ in range(tasks)]
            layers.append(ExtractionLayer(read, own, some(shared, read), last=number == num_layers - 1))
        return cls(layers, [perceptron([expert[-1], *tower, 1], last_relu=False) for _ in range(tasks)])

    def forward(self, x_TD: Tensor) -> tuple[Tensor, tuple[Routing, ...]]:
        """[T, D] to [T, S], one number a task, and each task's routing of the last layer."""
        inputs: tuple[Tensor, ...] = (x_TD,) * (len(self.towers) + 1)
        routings: tuple[Routing, ...] = ()
        for layer in self.layers:
            inputs, routings = layer(inputs)
        return apply_towers(self.towers, inputs), routings
