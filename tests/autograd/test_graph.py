"""Pictures of the tape: order, shapes, gradients and steps are those of the tape; bad input."""

import html
import json
import re
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from kb.autograd import Tensor, graph, ops, tensor
from kb.autograd.graph.layout import arrange


def diamond(xp: Any = np) -> tuple[Tensor, dict[Tensor, str]]:
    a, b = (Tensor(xp.asarray(value), requires_grad=True) for value in (2.0, 3.0))
    c = a * b
    d = a + c
    e = d * d
    return e, {a: "a", b: "b", c: "c", d: "d", e: "e"}


def layer() -> tuple[Tensor, dict[Tensor, str]]:
    x, W = Tensor(np.ones((5, 3))), Tensor(np.ones((3, 4)), requires_grad=True)
    b = Tensor(np.zeros(4), requires_grad=True)
    loss = (x @ W + b).relu().sum()
    return loss, {x: "x", W: "W", b: "b", loss: "loss"}


@pytest.fixture(autouse=True)
def close_figures() -> Any:
    yield
    plt.close("all")


class TestTrace:
    """The list that the pictures are made of."""

    @pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
    def test_a_diamond(self, xp: Any) -> None:
        found = graph.trace(*diamond(xp), gradients=True)
        assert [vertex.name for vertex in found.vertices] == ["a", "b", "c", "d", "e"]
        assert [vertex.op for vertex in found.vertices] == ["", "", "mul", "add", "mul"]
        assert [vertex.inputs for vertex in found.vertices] == [(), (), (0, 1), (0, 2), (3, 3)]
        assert [vertex.value_text for vertex in found.vertices] == ["2", "3", "6", "8", "64"]
        # e = (a + ab)^2, so de/da = 2 (a + ab) (1 + b) = 64 and de/db = 2 (a + ab) a = 32
        assert [vertex.gradient_text for vertex in found.vertices] == ["64", "32", "16", "16", "1"]

    def test_shapes_and_what_requires_no_gradient(self) -> None:
        found = graph.trace(*layer())
        described = [(v.name or v.op, v.shape, v.is_leaf) for v in found.vertices]
        assert described == [
            ("W", (3, 4), True),
            ("matmul", (5, 4), False),
            ("b", (4,), True),
            ("add", (5, 4), False),
            ("relu", (5, 4), False),
            ("loss", (), False),
        ]
        assert [found.label(place) for place in range(3)] == ["W", "v1", "b"]

    def test_values_are_known_where_a_rule_kept_them(self) -> None:
        x = tensor(3.0, requires_grad=True)
        summed = graph.trace((x + 1.0) + 2.0).vertices
        assert summed[1].value is None
        assert summed[1].value_text == "()"
        squared = graph.trace(((x + 1.0) ** 2.0) + 2.0).vertices
        assert squared[1].value_text == "4"
        raised = graph.trace((x - 3.0).exp() + 2.0).vertices
        assert [vertex.value_text for vertex in raised] == ["3", "()", "1", "()"]

    def test_gradients_that_were_kept(self) -> None:
        e, names = diamond()
        d = next(variable for variable, name in names.items() if name == "d")
        d.retain_grad()
        assert all(vertex.gradient is None for vertex in graph.trace(e).vertices)
        e.backward(retain_graph=True)
        assert [vertex.gradient_text for vertex in graph.trace(e).vertices] == ["64", "32", "", "16", ""]

    def test_nothing_is_written(self) -> None:
        e, names = diamond()
        graph.trace(e, names, gradients=True)
        graph.step_through(e, names)
        assert all(variable.grad is None for variable in names)
        e.backward()
        assert [float(variable.grad) for variable in list(names)[:2]] == [64.0, 32.0]

    def test_a_leaf_alone(self) -> None:
        x = tensor(5.0, requires_grad=True)
        (vertex,) = graph.trace(x, {x: "x"}).vertices
        assert (vertex.name, vertex.is_leaf, vertex.value_text) == ("x", True, "5")

    def test_after_a_write_the_new_history_counts(self) -> None:
        x = tensor([1.0, 2.0], requires_grad=True)
        y = x * 2.0
        y += x
        assert [vertex.op for vertex in graph.trace(y).vertices] == ["", "mul", "add"]

    @settings(max_examples=40)
    @given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=30))
    def test_any_graph_is_in_order_and_whole(self, picks: list[tuple[int, int]]) -> None:
        made = [tensor(1.0, requires_grad=True)]
        for one, other in picks:
            made.append(ops.multiply(made[one % len(made)], made[other % len(made)]))
        found = graph.trace(made[-1], gradients=True)
        for place, vertex in enumerate(found.vertices):
            assert all(start < place for start in vertex.inputs)
            assert len(vertex.inputs) == (0 if vertex.is_leaf else 2)
        assert len(set(found.keys)) == len(found)
        assert found.keys[-1] is made[-1].node
        made[-1].backward()
        assert float(made[0].grad) == pytest.approx(float(np.asarray(found.vertices[0].gradient)), rel=1e-6)


