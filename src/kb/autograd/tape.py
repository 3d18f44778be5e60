"""What is remembered of a computation, so that gradients can be had from it: variables, operations, nodes between them.

Each operation that is given a variable leaves a node: how to get from the gradient of its result to the gradients of
its inputs, and the values that this takes. The engine knows no operation by name; an :class:`Op` brings its gradient
rules along. Unusual: a rule says by its parameters what it needs (an input, the result, the shape of its input), and
only this is kept; and it is written in operations that take plain arrays as well as variables. On arrays the engine
gets a gradient at the speed of the array library, on variables a gradient that has a tape of its own.

A node is numbered when it is made, later than those it builds on, so that the numbers are a topological order.

Sources: Griewank and Walther 2008, Evaluating Derivatives, section 3.2 (reverse mode); Maclaurin, Duvenaud and Adams
2015, Autograd (rules apart from tracing).
"""

import inspect
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple, Self

import numpy as np

from kb.autograd import backend
from kb.autograd.backend import Array
from kb.autograd.recording import IS_RECORDING

Rule = Callable[..., Any]
Hook = Callable[[Any], Any]
Edge = tuple[Any, tuple[int, ...], Any]  # a node or a leaf, the shape and the dtype of its gradient
NUMBERS = count()  # of nodes, each greater than those before


class Variable:
    """An array, and where it came from.

    Attributes:
        data: The array.
        grad: d(what backward was called on) / d(this), a variable of the same shape; None before.
        requires_grad: Whether operations on it are remembered.
        node: What made it; None for a leaf.
        counter: How often the memory was written in place, and the last of these writes that a gradient passes
            through: one list for all views of it. None for a memory that nobody has written to or taken a view of.
        seen: For a view, the count at which it was taken; None for what has memory of its own.
        hooks: What is called with the gradient of a leaf.
    """

    __slots__ = ("__weakref__", "counter", "data", "grad", "hooks", "node", "requires_grad", "seen")

    result_type: type["Variable"]  # what operations on it give

    def __init__(self, data: Array) -> None:
        self.data = data
        self.requires_grad = False
        self.grad: Any = None
        self.node: Node | None = None
        self.counter: list[int] | None = None
        self.seen: int | None = None
        self.hooks: list[Hook] | None = None

    @property
    def version(self) -> int:
        """How often the memory was written in place."""
        return 0 if self.counter is None else self.counter[0]

    def bump(self) -> None:
        """Note that ``data`` was written, so that a gradient that needs the old numbers refuses."""
        if self.counter is None:
            self.counter = [0, 0]
        self.counter[0] += 1

    def require_current(self, purpose: str) -> None:
        """Refuse a view of memory that was written since, where its gradient would not go the way its numbers came.

        Raises:
            RuntimeError: it is one.
        """
        if self.seen is None or self.counter is None:
            return
        if self.seen != self.counter[0] if self.requires_grad else self.seen < self.counter[1]:
            raise RuntimeError(f"{purpose}: what this is a view of was written in place since; view it anew")

    def share_memory_of(self, other: "Variable") -> Self:
        """Note that this is a view of another variable's array; returns itself."""
        if other.counter is None:
            other.counter = [0, 0]
        self.counter, self.seen = other.counter, other.counter[0]
        return self


def wrapped(kind: type[Variable], data: Array) -> Any:
    """A variable of a class from an array that was made here, and so needs none of the class's checks."""
    result = kind.__new__(kind)
    Variable.__init__(result, data)
    return result


class _Way(NamedTuple):
    """How one input's gradient is had: its rule, and what the rule wants after the gradient, by kind and key."""

    place: int
    rule: Rule
    takes_result: bool
    wanted: tuple[tuple[str, Any], ...]


class Plan(NamedTuple):
    """What an operation keeps when certain of its inputs require a gradient."""

    ways: tuple[_Way, ...]
    kept: frozenset[int]  # places of the inputs whose values some rule wants
    keeps_result: bool


class Node:
    """One operation that was carried out.

    Attributes:
        op: Which one.
        plan: Its rules for the inputs that require a gradient.
        number: Greater than those of the nodes that its inputs came from.
        edges: For each of these rules, what the gradient is handed to, and the input's shape and dtype; None once
            backward has used the node up.
        inputs: What was kept of the inputs, by place; None for what was not.
        versions: How often the memory of each kept variable had been written, the result's last.
        keywords: Of the call.
        result: The variable that came out, without its history; None where no rule wants it.
        result_type: Its class.
        hooks: Called with the gradient of the result.
        keeper: Gives the variable that wants this gradient in its ``grad``, though it is no leaf.
        refill: Brings back what was dropped, see ``kb.autograd.recompute``.
    """

    __slots__ = (
        "__weakref__",
        "edges",
        "hooks",
        "inputs",
        "keeper",
        "keywords",
        "number",
        "op",
        "plan",
        "refill",
        "result",
        "result_type",
        "versions",
    )

    def __init__(self, op: "Op", plan: Plan, edges: tuple[Edge, ...], keywords: dict[str, Any]) -> None:
        self.op, self.plan, self.keywords = op, plan, keywords
        self.edges: tuple[Edge, ...] | None = edges
        self.number = next(NUMBERS)
        self.result_type: type[Variable] = Variable
        self.inputs: tuple[Any, ...] = ()
        self.versions: list[int] = []
        self.result: Variable | None = None
        self.hooks: list[Hook] | None = None
        self.keeper: Callable[[], Variable | None] | None = None
        self.refill: Callable[[], None] | None = None

    @property
    def name(self) -> str:
        """Of the operation."""
        return self.op.name

    def drop(self) -> None:
        """Let go of everything that was kept."""
        self.inputs, self.result = (), None

    def current_versions(self) -> list[int]:
        """How often the memory of each kept variable, and of the result, has been written by now."""
        versions = []
        for value in self.inputs:
            if isinstance(value, Variable):
                versions.append(0 if value.counter is None else value.counter[0])
        if self.result is not None:
            versions.append(0 if self.result.counter is None else self.result.counter[0])
        return versions


