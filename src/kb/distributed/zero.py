"""ZeRO: data parallelism that holds each number once among all ranks, and not once on each.

Stage 0 is plain data parallelism. Stage 1 shares out the optimizer's states (and the weights in full precision that it
steps), stage 2 gradients too, stage 3 parameters too. Weights lie in units, such as the layers of a model; a unit is
one flat vector, padded so that R ranks divide it, of which rank r owns run r. Only the owner steps it.

A step sends 2 Ψ numbers a rank in stages 0 to 2 (times (R - 1) / R): an all-reduce, or a reduce-scatter of gradients
and an all-gather of stepped weights. In stage 3 it is 3 Ψ: weights are gathered for the forward pass, freed, gathered
again for the backward pass, and gradients are scattered.

Unusual: an optimizer is taken from torch and sees this rank's runs as its parameters. So it must work number by number
as Adam does: one that looks at whole matrices (Adafactor, LAMB, Muon) would see pieces.

Source: Rajbhandari et al. 2020, ZeRO, sections 5 (stages) and 7 (communication).
Letters: R ranks (the paper's N_d), Ψ parameters, N numbers of a unit.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Variable

from kb.arguments import is_integer, is_number
from kb.distributed.collectives import Collectives
from kb.distributed.flat_unit import FlatUnit

MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class HeldBytes:
    """What lies in this rank's memory, in bytes: weights for the passes, gradients, and what the optimizer keeps."""

    parameters: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        """Of all three."""
        return self.parameters + self.gradients + self.optimizer


class Zero:
    """Sharded training of a model, in place of its optimizer.

    Between steps: a forward and a backward pass of this rank's part of the batch, as often as gradients are to add up;
    then :meth:`step`. Gradients are averaged over ranks.

    Args:
        model: Equal on all ranks. Its parameters become views of flat units; in stage 3 they are empty between passes.
        units: Modules of it, which hold each of its parameters once; in stage 3 each is called once in a pass, and
            returns a tensor.
        make_optimizer: From this rank's runs, in ``master_dtype``, to an optimizer that works number by number.
        stage: 0 to 3.
        group: The ranks; None for every process there is.
        master_dtype: Of the weights that are stepped, such as float32 for a model in bfloat16.

    Raises:
        RuntimeError: torch.distributed is not initialised.
        ValueError: there is no such stage, or a parameter is in no unit or in two, as tied embeddings are.
        LostRankError: a rank died, or did not answer within the timeout of its group; also raised in passes.
    """

    def __init__(
        self,
        model: nn.Module,
        units: Sequence[nn.Module],
        make_optimizer: MakeOptimizer,
        stage: int,
        group: dist.ProcessGroup | None = None,
        *,
        master_dtype: torch.dtype = torch.float32,
    ) -> None:
        if not is_integer(stage) or not 0 <= stage <= 3:
            raise ValueError(f"stage must be 0, 1, 2 or 3, got {stage!r}")
        _check_units(model, units)
        self.stage, self.comm, self.armed = stage, Collectives(group), False
        self.units = [FlatUnit(module, self.comm, stage > 0, master_dtype) for module in units]
        self.optimizer = make_optimizer([unit.master for unit in self.units])
        for module, unit in zip(units, self.units, strict=True):
            if stage >= 2:
                for parameter in unit.parameters:
                    parameter.register_post_accumulate_grad_hook(partial(self._ready, unit))
            if stage == 3:
                unit.keep_part()
                module.register_forward_pre_hook(lambda module, inputs, unit=unit: unit.gather())
                module.register_forward_hook(partial(self._after_forward, unit))

    def step(self, max_norm: float | None = None) -> float:
        """Step this rank's runs, and make the others' known; gradients are gone afterwards.

        Args:
            max_norm: Longest that the averaged gradient of all parameters may be; None for any length.

        Returns:
            The length of that gradient, over all ranks' runs, before it was cut.

        Raises:
            LostRankError: a rank died, or did not answer within the timeout of its group.
            ValueError: ``max_norm`` is not a positive number.
        """
        if max_norm is not None and not (is_number(max_norm) and max_norm > 0):
            raise ValueError(f"max_norm must be a positive number, got {max_norm!r}")
        self.armed = False
        for unit in self.units:
            if self.stage < 2 or unit.arrived:
                unit.reduce()
        squares = torch.stack([unit.gradient_or_zeros().double().square().sum() for unit in self.units]).sum()
        if self.stage > 0:  # each rank knows its runs alone: the norm is of all
            self.comm.all_reduce(squares)
        norm = float(squares.sqrt())
        scale = 1.0 if max_norm is None else min(1.0, max_norm / (norm + 1e-6))
        for unit in self.units:
            unit.master.grad = unit.gradient_or_zeros().to(unit.master.dtype) * scale
        self.optimizer.step()
        for unit in self.units:
            unit.take_step(gather=self.stage in (1, 2))
        return norm

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Within, all parameters are there, as for an evaluation or a checkpoint; every rank must take part."""
        for unit in self.units:
            unit.gather()
        try:
            yield
        finally:
            for unit in self.units:
                unit.free()

    def held_bytes(self) -> HeldBytes:
        """What this rank holds now."""
        state = [x for entry in self.optimizer.state.values() for x in entry.values() if isinstance(x, Tensor)]
        return HeldBytes(
            sum(unit.parameter_bytes() for unit in self.units),
            sum(unit.gradient_bytes() for unit in self.units),
            sum(unit.master.nbytes for unit in self.units) + sum(x.nbytes for x in state if x.ndim),
        )

    def _ready(self, unit: FlatUnit, parameter: nn.Parameter) -> None:
        """A parameter has its gradient; with the last one of its unit they leave, and so do weights in stage 3."""
        if not self.armed:  # the first gradient of this pass
            self.armed = True
            finish: Callable[[], None] = self._finish
            Variable._execution_engine.queue_callback(finish)  # when the pass is over
        unit.arrived += 1
        if unit.arrived == len(unit.parameters):
            unit.reduce()
            unit.free()

    def _finish(self) -> None:
        """Nothing waits longer than a pass: a unit of which a parameter was not used leaves now."""
        self.armed = False
        for unit in self.units:
            if unit.arrived:
                unit.reduce()
                unit.free()

    def _after_forward(self, unit: FlatUnit, module: nn.Module, inputs: object, out: object) -> None:
        unit.free()
        if not isinstance(out, Tensor):
            raise TypeError(f"units of stage 3 must return a tensor, got {type(out).__name__}")
        if out.requires_grad:
            out.register_hook(lambda gradient: unit.gather())


def _check_units(model: nn.Module, units: Sequence[nn.Module]) -> None:
    held = [id(parameter) for unit in units for parameter in unit.parameters()]
    if len(held) != len(set(held)):
        raise ValueError("units must not share a parameter, as tied embeddings do: put both into one unit")
    missing = [name for name, parameter in model.named_parameters() if id(parameter) not in set(held)]
    if missing:
        raise ValueError(f"units must hold every parameter of the model, and lack {missing[0]}")
