"""How boosted trees come to fit points on a line: a curve for each number of trees, and a switch that plays them.

Unusual: it is HTML, SVG and style sheets alone, no script and no picture, so it moves in a built page as well as in
Colab, and only when it is asked to. Standing still it shows the last curve, as text the error of each.

Shapes: N points, Q places at which curves are drawn, M curves.
"""

# Fields end in their shapes.
# ruff: noqa: N815

import html
import zlib
from dataclasses import dataclass

import numpy as np

from kb import plotting

WIDTH, HEIGHT, MARGIN = 640, 260, 12  # units of the drawing, of which 640 fill the text column
SECONDS = 0.7  # that a curve stays

_STYLE = f"""\
.kb-fitting {{ background: {plotting.CARD}; color: {plotting.INK}; border-radius: 8px; padding: 0.9em 1.2em;
  max-width: {WIDTH}px }}
.kb-fitting label {{ display: inline-flex; gap: 0.5em; align-items: center; font-weight: bold; color: inherit }}
.kb-fitting input {{ accent-color: {plotting.BLUE}; width: 1.2em; height: 1.2em }}
.kb-fitting svg {{ display: block; width: 100%; height: auto }}
.kb-fitting circle {{ fill: {plotting.GREY}; opacity: 0.5 }}
.kb-fitting path {{ fill: none; stroke: {plotting.BLUE}; stroke-width: 2.5; stroke-linejoin: round }}
.kb-fitting text {{ fill: {plotting.INK}; font: 15px sans-serif }}
.kb-fitting g {{ visibility: hidden }}
.kb-fitting g:last-of-type {{ visibility: visible }}
.kb-fitting:has(input:checked) g {{ visibility: hidden; animation-timing-function: step-end;
  animation-iteration-count: infinite }}"""


@dataclass(frozen=True)
class Fitting:
    """Curves through points, as they are shown in a notebook.

    Attributes:
        x_N, y_N: The points.
        grid_Q: Where the curves are drawn, ascending.
        curves: By name, such as "3 trees", the heights [Q] of a curve, in the order in which they are played.

    Raises:
        TypeError: points or curves are not arrays of numbers.
        ValueError: shapes do not fit, something is not finite, or there is no curve.
    """

    x_N: np.ndarray
    y_N: np.ndarray
    grid_Q: np.ndarray
    curves: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        if not self.curves:
            raise ValueError("curves must hold at least one curve, got none")
        arrays = {"x_N": self.x_N, "y_N": self.y_N, "grid_Q": self.grid_Q, **self.curves}
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
                raise TypeError(f"{name} must be an array of numbers, got {type(array).__name__}")
            if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
                raise ValueError(f"{name} must be finite numbers in one axis, got shape {array.shape}")
        if self.x_N.shape != self.y_N.shape or np.ptp(self.x_N) == 0:
            raise ValueError(
                f"x_N and y_N must be as many, at two places or more, got {self.x_N.shape, self.y_N.shape}"
            )
        if len(self.grid_Q) < 2 or (np.diff(self.grid_Q) <= 0).any():
            raise ValueError("grid_Q must be ascending, with two places or more")
        for name, curve_Q in self.curves.items():
            if curve_Q.shape != self.grid_Q.shape:
                raise ValueError(f"{name} must have {len(self.grid_Q)} heights, got {curve_Q.shape}")

    def error(self, name: str) -> float:
        """Mean squared distance of the points from a curve, which is a step at the nearest place of the grid."""
        nearest_N = np.abs(self.x_N[:, None] - self.grid_Q).argmin(axis=1)
        return float(((self.y_N - self.curves[name][nearest_N]) ** 2).mean())

    def __repr__(self) -> str:
        return "\n".join(f"{name:>12}  mean squared error {self.error(name):.3f}" for name in self.curves)

    def _repr_html_(self) -> str:
        heights = np.concatenate([self.y_N, *self.curves.values()])
        places = np.concatenate([self.x_N, self.grid_Q])
        left, bottom, wide, high = places.min(), heights.min(), np.ptp(places), np.ptp(heights) or 1.0

        def pixels(x: np.ndarray, y: np.ndarray) -> list[str]:
            across = MARGIN + (x - left) / wide * (WIDTH - 2 * MARGIN)
            down = HEIGHT - MARGIN - (y - bottom) / high * (HEIGHT - 4 * MARGIN)
            return [f"{a:.1f} {d:.1f}" for a, d in zip(across, down, strict=True)]

        points = "".join(
            '<circle cx="{}" cy="{}" r="2.5"/>'.format(*place.split()) for place in pixels(self.x_N, self.y_N)
        )
        frames = [
            f'<g><path d="M{" L".join(pixels(self.grid_Q, curve_Q))}"/>'
            f'<text x="{MARGIN}" y="{1.6 * MARGIN}">{html.escape(name)}: {self.error(name):.3f}</text></g>'
            for name, curve_Q in self.curves.items()
        ]
        key = f"kb-fit-{zlib.crc32(' '.join(frames).encode()):08x}"
        return (
            f'<div class="kb-fitting {key}"><style>{_STYLE} {self._moves(key)}</style>'
            f'<label><input type="checkbox"> play</label><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="Points, and curves that come to fit them">{points}{"".join(frames)}</svg></div>'
        )

    def _moves(self, key: str) -> str:
        """The style sheet by which each curve is seen in its turn, and the last one for three turns."""
        turns = len(self.curves) + 2
        rules = [
            f"@keyframes {name} {{ 0% {{ visibility: visible }} {share / turns:.3f}%, 100% {{ visibility: hidden }} }}"
            for name, share in ((key, 100), (f"{key}-last", 300))
        ]
        whole = turns * SECONDS
        for i in range(len(self.curves)):
            move = f"{key}-last" if i == len(self.curves) - 1 else key
            delay = (i - turns) * SECONDS  # as if it had run one round already, so that all keep their order
            rules.append(
                f".{key}:has(input:checked) g:nth-of-type({i + 1}) "
                f"{{ animation-name: {move}; animation-duration: {whole:g}s; animation-delay: {delay:g}s }}"
            )
        return " ".join(rules)