class Op:
    """An operation on arrays or variables, with its gradient rules.

    Args:
        name: In the drawing of the graph and in messages.
        forward: (array, ..., keywords) to array; its first parameter may be ``xp``, the namespace of the arrays.
            ``*arrays`` takes any number of inputs, all of which have one rule.
        view: Whether the result may share memory with the first input.
        rules: By name of an input: (g, ...) to its gradient, where g is the gradient of the result, and every further
            parameter names what is wanted: ``out`` (at once after g), an input, a keyword of ``forward``, ``shape`` (of
            the input in question), ``place`` (its number) or ``arrays`` (all inputs). It is called with arrays or with
            variables. A gradient of a larger shape is summed to the input's, since it was broadcast.
    """

    def __init__(self, name: str, forward: Callable[..., Array], *, view: bool = False, **rules: Rule) -> None:
        self.name, self.forward, self.view = name, forward, view
        parameters = inspect.signature(forward).parameters.values()
        positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        self._takes_namespace = positional[:1] == ["xp"]
        self._inputs = positional[1:] if self._takes_namespace else positional
        self.defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        self._variadic = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        unknown = set(rules) - {*self._inputs, self._variadic}
        if unknown:
            raise ValueError(f"{name}: there is no input {', '.join(sorted(unknown))}")
        self._rules = rules
        self._plans: dict[int, Plan] = {}
        if self._variadic is None:
            self._plan_for((1 << len(self._inputs)) - 1, len(self._inputs))  # finds a rule that asks for nonsense

    def __call__(self, *inputs: Any, **keywords: Any) -> Any:
        """Carry it out: a variable where an input is one, else an array."""
        first, mask, bit = None, 0, 1
        arrays = []
        for value in inputs:
            if isinstance(value, Variable):
                arrays.append(value.data)
                if value.seen is not None and IS_RECORDING.get():
                    value.require_current(self.name)
                if value.requires_grad:
                    mask |= bit
                if first is None:
                    first = value
            else:
                arrays.append(value)
            bit <<= 1
        if self._takes_namespace:
            data = self.forward(backend.namespace(*arrays), *arrays, **keywords)
        else:
            if len(arrays) > 1 and type(arrays[0]) is not type(arrays[1]):
                backend.namespace(*arrays)  # refuses a mixture
            data = self.forward(*arrays, **keywords)
        if first is None:
            return data
        if isinstance(data, np.generic):  # NumPy's reductions give scalars, which have no memory to write to
            data = np.asarray(data)
        result = wrapped(first.result_type, data)
        if self.view:
            result.share_memory_of(first)
        if mask and self._rules and IS_RECORDING.get() and backend.is_floating(data):
            self._record(mask, inputs, arrays, keywords, result)
        return result

    def _record(
        self, mask: int, inputs: tuple[Any, ...], arrays: list[Array], keywords: dict[str, Any], result: Variable
    ) -> None:
        plan = self._plans.get(mask) or self._plan_for(mask, len(inputs))
        if not plan.ways:
            return
        edges = []
        for way in plan.ways:
            value, array = inputs[way.place], arrays[way.place]
            edges.append((value.node or value, array.shape, array.dtype))
        node = Node(self, plan, tuple(edges), keywords)
        node.result_type = type(result)
        kept = plan.kept
        if len(kept) == len(inputs):
            node.inputs = inputs
        elif kept:
            node.inputs = tuple([value if place in kept else None for place, value in enumerate(inputs)])
        if plan.keeps_result:
            # Not the result itself: it holds the node, and a circle is freed late.
            node.result = Variable(result.data)
            node.result.counter = result.counter = [0, 0] if result.counter is None else result.counter
        if kept or plan.keeps_result:
            node.versions = node.current_versions()
        result.requires_grad, result.node = True, node

    def _plan_for(self, mask: int, count: int) -> Plan:
        ways = []
        for place in range(count):
            rule = self._rules.get(self._variadic or self._inputs[place]) if mask >> place & 1 else None
            if rule is not None:
                ways.append(self._way(place, rule))
        wants_all = any(kind == "arrays" for way in ways for kind, _ in way.wanted)
        kept = range(count) if wants_all else [key for way in ways for kind, key in way.wanted if kind == "input"]
        plan = Plan(tuple(ways), frozenset(kept), any(way.takes_result for way in ways))
        if self._variadic is None:
            self._plans[mask] = plan
        return plan

    def _way(self, place: int, rule: Rule) -> _Way:
        names = list(inspect.signature(rule).parameters)[1:]
        takes_result = names[:1] == ["out"]
        wanted: list[tuple[str, Any]] = []
        for name in names[takes_result:]:
            if name in self._inputs:
                wanted.append(("input", self._inputs.index(name)))
            elif name in self.defaults:
                wanted.append(("keyword", name))
            elif name in ("shape", "place") or (name == "arrays" and self._variadic):
                wanted.append((name, place))
            else:
                raise ValueError(f"{self.name}: a gradient rule asks for {name!r}, which there is not")
        return _Way(place, rule, takes_result, tuple(wanted))
