"""Gradient checkpointing: keep the inputs of a part of the computation, and carry it out again when backward needs it.

With n operations in parts of sqrt(n) each, what is held at one time is the inputs of sqrt(n) parts and the values of
one of them, O(sqrt(n)) instead of O(n), for one more forward pass. Unusual: the part leaves its nodes on the tape as
any other, only emptied of what they kept. Backward walks them as if nothing were missing; the first one that it comes
to has the function run again, and all of them take their values from the nodes of the new run, in the order of their
numbers. So parameters that the function finds by itself, ``grad``, gradients of gradients and parts within parts need
nothing of their own.

Source: Chen, Xu, Zhang and Guestrin 2016, Training Deep Nets with Sublinear Memory Cost.
"""

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kb.autograd.draws import Draws
from kb.autograd.recording import enable_grad
from kb.autograd.tape import NUMBERS, Node, Variable

Function = Callable[..., Any]


def checkpoint(function: Function, *inputs: Any, generators: Sequence[Any] = ()) -> Any:
    """``function(*inputs)``, whose intermediate values are computed a second time for the gradient instead of kept.

    Args:
        function: To a tensor, or a tuple or list with tensors in it. It must do the same each time it is called, and
            what it reads must not be written between now and backward.
        inputs: What it is called with; tensors among them are kept.
        generators: Further ones that it draws from, of NumPy or torch; those of dropout are found. The second run draws
            what the first one drew, and leaves them as it found them.

    Returns:
        What the function gave.

    Raises:
        TypeError: the function cannot be called, or a generator is none.
        RuntimeError: in backward, if the second run did other operations than the first, or if what it reads has been
            written in place since.
    """
    if not callable(function):
        raise TypeError(f"function must be something to call, got {type(function).__name__}")
    draws = Draws()
    for generator in generators:
        draws.note(generator)
    start = next(NUMBERS)
    with draws.listening():
        outputs = function(*inputs)
    nodes = _nodes_since(start, outputs)
    if nodes:
        part = _Part(function, inputs, draws, nodes)
        for node in nodes:
            if node.inputs or node.result is not None or node.refill is not None:
                node.drop()
                node.refill = part.refill
    return outputs


class _Part:
    """What it takes to run a part again. The nodes hold it, so it holds them weakly: a circle is freed late."""

    def __init__(self, function: Function, inputs: tuple[Any, ...], draws: Draws, nodes: list[Node]) -> None:
        self.function, self.inputs, self.draws = function, inputs, draws
        self.versions = [value.version for value in inputs if isinstance(value, Variable)]
        self.signatures = [_signature(node) for node in nodes]
        self.nodes = [weakref.ref(node) for node in nodes]

    def refill(self) -> None:
        """Run the function again, and give what the new nodes keep to the old ones."""
        if self.versions != [value.version for value in self.inputs if isinstance(value, Variable)]:
            raise RuntimeError("an input of checkpoint() was written in place before backward ran the function again")
        start = next(NUMBERS)
        with self.draws.again(), enable_grad():
            news = _nodes_since(start, self.function(*self.inputs))
        if self.signatures != [_signature(node) for node in news]:
            raise RuntimeError(
                f"the function of checkpoint() is not repeatable: it did {_listed(self.signatures)} at first, and "
                f"{_listed(_signature(node) for node in news)} when backward ran it again"
            )
        for reference, new in zip(self.nodes, news, strict=True):
            old = reference()
            # One that was used up, or that another part has filled meanwhile, wants nothing.
            if old is None or old.edges is None or old.refill is None:
                continue
            if new.refill is None:
                _take(old, new)
            else:  # of a part within this one: it is run again when the walk comes to it
                old.refill = _Later(old, new)


class _Later:
    """Fills a node from another one that is itself still empty."""

    def __init__(self, old: Node, new: Node) -> None:
        self.old, self.new = weakref.ref(old), new

    def __call__(self) -> None:
        while self.new.refill is not None:  # more than once if there is a part within the part within
            self.new.refill()
        old = self.old()
        if old is not None:
            _take(old, self.new)


def _take(old: Node, new: Node) -> None:
    if old.versions != new.versions:
        raise RuntimeError(
            f"a tensor that the gradient of {old.name!r} needs was written in place before backward ran its "
            f"checkpoint() again (versions {old.versions}, now {new.versions})"
        )
    old.inputs, old.result, old.refill = new.inputs, new.result, None


def _nodes_since(start: int, outputs: Any) -> list[Node]:
    """The nodes newer than a number that some outputs depend on, oldest first."""
    found: dict[int, Node] = {}
    values = outputs if isinstance(outputs, list | tuple) else (outputs,)
    waiting = [value.node for value in values if isinstance(value, Variable) and value.node is not None]
    while waiting:
        node = waiting.pop()
        if node.number > start and node.number not in found:
            found[node.number] = node
            waiting.extend(target for target, _, _ in node.edges or () if isinstance(target, Node))
    return [found[number] for number in sorted(found)]


def _signature(node: Node) -> tuple[Any, ...]:
    """What must be the same of two nodes for one to keep the other's values."""
    return (node.name, tuple(way.place for way in node.plan.ways), tuple(shape for _, shape, _ in node.edges or ()))


def _listed(signatures: Iterable[tuple[Any, ...]]) -> str:
    names = [f"{name} of {', '.join(str(tuple(shape)) for shape in shapes)}" for name, _, shapes in signatures]
    return "; ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "nothing"
