"""How boosted trees come to fit points on a line: a curve for each number of trees, and a switch that plays them.

Unusual: it is HTML and style sheets alone, no script and no picture, so it moves in a built page as well as in Colab,
and only when it is asked to. A curve is a coloured box of which only a narrow polygon is seen. Standing still it shows
the last curve, and as text the error of each.

Shapes: N points, Q places at which curves are drawn, M curves, C corners.
"""

# Fields end in their shapes.
# ruff: noqa: N815

import html
import zlib
from dataclasses import dataclass

import numpy as np

from kb import plotting

WIDTH, HEIGHT, MARGIN = 640, 260, 12  # pixels
LINE = 1.3  # pixels, half the width of a curve
SECONDS = 0.7  # that a curve stays

_STYLE = f"""\
.kb-fitting {{ background: {plotting.CARD}; color: {plotting.INK}; border-radius: 8px; padding: 0.9em 1.2em }}
.kb-fitting label {{ display: inline-flex; gap: 0.5em; align-items: center; font-weight: bold; color: inherit }}
.kb-fitting input {{ accent-color: {plotting.BLUE}; width: 1.2em; height: 1.2em }}
.kb-fitting .kb-panel {{ position: relative; overflow: hidden; width: {WIDTH}px; height: {HEIGHT}px }}
.kb-fitting .kb-panel > i {{ position: absolute; width: 5px; height: 5px; margin: -2.5px; border-radius: 50%;
  background: {plotting.GREY}; opacity: 0.6 }}
.kb-fitting .kb-curve {{ position: absolute; inset: 0; visibility: hidden; color: inherit }}
.kb-fitting .kb-curve i {{ position: absolute; inset: 0; background: {plotting.BLUE} }}
.kb-fitting .kb-curve b {{ position: absolute; left: {MARGIN}px; top: 0; font-weight: normal; color: inherit }}
.kb-fitting .kb-curve:last-of-type {{ visibility: visible }}
.kb-fitting:has(input:checked) .kb-curve {{ visibility: hidden; animation-timing-function: step-end;
  animation-iteration-count: infinite }}
@media (max-width: 760px) {{ .kb-fitting .kb-panel {{ zoom: 0.7 }} .kb-fitting b {{ font-size: 140% }} }}
@media (max-width: 520px) {{ .kb-fitting .kb-panel {{ zoom: 0.45 }} .kb-fitting b {{ font-size: 200% }} }}"""


@dataclass(frozen=True)
class Fitting:
    """Curves through points, as they are shown in a notebook.

    Attributes:
        x_N, y_N: The points.
        grid_Q: Where the curves are drawn, ascending.
        curves: By name, such as "3 trees", the heights [Q] of a curve, in the order in which they are played. Between
            two places of the grid a curve is a step in the middle.

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
        """Mean squared distance of the points from a curve."""
        nearest_N = np.abs(self.x_N[:, None] - self.grid_Q).argmin(axis=1)
        return float(((self.y_N - self.curves[name][nearest_N]) ** 2).mean())

    def __repr__(self) -> str:
        return "\n".join(f"{name:>12}  mean squared error {self.error(name):.3f}" for name in self.curves)

    def _repr_html_(self) -> str:
        points = "".join(
            f'<i style="left:{x:.1f}px;top:{y:.1f}px"></i>' for x, y in self._pixels(self.x_N, self.y_N).tolist()
        )
        frames = [
            f'<div class="kb-curve"><i style="clip-path:polygon({self._outline(curve_Q)})"></i>'
            f"<b>{html.escape(name)}: {self.error(name):.3f}</b></div>"
            for name, curve_Q in self.curves.items()
        ]
        key = f"kb-fit-{zlib.crc32(' '.join(frames).encode()):08x}"
        return (
            f'<div class="kb-fitting {key}"><style>{_STYLE} {self._moves(key)}</style>'
            f'<label><input type="checkbox"> play</label>'
            f'<div class="kb-panel">{points}{"".join(frames)}</div></div>'
        )

    def _pixels(self, x_C: np.ndarray, y_C: np.ndarray) -> np.ndarray:
        """Where in the panel something lies, [C, 2]; a strip at the top is left free for the name."""
        heights = np.concatenate([self.y_N, *self.curves.values()])
        places = np.concatenate([self.x_N, self.grid_Q])
        left, bottom, wide, high = places.min(), heights.min(), np.ptp(places), np.ptp(heights) or 1.0
        across = MARGIN + (x_C - left) / wide * (WIDTH - 2 * MARGIN)
        down = HEIGHT - MARGIN - (y_C - bottom) / high * (HEIGHT - 4 * MARGIN)
        return np.stack([across, down], axis=1)

    def _outline(self, curve_Q: np.ndarray) -> str:
        """The corners of a band around a curve: along its upper edge, and back along its lower one."""
        jumps = np.flatnonzero(np.diff(curve_Q))
        middles = (self.grid_Q[jumps] + self.grid_Q[jumps + 1]) / 2
        x_C = np.concatenate([self.grid_Q[:1], np.repeat(middles, 2), self.grid_Q[-1:]])
        y_C = np.repeat(curve_Q[np.append(jumps, len(curve_Q) - 1)], 2)
        corners_C2 = self._pixels(x_C, y_C)
        falls = np.repeat(np.sign(np.diff(corners_C2[::2, 1])), 2)  # 1 where the band goes down the panel
        aside = np.concatenate([[0.0], falls, [0.0]])  # the upper edge turns a corner later, or sooner
        shift_C2 = LINE * np.stack([aside, -np.ones(len(aside))], axis=1)
        edge = [*(corners_C2 + shift_C2).tolist(), *(corners_C2 - shift_C2).tolist()[::-1]]
        return ",".join(f"{x:.1f}px {y:.1f}px" for x, y in edge)

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
                f".{key}:has(input:checked) .kb-curve:nth-of-type({i + 1}) "
                f"{{ animation-name: {move}; animation-duration: {whole:g}s; animation-delay: {delay:g}s }}"
            )
        return " ".join(rules)
