"""The graph behind a tensor as a figure: boxes in layers from left to right, an arrow for each use.

A box says what it is called, which operation made it, the number or the shape, and the gradient where there is one.
Leaves, which are what a gradient is wanted of, are blue; the tensor itself is orange.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from kb import plotting
from kb.autograd.graph.layout import Layout, Point, arrange
from kb.autograd.graph.tracing import MOST, Graph, Vertex, trace
from kb.autograd.tape import Variable

_WIDTH, _GAP, _LINE, _FONT = 0.86, 0.34, 0.165, 9.0  # inches, inches, inches, points
_GRADIENT = "grad"
_LEAST, _MARGIN = 3.2, 0.12  # inches


def draw(
    tensor: Variable,
    names: Mapping[Any, str] | None = None,
    *,
    gradients: bool = False,
    axes: Axes | None = None,
    most: int = MOST,
) -> Figure:
    """The graph that a tensor is the result of, as a figure.

    Args:
        tensor: Requires a gradient.
        names: What variables are called, results in the middle included.
        gradients: As of :func:`kb.autograd.graph.trace`.
        axes: Where to draw; a new figure of a fitting size if not given.
        most: As of :func:`kb.autograd.graph.trace`.

    Returns:
        The figure that was drawn in.

    Raises:
        TypeError: ``axes`` are no axes, and as of :func:`kb.autograd.graph.trace`.
        ValueError: as of :func:`kb.autograd.graph.trace`.
        RuntimeError: as of :func:`kb.autograd.graph.trace`.
    """
    if axes is not None and not isinstance(axes, Axes):
        raise TypeError(f"axes must be matplotlib's, got {type(axes).__name__}")
    graph = trace(tensor, names, gradients=gradients, most=most)
    texts = [_lines(vertex) for vertex in graph.vertices]
    layout = arrange(graph)
    height = _LINE * (max(map(len, texts)) + 0.8)
    width = max(_WIDTH, max(0.072 * max(map(len, lines)) + 0.14 for lines in texts))
    step = (width + _GAP, height * 1.25)
    size = (layout.layers * step[0] - _GAP + 2 * _MARGIN, (layout.rows - 1) * step[1] + height + 2 * _MARGIN)
    if axes is None:
        _, axes = plotting.figure(width=max(size[0], _LEAST), height=size[1])
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(-width / 2 - _MARGIN, size[0] - width / 2 - _MARGIN)
    axes.set_ylim(size[1] - height / 2 - _MARGIN, -height / 2 - _MARGIN)
    for place, vertex in enumerate(graph.vertices):
        _box(axes, vertex, texts[place], _scaled(layout.places[place], step), (width, height), place == len(graph) - 1)
    _arrows(axes, graph, layout, step, width)
    figure: Figure = axes.figure.figure  # the whole one, also where the axes stand in a part of it
    return figure


def _lines(vertex: Vertex) -> list[str]:
    gradient = f"{_GRADIENT} {vertex.gradient_text}" if vertex.gradient is not None else ""
    return [line for line in (vertex.name, vertex.op, vertex.value_text, gradient) if line]


def _scaled(point: Point, step: tuple[float, float]) -> tuple[float, float]:
    return point[0] * step[0], point[1] * step[1]


def _box(
    axes: Axes, vertex: Vertex, lines: list[str], middle: tuple[float, float], size: tuple[float, float], last: bool
) -> None:
    x, y = middle
    colour = plotting.ORANGE if last else plotting.BLUE if vertex.is_leaf else plotting.GREY
    corner = (x - size[0] / 2, y - size[1] / 2)
    look: Any = {
        "facecolor": "white",
        "edgecolor": colour,
        "linewidth": 2.0 if last or vertex.is_leaf else 1.2,
        "zorder": 2,
    }
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle="round,pad=0,rounding_size=0.07", **look))
    for i, line in enumerate(lines):
        is_name, is_gradient = line == vertex.name and i == 0, line.startswith(_GRADIENT) and i == len(lines) - 1
        axes.text(
            x,
            y + (i - (len(lines) - 1) / 2) * _LINE,
            line,
            ha="center",
            va="center",
            fontsize=_FONT,
            fontweight="bold" if is_name else "normal",
            color=plotting.RED if is_gradient else plotting.INK,
            zorder=3,
        )


def _arrows(axes: Axes, graph: Graph, layout: Layout, step: tuple[float, float], width: float) -> None:
    look: Any = {"arrowstyle": "-|>", "mutation_scale": 9, "color": plotting.GREY, "linewidth": 1.2, "zorder": 1}
    for (start, end), path in layout.paths.items():
        times = graph.vertices[end].inputs.count(start)
        points = [_scaled(point, step) for point in path]
        points[0], points[-1] = (points[0][0] + width / 2, points[0][1]), (points[-1][0] - width / 2, points[-1][1])
        for i in range(times):
            shift = 0.18 * (i - (times - 1) / 2)  # an input that is used twice has two arrows
            axes.add_patch(FancyArrowPatch(path=_curve([(x, y + shift) for x, y in points]), **look))


def _curve(points: list[tuple[float, float]]) -> Path:
    """Cubic curves through the points, level at each of them."""
    vertices, codes = [points[0]], [Path.MOVETO]
    for (x, y), (next_x, next_y) in pairwise(points):
        middle = (x + next_x) / 2
        vertices += [(middle, y), (middle, next_y), (next_x, next_y)]
        codes += [Path.CURVE4] * 3
    return Path(vertices, codes)
