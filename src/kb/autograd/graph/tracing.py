"""The tape behind a tensor as a list: what was computed, in which order, from what.

The tape holds only what gradients need. So an input that requires no gradient is not in the graph, and of a result in
the middle neither the number nor the name is known, unless a rule kept it or the caller names the variable. Unusual:
nothing is searched for the order, since nodes were numbered when they were made; each leaf stands just before the first
operation that uses it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kb.arguments import require_count
from kb.autograd import backend
from kb.autograd.backend import Array
from kb.autograd.backward import Key, Walk
from kb.autograd.tape import Node, Variable

MOST = 60  # more than this nobody can read


@dataclass(frozen=True)
class Vertex:
    """One leaf or one operation of a graph.

    Attributes:
        name: What the caller calls its result; empty where it has no name.
        op: The operation that made it; empty for a leaf.
        shape: Of its result.
        inputs: Where in the graph its inputs stand, in their order; one that was used twice comes twice.
        value: Its result, where the tape or the caller still holds it.
        gradient: The gradient of its result, where there is one.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    inputs: tuple[int, ...]
    value: Array | None = None
    gradient: Array | None = None

    @property
    def is_leaf(self) -> bool:
        """Whether no operation made it."""
        return not self.op

    @property
    def value_text(self) -> str:
        """A single number, where it is known; else the shape."""
        single = self.value is not None and math.prod(self.shape) == 1
        return number(backend.to_numpy(self.value).item()) if single else str(self.shape)

    @property
    def gradient_text(self) -> str:
        """A single number, between double bars the norm of several, or nothing where there is no gradient."""
        return "" if self.gradient is None else amount(self.gradient)


@dataclass(frozen=True)
class Graph:
    """What a tensor was computed from: leaves and operations, inputs before results, the tensor itself last.

    Attributes:
        vertices: In an order in which each comes after its inputs.
        keys: The nodes and leaves of the tape that they stand for.
    """

    vertices: tuple[Vertex, ...]
    keys: tuple[Key, ...]

    def __len__(self) -> int:
        return len(self.vertices)

    def label(self, place: int) -> str:
        """The name of a vertex; v and its place where it has none."""
        return self.vertices[place].name or f"v{place}"


def number(value: float) -> str:
    """Four digits of a number, and no minus before a zero."""
    return format(value + 0.0, ".4g")


def amount(array: Array) -> str:
    """A single number, or between double bars the Euclidean norm of several."""
    numbers = backend.to_numpy(array).astype(float).ravel().tolist()
    return number(numbers[0]) if len(numbers) == 1 else f"‖{math.hypot(*numbers):.2g}‖"


def trace(
    tensor: Variable, names: Mapping[Any, str] | None = None, *, gradients: bool = False, most: int = MOST
) -> Graph:
    """The graph that a tensor is the result of.

    Args:
        tensor: Requires a gradient.
        names: What variables are called, results in the middle included: ``{x: "x", product: "xy"}``.
        gradients: Walk back for the gradient of every vertex; no ``grad`` is written, but hooks are called. Without it
            only gradients that a variable holds in its ``grad`` are shown.
        most: How many vertices there may be.

    Raises:
        TypeError: the tensor is no variable, or ``names`` does not map variables to strings.
        ValueError: it requires no gradient, ``most`` is no positive integer, or there are more vertices than that.
        RuntimeError: the tape was used up by an earlier backward, or gradients are wanted of more than one number.
    """
    named = _checked_names(tensor, names, most)
    keys, shapes = _ordered(tensor, most)
    places = {key: place for place, key in enumerate(keys)}
    values = _values(keys, named)
    walked = Walk((tensor,), None, create_graph=False, keep=True).run(set(keys)) if gradients else {}
    vertices = [
        Vertex(
            name=names[named[key]] if names and key in named else "",
            op=key.name if isinstance(key, Node) else "",
            shape=tuple(shapes[key]),
            inputs=tuple(places[target] for target in _inputs(key)),
            value=values.get(key),
            gradient=walked.get(key, _kept_gradient(key, named)),
        )
        for key in keys
    ]
    return Graph(tuple(vertices), tuple(keys))


def _checked_names(tensor: Variable, names: Mapping[Any, str] | None, most: int) -> dict[Key, Variable]:
    """The named variables by what stands for them in the graph."""
    if not isinstance(tensor, Variable):
        raise TypeError(f"tensor must be a tensor of kb.autograd, got {type(tensor).__name__}")
    if not isinstance(names or {}, Mapping):
        raise TypeError(f"names must map tensors to strings, got {type(names).__name__}")
    for variable, name in (names or {}).items():
        if not isinstance(variable, Variable) or not isinstance(name, str):
            raise TypeError(f"names must map tensors to strings, got {type(variable).__name__} to {name!r}")
    if not tensor.requires_grad:
        raise ValueError("tensor requires no gradient, so nothing of how it was made is remembered")
    require_count("most", most)
    return {variable.node or variable: variable for variable in names or {}}


def _inputs(key: Key) -> list[Key]:
    return [target for target, _, _ in key.edges or ()] if isinstance(key, Node) else []


def _ordered(tensor: Variable, most: int) -> tuple[list[Key], dict[Key, tuple[int, ...]]]:
    """All nodes and leaves, each after its inputs, and their shapes."""
    shapes: dict[Key, tuple[int, ...]] = {tensor.node or tensor: tensor.data.shape}
    waiting: list[Key] = list(shapes)
    while waiting:
        key = waiting.pop()
        if not isinstance(key, Node):
            continue
        if key.edges is None:
            raise RuntimeError(
                f"the tape of {key.name!r} was used up by an earlier backward: pass retain_graph=True there"
            )
        for target, shape, _ in key.edges:
            if target not in shapes:
                shapes[target] = shape
                waiting.append(target)
        if len(shapes) > most:
            raise ValueError(f"the graph has more than {most} vertices; most= takes a larger number")
    ordered: dict[Key, None] = {}
    for node in sorted((key for key in shapes if isinstance(key, Node)), key=lambda node: node.number):
        ordered |= dict.fromkeys(_inputs(node))  # the nodes among them are there already
        ordered[node] = None
    return list(ordered) or [tensor], shapes


def _values(keys: list[Key], named: dict[Key, Variable]) -> dict[Key, Array]:
    """The results that are still held by a leaf, by a rule that will want them, or by the caller."""
    found: dict[Key, Array] = {key: key.data for key in keys if isinstance(key, Variable)}
    for key in keys:
        if isinstance(key, Node):
            if key.result is not None:
                found[key] = key.result.data
            for value in key.inputs:
                if isinstance(value, Variable):
                    found[value.node or value] = value.data
    return found | {key: variable.data for key, variable in named.items()}


def _kept_gradient(key: Key, named: dict[Key, Variable]) -> Array | None:
    holder = key if isinstance(key, Variable) else named.get(key)
    if isinstance(key, Node) and key.keeper is not None:
        holder = key.keeper() or holder
    return None if holder is None or holder.grad is None else holder.grad.data