class TestLayout:
    """Places of the boxes."""

    @settings(max_examples=40)
    @given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=30))
    @example([(1, 1), (0, 2), (0, 0), (3, 4)])  # a leaf whose second use stands further left than its first
    def test_edges_lead_right_and_no_two_points_meet(self, picks: list[tuple[int, int]]) -> None:
        made = [tensor(1.0, requires_grad=True), tensor(1.0, requires_grad=True)]
        for one, other in picks:
            made.append(ops.multiply(made[one % len(made)], made[other % len(made)]))
        found = graph.trace(made[-1])
        layout = arrange(found)
        assert set(layout.paths) == {(s, end) for end, v in enumerate(found.vertices) for s in v.inputs}
        points = list(layout.places)
        for (start, end), path in layout.paths.items():
            assert (path[0], path[-1]) == (layout.places[start], layout.places[end])
            assert [layer for layer, _ in path] == [path[0][0] + step for step in range(len(path))]
            points += path[1:-1]
        for layer in range(layout.layers):
            rows = sorted(row for at, row in points if at == layer)
            assert rows, "an empty layer"
            assert all(high - low > 1 - 1e-9 for low, high in pairwise(rows))
            assert min(rows) >= 0
            assert max(rows) <= layout.rows - 1

    def test_a_leaf_stands_just_before_its_first_use(self) -> None:
        x, late = tensor(1.0, requires_grad=True), tensor(1.0, requires_grad=True)
        found = graph.trace(x.exp().exp().exp() + late, {late: "late"})
        layers = {vertex.name: place[0] for vertex, place in zip(found.vertices, arrange(found).places, strict=True)}
        assert layers["late"] == 3


