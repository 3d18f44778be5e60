"""The walk back along the tape: every node once, newest first, handing gradients to the inputs of each.

A node's number tells its place in a topological order, so the walk is a sort and a loop; a chain of a million
operations needs no stack. What a node holds is let go as soon as it was used, unless it is to be used again. Unusual:
the same walk runs on arrays, which is fast, or on variables, whose operations are remembered in their turn; the second
gives gradients of gradients.

Source: Griewank and Walther 2008, Evaluating Derivatives, section 3.2.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kb.autograd import backend
from kb.autograd.ops.reductions import sum_to
from kb.autograd.ops.shaping import astype, clone
from kb.autograd.recording import set_grad_enabled
from kb.autograd.tape import Node, Variable, wrapped

Key = Node | Variable


def backward(
    outputs: Sequence[Variable],
    gradients: Sequence[Any] | None = None,
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add d(sum of outputs times gradients)/d(leaf) to ``grad`` of every leaf that the outputs depend on.

    Args:
        outputs: Variables that require a gradient.
        gradients: One for each output, an array or a variable of its shape; may be left out for outputs of one number.
        retain_graph: Keep what the tape holds for another walk; if not given, as ``create_graph``.
        create_graph: Remember the operations of the walk, so that the gradients can be differentiated.

    Raises:
        RuntimeError: an output does not depend on anything that requires a gradient or is not a single number and has
            no gradient given, the tape was used up before, or saved memory was written in place.
        ValueError: a gradient's shape is not that of its output.
    """
    walk = Walk(outputs, gradients, create_graph, keep=create_graph if retain_graph is None else retain_graph)
    for leaf, gradient in walk.run(None).items():
        if isinstance(leaf, Variable):
            copied = leaf in walk.borrowed or bool(leaf.hooks)  # a hook may hold what it was given, or gave
            _accumulate(leaf, gradient, copied=copied, create_graph=create_graph)


