"""Where the vertices of a graph stand in its picture: in layers, from left to right.

A vertex stands one layer after the latest of its inputs, a leaf one layer before its first use. An edge that skips
layers gets a point in each of them, so that it runs between vertices and not through them. In its layer, each point is
drawn to the mean of its neighbours, the layers taken in turn, forwards and backwards. Unusual: points that are drawn to
the same place are moved apart as little as possible, by least squares, which is a monotone regression.

Sources: Sugiyama, Tagawa and Toda 1981, Methods for Visual Understanding of Hierarchical System Structures; Barlow et
al. 1972, Statistical Inference under Order Restrictions (pooling of neighbours that are in the wrong order).
"""

from dataclasses import dataclass
from itertools import pairwise

from kb.autograd.graph.tracing import Graph

_SWEEPS = 8

Point = tuple[float, float]  # layer and row, (0, 0) top left


@dataclass(frozen=True)
class Layout:
    """Where everything stands, in layers and rows.

    Attributes:
        places: Of each vertex.
        paths: What each edge (from, to) runs through, its ends included.
    """

    places: tuple[Point, ...]
    paths: dict[tuple[int, int], tuple[Point, ...]]

    @property
    def layers(self) -> int:
        """How many layers there are."""
        return 1 + int(max(layer for layer, _ in self.places))

    @property
    def rows(self) -> float:
        """How many rows high it is."""
        return 1 + max(row for path in (self.places, *self.paths.values()) for _, row in path)


def arrange(graph: Graph) -> Layout:
    """Places for all vertices and edges of a graph."""
    layers = _layers(graph)
    chains: dict[tuple[int, int], list[int]] = {}
    for end, vertex in enumerate(graph.vertices):
        for start in dict.fromkeys(vertex.inputs):
            between = range(len(layers), len(layers) + layers[end] - layers[start] - 1)
            chains[start, end] = [start, *between, end]
            layers += range(layers[start] + 1, layers[end])
    rows = _rows(layers, [pair for chain in chains.values() for pair in pairwise(chain)])
    points = [(float(layer), row) for layer, row in zip(layers, rows, strict=True)]
    paths = {edge: tuple(points[point] for point in chain) for edge, chain in chains.items()}
    return Layout(tuple(points[: len(graph)]), paths)


def _layers(graph: Graph) -> list[int]:
    layers: list[int] = []
    for vertex in graph.vertices:
        layers.append(1 + max((layers[start] for start in vertex.inputs), default=-1))
    first_use: dict[int, int] = {}
    for end, vertex in enumerate(graph.vertices):
        for start in vertex.inputs:
            first_use[start] = min(layers[end], first_use.get(start, layers[end]))
    return [
        first_use[place] - 1 if vertex.is_leaf and place in first_use else layer
        for place, (vertex, layer) in enumerate(zip(graph.vertices, layers, strict=True))
    ]


def _rows(layers: list[int], steps: list[tuple[int, int]]) -> list[float]:
    """A row for each point, a whole row or more from the others in its layer."""
    before: list[list[int]] = [[] for _ in layers]
    after: list[list[int]] = [[] for _ in layers]
    for start, end in steps:
        before[end].append(start)
        after[start].append(end)
    columns: list[list[int]] = [[] for _ in range(max(layers) + 1)]
    rows = [0.0] * len(layers)
    for point, layer in enumerate(layers):
        rows[point] = float(len(columns[layer]))
        columns[layer].append(point)
    for sweep in range(_SWEEPS):
        neighbours = after if sweep % 2 else before
        for column in reversed(columns) if sweep % 2 else columns:
            wanted = {p: _mean([rows[other] for other in neighbours[p]], rows[p]) for p in column}
            column.sort(key=wanted.__getitem__)
            for point, row in zip(column, _apart([wanted[p] for p in column]), strict=True):
                rows[point] = row
    top = min(rows)
    return [row - top for row in rows]


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _apart(wanted: list[float]) -> list[float]:
    """The places nearest to the wanted ones, in their order, that are 1 or more apart."""
    pools: list[tuple[float, int]] = []  # mean and count of neighbours that were pushed together
    for place, row in enumerate(wanted):
        mean, count = row - place, 1
        while pools and pools[-1][0] > mean:
            other, size = pools.pop()
            mean, count = (mean * count + other * size) / (count + size), count + size
        pools.append((mean, count))
    means = [mean for mean, count in pools for _ in range(count)]
    return [mean + place for place, mean in enumerate(means)]