class TestDraw:
    """The figure."""

    def test_a_box_for_each_vertex_and_an_arrow_for_each_use(self) -> None:
        figure = graph.draw(*diamond(), gradients=True)
        (axes,) = figure.axes
        boxes = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
        arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
        assert (len(boxes), len(arrows)) == (5, 6)
        texts = [text.get_text() for text in axes.texts]
        assert texts[:3] == ["a", "2", "grad 64"]
        assert texts[-4:] == ["e", "mul", "64", "grad 1"]

    def test_text_stays_in_its_box_and_boxes_in_the_figure(self) -> None:
        figure = graph.draw(*layer(), gradients=True)
        figure.canvas.draw()
        (axes,) = figure.axes
        boxes = [patch.get_window_extent() for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
        for text in axes.texts:
            extent = text.get_window_extent()
            corners = [(extent.x0, extent.y0), (extent.x1, extent.y1)]
            assert any(all(box.contains(*corner) for corner in corners) for box in boxes), text.get_text()
        for box in boxes:
            assert figure.bbox.contains(box.x0, box.y0)
            assert figure.bbox.contains(box.x1, box.y1)

    def test_in_given_axes(self) -> None:
        figure, axes = plt.subplots()
        assert graph.draw(*layer(), axes=axes) is figure
        assert axes.texts
        assert len(plt.get_fignums()) == 1

    def test_in_axes_of_a_part_of_a_figure(self) -> None:
        figure = plt.figure()
        axes = figure.subfigures(1, 2)[0].subplots()  # type: ignore[index]
        assert graph.draw(*layer(), axes=axes) is figure


class TestSteps:
    """The table with a slider."""

    def test_the_sum_of_a_gradient_grows(self) -> None:
        steps = graph.step_through(*diamond())
        assert steps.titles == (
            "a, b",
            "c = mul(a, b)",
            "d = add(a, c)",
            "e = mul(d, d)",
            "∂e/∂e = 1",
            "e → d",
            "d → a, c",
            "c → a, b",
        )
        assert steps.values == (0, 0, 1, 2, 3)
        assert steps.gradients[0] == ((6, "16"), (7, "64"))
        assert steps.gradients[3:] == (((5, "16"),), ((4, "1"),))

    def test_as_text_it_is_the_last_table(self) -> None:
        lines = repr(graph.step_through(*diamond())).splitlines()
        assert lines[0].split() == ["name", "from", "value", "gradient"]
        assert lines[1].split() == ["a", "2", "64"]
        assert lines[-1].split() == ["e", "mul(d,", "d)", "64", "1"]

    def test_as_html_it_is_the_last_table_and_loads_nothing(self) -> None:
        steps = graph.step_through(*diamond())
        shown = steps._repr_html_()
        cells = [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", shown)]
        assert cells == [cell for row in steps.rows() for cell in row]
        assert not re.search(r"https?:|<script|<img|url\(|@import", shown)
        changes = [json.loads(html.unescape(found)) for found in re.findall(r'data-changes="(.*?)"', shown)]
        assert [change[-1][1] for change in changes] == [cell for row in steps.rows() for cell in row[2:]]
        assert shown == graph.step_through(*diamond())._repr_html_()

    def test_a_name_cannot_break_out(self) -> None:
        x = tensor(1.0, requires_grad=True)
        shown = graph.step_through(x * 2.0, {x: '"><b>&'})._repr_html_()
        assert "<b>" not in shown
        assert "&quot;&gt;&lt;b&gt;&amp;" in shown

    def test_hooks_see_the_walk(self) -> None:
        x = tensor(3.0, requires_grad=True)
        seen: list[float] = []
        x.register_hook(lambda gradient: seen.append(float(gradient)))
        graph.step_through(x * x)
        assert seen == [6.0]

    def test_of_more_than_one_number_there_is_no_walk(self) -> None:
        with pytest.raises(RuntimeError, match="only a single number"):
            graph.step_through(tensor([1.0, 2.0], requires_grad=True) * 2.0)


@pytest.mark.parametrize("show", [graph.trace, graph.draw, graph.step_through])
class TestBadInput:
    """Refused by all three, in the same words."""

    def test_no_tensor(self, show: Any) -> None:
        with pytest.raises(TypeError, match=r"tensor must be a tensor of kb\.autograd, got ndarray"):
            show(np.ones(3))

    def test_nothing_remembered(self, show: Any) -> None:
        with pytest.raises(ValueError, match="tensor requires no gradient"):
            show(tensor(1.0) * 2.0)

    @pytest.mark.parametrize("names", [["x"], {"x": "x"}, "x"])
    def test_names_that_are_none(self, show: Any, names: Any) -> None:
        with pytest.raises(TypeError, match="names must map tensors to strings"):
            show(tensor(1.0, requires_grad=True) * 2.0, names)

    def test_a_name_that_is_no_string(self, show: Any) -> None:
        x = tensor(1.0, requires_grad=True)
        with pytest.raises(TypeError, match="got Tensor to 3"):
            show(x * 2.0, {x: 3})

    def test_too_large_unless_asked(self, show: Any) -> None:
        x = y = tensor(1.0, requires_grad=True)
        for _ in range(70):
            y = y * x
        with pytest.raises(ValueError, match=r"more than \d\d vertices; most= takes a larger number"):
            show(y)
        show(y, most=71)
        with pytest.raises(ValueError, match="more than 70"):
            show(y, most=70)

    @pytest.mark.parametrize("most", [0, 2.5, True, "all"])
    def test_a_limit_that_is_none(self, show: Any, most: Any) -> None:
        with pytest.raises(ValueError, match="most must be an integer of at least 1"):
            show(tensor(1.0, requires_grad=True) * 2.0, most=most)

    def test_used_up(self, show: Any) -> None:
        y = tensor(1.0, requires_grad=True) * 2.0
        y.backward()
        with pytest.raises(RuntimeError, match="used up by an earlier backward: pass retain_graph=True"):
            show(y)


def test_a_huge_graph_is_refused_at_once() -> None:
    y = tensor(0.0, requires_grad=True)
    for _ in range(20_000):
        y = y + y
    with pytest.raises(ValueError, match="more than 60"):
        graph.trace(y)


def test_axes_that_are_none() -> None:
    with pytest.raises(TypeError, match="axes must be matplotlib's, got str"):
        graph.draw(*layer(), axes="here")  # type: ignore[arg-type]