def grad(
    outputs: Variable | Sequence[Variable],
    inputs: Variable | Sequence[Variable],
    grad_outputs: Any = None,
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """d(sum of outputs)/d(input) for each of the inputs, leaves or not; no ``grad`` is touched.

    Args:
        outputs: One variable or several.
        inputs: One variable or several.
        grad_outputs: Factors of the outputs, in their shapes; ones for single numbers if not given.
        retain_graph: As of :func:`backward`.
        create_graph: As of :func:`backward`.
        allow_unused: Give None for an input that no output depends on, instead of an error.

    Raises:
        RuntimeError: as :func:`backward`, or an input is not part of the outputs' tape.
        ValueError: as :func:`backward`.
    """
    outputs = (outputs,) if isinstance(outputs, Variable) else tuple(outputs)
    inputs = (inputs,) if isinstance(inputs, Variable) else tuple(inputs)
    if grad_outputs is not None and not isinstance(grad_outputs, list | tuple):
        grad_outputs = (grad_outputs,)
    keep = create_graph if retain_graph is None else retain_graph
    for variable in inputs:
        if not variable.requires_grad:
            raise RuntimeError("one of the inputs does not require a gradient")
    walk = Walk(outputs, grad_outputs, create_graph, keep)
    keys = [variable.node or variable for variable in inputs]
    found = walk.run(set(keys))
    if not allow_unused and any(key not in found for key in keys):
        raise RuntimeError("the outputs do not depend on one of the inputs; allow_unused=True gives None for it")
    return tuple(
        _wrapped(variable.result_type, found[key]) if key in found else None
        for key, variable in zip(keys, inputs, strict=True)
    )


class Walk:
    """One walk from some outputs; ``borrowed`` are the keys whose gradient may be another's too."""

    def __init__(
        self, outputs: Sequence[Variable], gradients: Sequence[Any] | None, create_graph: bool, keep: bool
    ) -> None:
        if gradients is not None and len(gradients) != len(outputs):
            raise ValueError(f"gradients must be one for each of {len(outputs)} outputs, got {len(gradients)}")
        self.create_graph, self.keep = create_graph, keep
        self.gradients: dict[Key, Any] = {}
        self.borrowed: set[Key] = set()
        for i, output in enumerate(outputs):
            start = _start(output, None if gradients is None else gradients[i], create_graph)
            self._add(output.node or output, start, True)

    def run(self, wanted: set[Key] | None) -> dict[Key, Any]:
        """The gradients of all leaves, or of the wanted keys."""
        found: dict[Key, Any] = {}
        nodes = _older_nodes(list(self.gradients))
        useful = set() if wanted is None else _on_the_way(nodes, wanted)
        accepted = useful | (wanted or set())
        # Infinities and NaN pass on without a word, as in torch.
        with set_grad_enabled(self.create_graph), backend.quiet():
            for node in nodes:
                gradient = self.gradients.pop(node, None)
                if gradient is None:
                    continue
                if node.hooks is not None or node.keeper is not None:
                    gradient = _through_hooks(node, gradient)
                if wanted is None:
                    self.pass_on(node, gradient, None)
                    continue
                if node in wanted:
                    found[node] = gradient
                if node in useful:
                    self.pass_on(node, gradient, accepted)
            for leaf in list(self.gradients):
                if wanted is None or leaf in wanted:
                    found[leaf] = _through_hooks(leaf, self.gradients[leaf])
        return found

    def pass_on(self, node: Node, gradient: Any, accepted: set[Key] | None) -> None:
        """Hand the gradient of a node's result to its inputs, or to those that are accepted; None accepts all."""
        if node.edges is None:
            raise RuntimeError(
                f"the tape of {node.name!r} was used up by an earlier backward: pass retain_graph=True there"
            )
        while node.refill is not None:
            node.refill()  # one level of parts within parts at a time
        if node.versions and node.versions != node.current_versions():
            raise RuntimeError(
                f"a tensor that the gradient of {node.name!r} needs was written in place after it was used "
                f"(versions {node.versions}, now {node.current_versions()}): write out of place, or to a clone"
            )
        result = None if node.result is None else self._seen_result(node, node.result)
        for way, (target, shape, dtype) in zip(node.plan.ways, node.edges, strict=True):
            if accepted is not None and target not in accepted:
                continue
            wanted = [self._find(node, kind, key, shape) for kind, key in way.wanted] if way.wanted else ()
            arriving = way.rule(gradient, result, *wanted) if way.takes_result else way.rule(gradient, *wanted)
            borrowed = arriving is gradient
            if arriving.shape != shape:
                arriving = sum_to(arriving, shape=shape)
            if arriving.dtype is not dtype and arriving.dtype != dtype:
                arriving = astype(arriving, dtype=dtype)
            self._add(target, arriving, borrowed)
        if not self.keep:
            node.edges = None
            node.drop()

    def _seen_result(self, node: Node, result: Variable) -> Any:
        """The node's result as its rules are to see it: an array, or a variable with its history."""
        if not self.create_graph:
            return result.data
        variable = node.result_type(result.data)
        variable.requires_grad, variable.node = True, node
        return variable

    def _find(self, node: Node, kind: str, key: Any, shape: tuple[int, ...]) -> Any:
        if kind == "input":
            value = node.inputs[key]
            return value.data if isinstance(value, Variable) and not self.create_graph else value
        if kind == "keyword":
            return node.keywords[key] if key in node.keywords else node.op.defaults[key]
        if kind == "shape":
            return shape
        if kind == "place" or self.create_graph:
            return key if kind == "place" else node.inputs
        return tuple([value.data if isinstance(value, Variable) else value for value in node.inputs])

    def _add(self, key: Key, gradient: Any, borrowed: bool) -> None:
        known = self.gradients.get(key)
        if known is None:
            self.gradients[key] = gradient
            if borrowed:
                self.borrowed.add(key)
        else:
            self.gradients[key] = known + gradient
            self.borrowed.discard(key)


def _start(output: Variable, gradient: Any, create_graph: bool) -> Any:
    if not output.requires_grad:
        raise RuntimeError("backward of a tensor that does not require a gradient and was made by nothing that does")
    output.require_current("backward")
    array = output.data
    xp = backend.namespace(array)
    if gradient is None:
        if math.prod(array.shape) != 1:
            raise RuntimeError(f"only a single number has a gradient of its own: shape {array.shape} needs one given")
        one = np.ones(array.shape, array.dtype) if type(array) is np.ndarray else xp.ones_like(array)
        return output.result_type(one) if create_graph else one
    given = gradient.data if isinstance(gradient, Variable) else gradient
    backend.require_array("gradient", given)
    if tuple(given.shape) != tuple(array.shape):
        raise ValueError(f"gradient has shape {tuple(given.shape)}, wanted that of its output, {tuple(array.shape)}")
    backend.namespace(array, given)
    if not create_graph:
        return xp.astype(given, array.dtype, copy=False)
    return astype(gradient if isinstance(gradient, Variable) else output.result_type(given), dtype=array.dtype)


def _older_nodes(keys: list[Key]) -> list[Node]:
    """All nodes that the keys depend on, and those among them, newest first."""
    known: set[Node] = set()
    waiting = [key for key in keys if isinstance(key, Node)]
    while waiting:
        node = waiting.pop()
        if node in known:
            continue
        known.add(node)
        for target, _, _ in node.edges or ():
            if isinstance(target, Node) and target not in known:
                waiting.append(target)
    return sorted(known, key=lambda node: node.number, reverse=True)


def _on_the_way(nodes: list[Node], wanted: set[Key]) -> set[Key]:
    """The nodes from which a wanted key is reached, in a step or more, or was before they were used up."""
    useful: set[Key] = set()
    for node in reversed(nodes):
        if node.edges is None and any(isinstance(key, Variable) or key.number < node.number for key in wanted):
            useful.add(node)
        if any(target in useful or target in wanted for target, _, _ in node.edges or ()):
            useful.add(node)
    return useful


def _through_hooks(key: Key, gradient: Any) -> Any:
    kept = key.keeper() if isinstance(key, Node) and key.keeper is not None else None
    if key.hooks is None and kept is None:
        return gradient
    kind: type[Variable] = key.result_type
    for hook in list(key.hooks or ()):
        changed = hook(_wrapped(kind, gradient))
        if changed is None:
            continue
        if not isinstance(changed, Variable):
            raise TypeError(f"a hook must give a tensor or None, got {type(changed).__name__}")
        if tuple(changed.data.shape) != tuple(gradient.shape):
            raise ValueError(
                f"a hook must give the shape that it got, {tuple(gradient.shape)}, not {tuple(changed.data.shape)}"
            )
        if changed.data.dtype != gradient.dtype:
            raise TypeError(f"a hook must give the dtype that it got, {gradient.dtype}, not {changed.data.dtype}")
        gradient = changed if isinstance(gradient, Variable) else changed.data
    if kept is not None:
        own = _own(kind, gradient, copied=True)
        kept.grad = own if kept.grad is None else kept.grad + own
    return gradient


def _own(kind: type[Variable], gradient: Any, *, copied: bool) -> Variable:
    """The gradient as a variable whose memory is nobody else's."""
    if isinstance(gradient, Variable):
        return clone(gradient) if copied or backend.is_view(gradient.data) else gradient
    return _wrapped(kind, backend.copy(gradient) if copied or backend.is_view(gradient) else gradient)


def _accumulate(leaf: Variable, gradient: Any, *, copied: bool, create_graph: bool) -> None:
    if create_graph and leaf.grad is not None:
        leaf.grad = leaf.grad + gradient
    elif leaf.grad is None:
        leaf.grad = _own(leaf.result_type, gradient, copied=copied)
    else:
        leaf.grad.data[...] += gradient
        leaf.grad.bump()


def _wrapped(kind: type[Variable], gradient: Any) -> Variable:
    if isinstance(gradient, Variable):
        return gradient
    return wrapped(kind, np.asarray(gradient) if isinstance(gradient, np.generic) else gradient)
