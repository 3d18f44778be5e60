"""The simplest loss on which optimizers differ: a quadratic valley, flat along one direction and steep across it.

f(u) = (a v₁² + b v₂²) / 2, where v is u turned by an angle; its minimum is 0, at the origin. At 0 degrees the valley
lies along the first coordinate; at any other, steep and flat are mixed in both coordinates.

Source: Goodfellow, Bengio and Courville 2016, Deep Learning, section 4.3 (conditioning of the Hessian).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kb.arguments import require_count
from kb.autograd.arguments import require_real
from kb.autograd.nn.module import Parameter
from kb.autograd.tensor import Tensor

Path = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Valley:
    """A quadratic function of two parameters.

    Attributes:
        along: Curvature along the valley, a in the formula.
        across: Curvature across it, b.
        degrees: By how much the valley is turned against the coordinates, anticlockwise.

    Raises:
        ValueError: a curvature is not a positive number, or the angle is not a finite one.
    """

    along: float = 1.0
    across: float = 25.0
    degrees: float = 0.0

    def __post_init__(self) -> None:
        for name in ("along", "across"):
            require_real(name, getattr(self, name), least=np.finfo(float).tiny)
        require_real("degrees", self.degrees)

    @property
    def axes(self) -> Path:
        """[2, 2], the directions along and across, one a row."""
        angle = math.radians(self.degrees)
        return np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])

    def __call__(self, point: Tensor) -> Tensor:
        """The height of one point, a tensor [2], as a tensor of one number to go backward from."""
        if tuple(point.shape) != (2,):
            raise ValueError(f"one point [2] is wanted, got shape {tuple(point.shape)}; height() takes many")
        across = point @ self.axes.T
        return (across * across * np.array([self.along, self.across])).sum() * 0.5

    def height(self, points: Path) -> Path:
        """The heights of many points, [..., 2] to [...]; infinite where a point is."""
        with np.errstate(over="ignore", invalid="ignore"):
            across = points @ self.axes.T
            heights = 0.5 * (self.along * across[..., 0] ** 2 + self.across * across[..., 1] ** 2)
        return np.where(np.isfinite(points).all(axis=-1), heights, np.inf)


def descend(
    valley: Valley,
    make: Callable[[list[Parameter]], Any],
    *,
    start: tuple[float, float] = (-4.0, 1.2),
    steps: int = 60,
) -> Path:
    """The points that an optimizer passes, [steps + 1, 2] in float64.

    A point that leaves the range of floating point stays at infinity.

    Args:
        valley: What is gone down in.
        make: The optimizer of a list of parameters.
        start: The first point, as distances from the minimum along the valley and across it.
        steps: How many more follow.

    Raises:
        TypeError: valley is not one, or ``make`` cannot be called.
        ValueError: the start is not two finite numbers, or ``steps`` is not a positive integer.
    """
    if not isinstance(valley, Valley) or not callable(make):
        raise TypeError(f"a Valley and a callable are wanted, got {type(valley).__name__} and {type(make).__name__}")
    require_count("steps", steps)
    first = np.array(start, np.float64)
    if first.shape != (2,) or not np.isfinite(first).all():
        raise ValueError(f"start must be two finite numbers, got {start!r}")
    first = first @ valley.axes
    point = Parameter(first.copy())
    optimizer = make([point])
    path = np.full((steps + 1, 2), np.inf)
    path[0] = first
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        with np.errstate(over="ignore", invalid="ignore"):
            valley(point).backward()
            optimizer.step()
        if not np.isfinite(point.data).all():
            break
        path[step] = point.data
    return path
