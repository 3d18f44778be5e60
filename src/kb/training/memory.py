"""What training keeps for each parameter before a single activation: weights, gradients, the optimizer's numbers.

With Adam in mixed precision that is 16 bytes a parameter: the weight and its gradient in two bytes each, and in four
bytes each a master copy of the weight and two moments. Unusual: nothing is measured, all is counted from shapes, so
that a model need not exist; tests hold the counts against what real optimizers keep.

Sources: Rajbhandari et al. 2020, ZeRO, section 3.1 (the 16 bytes); Shazeer and Stern 2018, Adafactor, section 3 (rows
and columns).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from kb.arguments import require_count

Shape = tuple[int, ...]


def nothing(shape: Shape) -> int:
    """What plain SGD keeps: no number."""
    return 0


def one_buffer(shape: Shape) -> int:
    """A number for each of the parameter's: momentum, Adagrad, RMSprop, Lion, Muon."""
    return math.prod(shape)


def two_buffers(shape: Shape) -> int:
    """Two numbers for each of the parameter's: Adam, AdamW, LAMB."""
    return 2 * math.prod(shape)


def rows_and_columns(shape: Shape) -> int:
    """Adafactor without a first moment: one for each row and column of the last two axes, or all of a vector."""
    if len(shape) < 2:
        return math.prod(shape)
    return math.prod(shape[:-2]) * (shape[-2] + shape[-1])


KEPT: Mapping[str, Callable[[Shape], int]] = {
    "SGD": nothing,
    "SGD, momentum": one_buffer,
    "Adagrad": one_buffer,
    "RMSprop": one_buffer,
    "Adam": two_buffers,
    "AdamW": two_buffers,
    "LAMB": two_buffers,
    "Lion": one_buffer,
    "Muon": one_buffer,
    "Adafactor": rows_and_columns,
}


@dataclass(frozen=True)
class Precision:
    """Bytes of each kind of number; ``master`` is 0 where the weights themselves are what the optimizer updates.

    Raises:
        ValueError: one is not an integer of at least 0, or the weights have none.
    """

    weight: int = 2
    gradient: int = 2
    master: int = 4
    state: int = 4

    def __post_init__(self) -> None:
        for name in ("weight", "gradient", "master", "state"):
            require_count(name, getattr(self, name), least=int(name == "weight"))


MIXED = Precision()
FULL = Precision(weight=4, gradient=4, master=0, state=4)


@dataclass(frozen=True)
class TrainingBytes:
    """Bytes of a model in training, activations left out."""

    parameters: int
    weights: int
    gradients: int
    master: int
    states: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.gradients + self.master + self.states

    @property
    def per_parameter(self) -> float:
        """Bytes for one parameter."""
        return self.total / self.parameters


def training_bytes(
    shapes: Iterable[Shape], kept: Callable[[Shape], int], precision: Precision = MIXED
) -> TrainingBytes:
    """The bytes of a model's tensors under one optimizer.

    Args:
        shapes: Of the parameters.
        kept: How many numbers the optimizer keeps for a tensor of a shape; see ``KEPT``.
        precision: How large the numbers are.

    Raises:
        ValueError: there is no parameter, or a size is no integer of at least 0.
    """
    listed = [tuple(shape) for shape in shapes]
    for shape in listed:
        for size in shape:
            require_count("a size in shapes", size, least=0)
    parameters = sum(math.prod(shape) for shape in listed)
    if not parameters:
        raise ValueError("shapes must hold at least one parameter, got none")
    return TrainingBytes(
        parameters,
        parameters * precision.weight,
        parameters * precision.gradient,
        parameters * precision.master,
        sum(kept(shape) for shape in listed) * precision.state,
    )
