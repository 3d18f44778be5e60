"""Forward and backward through a graph, one operation at a time, as a table with a slider.

Forward, the values come in one after the other. Backward, each operation hands its gradient on to its inputs, and where
an input was used twice, the table shows the sum grow. Unusual: it is HTML that needs nothing beside itself; without
JavaScript, and as text, it is the table of the last step.
"""

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kb import plotting
from kb.autograd.backward import Key, Walk
from kb.autograd.graph.tracing import Graph, Vertex, amount, trace
from kb.autograd.tape import Node, Variable

MOST = 24  # rows that one sees at once

_HEADS = ("name", "from", "value", "gradient")
# What a cell shows at a step is the last of its changes up to there; those of the step itself are marked.
_SHOW = """\
const box = this.closest('div'), at = +this.value;
box.querySelectorAll('td[data-changes]').forEach((cell) => {
  const past = JSON.parse(cell.dataset.changes).filter(([step]) => step <= at);
  const [step, text] = past.pop() ?? [-1, ''];
  cell.textContent = text;
  cell.classList.toggle('kb-new', step === at);
});
box.querySelector('output').textContent = JSON.parse(this.dataset.steps)[at];"""
_STYLE = f"""\
.kb-steps {{ background: {plotting.CARD}; color: {plotting.INK}; border-radius: 8px }}
.kb-steps {{ padding: 0.9em 1.2em; overflow-x: auto }}
.kb-steps label {{ display: flex; gap: 1em; align-items: center; flex-wrap: wrap; margin-bottom: 0.6em }}
.kb-steps input {{ flex: 1 1 12em; max-width: 24em; accent-color: {plotting.BLUE} }}
.kb-steps output {{ flex: 1 1 9em; color: inherit }}
.kb-steps table {{ margin: 0; border-collapse: collapse; font-size: 0.95em }}
.kb-steps th, .kb-steps td {{ text-align: left; padding: 0.2em 1.4em 0.2em 0.4em; color: inherit; background: none }}
.kb-steps td {{ white-space: nowrap }}
.kb-steps tr {{ border-bottom: 1px solid #e3e5ea; background: none !important }}
.kb-steps td.kb-new {{ background: #fbe3b5 }}
@media (scripting: none) {{ .kb-steps label {{ display: none }} }}"""


@dataclass(frozen=True)
class Steps:
    """A walk forward and back, as it is shown in a notebook.

    Attributes:
        graph: What is walked through.
        titles: One for each step.
        values: For each vertex the step in which its value comes in.
        gradients: For each vertex (step, text) whenever its gradient grows.
    """

    graph: Graph
    titles: tuple[str, ...]
    values: tuple[int, ...]
    gradients: tuple[tuple[tuple[int, str], ...], ...]

    def rows(self) -> list[tuple[str, str, str, str]]:
        """The table after the last step: name, origin, value, gradient."""
        rows = []
        for place, vertex in enumerate(self.graph.vertices):
            grown = self.gradients[place]
            rows.append(
                (self.graph.label(place), _origin(self.graph, vertex), vertex.value_text, grown[-1][1] if grown else "")
            )
        return rows

    def __repr__(self) -> str:
        rows = [_HEADS, *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
        padded = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
        return "\n".join(line.rstrip() for line in padded)

    def _repr_html_(self) -> str:
        last = len(self.titles) - 1
        heads = "".join(f'<th scope="col">{head}</th>' for head in _HEADS)
        body = []
        for place, (name, origin, value, gradient) in enumerate(self.rows()):
            cells = f"<td>{html.escape(name)}</td><td>{html.escape(origin)}</td>"
            cells += _cell(value, [(self.values[place], value)]) + _cell(gradient, list(self.gradients[place]))
            body.append(f"<tr>{cells}</tr>")
        slider = (
            f'<input type="range" aria-label="step" min="0" max="{last}" value="{last}" '
            f'data-steps="{_attribute(self.titles)}" oninput="{html.escape(_SHOW)}">'
        )
        return (
            f'<div class="kb-steps"><style>{_STYLE}</style><label>{slider} '
            f"<output>{html.escape(self.titles[last])}</output></label>"
            f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        )


def step_through(tensor: Variable, names: Mapping[Any, str] | None = None, *, most: int = MOST) -> Steps:
    """Each step forward to a tensor and back from it, to be shown in a notebook.

    The tape stays; no leaf's ``grad`` is written, but hooks are called.

    Args:
        tensor: A single number that requires a gradient.
        names: What variables are called; of a result in the middle that is not named the number may be unknown.
        most: How many rows there may be.

    Raises:
        TypeError: as of :func:`kb.autograd.graph.trace`.
        ValueError: as of :func:`kb.autograd.graph.trace`.
        RuntimeError: the tape was used up by an earlier backward, or the tensor is not a single number.
    """
    graph = trace(tensor, names, most=most)
    walk = _Watched((tensor,), None, create_graph=False, keep=True)
    start = dict(walk.gradients)
    walk.run(None)
    places = {key: place for place, key in enumerate(graph.keys)}
    leaves = [place for place, vertex in enumerate(graph.vertices) if vertex.is_leaf]
    made = [place for place, vertex in enumerate(graph.vertices) if not vertex.is_leaf]
    titles = [", ".join(map(graph.label, leaves))]
    values = [0] * len(graph)
    for step, place in enumerate(made, start=1):
        titles.append(f"{graph.label(place)} = {_origin(graph, graph.vertices[place])}")
        values[place] = step
    gradients: list[list[tuple[int, str]]] = [[] for _ in graph.vertices]
    shown: dict[Key, Any] = {}
    for key, found in [(None, start), *walk.seen]:
        targets = [target for target in found if found[target] is not shown.get(target)]
        for target in targets:
            gradients[places[target]].append((len(titles), amount(found[target])))
        arrows = ", ".join(graph.label(places[target]) for target in targets)
        titles.append(f"{graph.label(places[key])} → {arrows}" if key is not None else f"∂{arrows}/∂{arrows} = 1")
        shown |= found
    return Steps(graph, tuple(titles), tuple(values), tuple(map(tuple, gradients)))


class _Watched(Walk):
    """A walk that notes, after each node, which gradients there are."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.seen: list[tuple[Node, dict[Key, Any]]] = []

    def pass_on(self, node: Node, gradient: Any, accepted: set[Key] | None) -> None:
        super().pass_on(node, gradient, accepted)
        self.seen.append((node, dict(self.gradients)))


def _origin(graph: Graph, vertex: Vertex) -> str:
    return f"{vertex.op}({', '.join(map(graph.label, vertex.inputs))})" if vertex.op else ""


def _cell(text: str, changes: list[tuple[int, str]]) -> str:
    return f'<td data-changes="{_attribute(changes)}">{html.escape(text)}</td>'


def _attribute(value: object) -> str:
    return html.escape(json.dumps(value, ensure_ascii=False))
