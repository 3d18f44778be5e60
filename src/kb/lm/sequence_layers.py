"""What a layer over a sequence costs: operations, steps that must wait for each other, longest path between two tokens.

The three columns of the table that the Transformer's paper argues with, but with constants, and counted: a multiply-add
is two operations, and elementwise work is left out, as in ``kb.counting``.

Unusual: the paper's n² d of self-attention leaves out its four projections, 8 n d² operations here, which are more than
the 4 n² d of scores and values until n = 2 d. And the n² d of a causal layer is not halved, see ``kb.counting``.

Source: Vaswani et al. 2017, section 4 and table 1.
Shapes: n length of the sequence, d width of input and output, k width of the kernel.
"""

import math
from dataclasses import dataclass

from kb.arguments import require_count
from kb.nn import receptive_field

# Products with the input and with the state; each gate has one of both.
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


@dataclass(frozen=True)
class LayerCost:
    """What one layer, or a stack that connects all positions, costs for one sequence.

    Args:
        name: Of the kind.
        mixing_flops: Operations by which positions exchange something: what grows with n² in attention.
        projection_flops: All others: what each position would cost alone.
        sequential_steps: Products that have to wait for one another, if there are processors without end.
        longest_path: Layers, or steps of a recurrence, through which the first position reaches the last.
        layers: How many layers ``flops`` and ``sequential_steps`` are of.
    """

    name: str
    mixing_flops: int
    projection_flops: int
    sequential_steps: int
    longest_path: int
    layers: int = 1

    @property
    def flops(self) -> int:
        """All operations."""
        return self.mixing_flops + self.projection_flops


def self_attention_cost(length: int, width: int, *, kv_width: int | None = None) -> LayerCost:
    """4 n² d for scores and values, and 8 n d² for the projections of queries, keys, values and output.

    The number of heads does not matter: N heads of width d / N make the same products. Four of these wait for one
    another, however long the sequence: the projections side by side, scores, mixing of the values, output.

    Args:
        length: n.
        width: d.
        kv_width: Width of all keys of a token together, G · H where heads share them; d if not given.

    Raises:
        ValueError: one is not a positive integer.
    """
    kv_width = width if kv_width is None else kv_width
    _check(length=length, width=width, kv_width=kv_width)
    projections = 2 * length * width * (2 * width + 2 * kv_width)
    return LayerCost("self-attention", 4 * length**2 * width, projections, sequential_steps=4, longest_path=1)


def recurrence_cost(length: int, width: int, *, kind: str = "GRU") -> LayerCost:
    """4 n d² for each gate: a product with the input, and one with the state, which has to wait for the step before.

    Args:
        length: n.
        width: d, of input and state.
        kind: A key of ``GATES``.

    Raises:
        ValueError: a size is not a positive integer, or the kind is not known.
    """
    _check(length=length, width=width)
    if kind not in GATES:
        raise ValueError(f"kind {kind!r} is not known; wanted one of {', '.join(GATES)}")
    each = 2 * length * width**2 * GATES[kind]
    return LayerCost(kind, each, each, sequential_steps=length, longest_path=length)


def convolution_cost(length: int, width: int, *, kernel: int) -> LayerCost:
    """2 k n d² for one layer, of which 2 n d² are the product with the token itself.

    One layer connects k positions and no more: its longest path is 1, but only among those. For all positions, see
    :func:`convolution_stack_cost`.

    Raises:
        ValueError: one is not a positive integer.
    """
    _check(length=length, width=width, kernel=kernel)
    each = 2 * length * width**2
    return LayerCost("convolution", (kernel - 1) * each, each, sequential_steps=1, longest_path=1)


def contiguous_dilations(length: int, kernel: int) -> tuple[int, ...]:
    """Dilations, all 1, of the shallowest stack of plain convolutions whose last output sees n positions.

    ceil((n - 1) / (k - 1)) layers.

    Raises:
        ValueError: ``length`` is not a positive integer, or ``kernel`` none of at least 2.
    """
    _check(length=length)
    require_count("kernel", kernel, least=2)
    return (1,) * math.ceil((length - 1) / (kernel - 1))


def exponential_dilations(length: int, kernel: int) -> tuple[int, ...]:
    """Dilations 1, k, k², ... of the shallowest such stack of dilated convolutions: ceil(log_k n) layers.

    Raises:
        ValueError: ``length`` is not a positive integer, or ``kernel`` none of at least 2.
    """
    _check(length=length)
    require_count("kernel", kernel, least=2)
    dilations: list[int] = []
    while receptive_field(kernel, dilations) < length:
        dilations.append(kernel ** len(dilations))
    return tuple(dilations)


def convolution_stack_cost(length: int, width: int, *, kernel: int, dilated: bool = True) -> LayerCost:
    """A stack of convolutions, just deep enough for the last position to see the first.

    Raises:
        ValueError: a size is not a positive integer, or ``kernel`` under 2.
    """
    find = exponential_dilations if dilated else contiguous_dilations
    layers = len(find(length, kernel))
    one = convolution_cost(length, width, kernel=kernel)
    name = "dilated convolutions" if dilated else "convolutions"
    return LayerCost(name, layers * one.mixing_flops, layers * one.projection_flops, layers, layers, layers)


def equal_length(width: int, *, kind: str = "GRU") -> float:
    """The length n up to which self-attention needs fewer operations than a recurrence of that width.

    4 n² d + 8 n d² = 4 G n d² where n = (G - 2) d: d for a GRU, twice d for an LSTM, and never for a plain RNN. The
    paper's own comparison, n² d against n d², says d whatever the kind.

    Raises:
        ValueError: ``width`` is not a positive integer, or the kind is not known.
    """
    _check(width=width)
    if kind not in GATES:
        raise ValueError(f"kind {kind!r} is not known; wanted one of {', '.join(GATES)}")
    return max(0, GATES[kind] - 2) * width


def _check(**sizes: int) -> None:
    for name, size in sizes.items():
        require_count(name, size)
