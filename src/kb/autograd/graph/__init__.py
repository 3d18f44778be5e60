"""Pictures of the tape: what was computed from what, drawn as a figure, or gone through step by step."""

from kb.autograd.graph.drawing import draw
from kb.autograd.graph.stepping import Steps, step_through
from kb.autograd.graph.tracing import Graph, Vertex, trace

__all__ = ["Graph", "Steps", "Vertex", "draw", "step_through", "trace"]
