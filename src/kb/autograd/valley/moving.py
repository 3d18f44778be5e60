"""Paths in a valley as they are walked, all at once: one panel a path, and a switch that lets the points move.

Unusual: it is HTML and style sheets alone, no script and no picture, so it moves in a built page as well as in Colab,
and only when it is asked to. Standing still, and as text, it shows the whole of each path.
"""

import html
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kb import plotting
from kb.autograd.valley.descent import Path, Valley

WIDTH = 200  # pixels of a panel
SECONDS = 9.0  # for the whole of a path
LEVELS = (0.15, 0.6, 2.0, 5.0, 12.0)  # heights of the contour lines, as shares of a tenth of the start's
SHOWN = (0, 1, 2, 5, 10, 20, 40, 60)  # steps that the text has, as far as there are so many

_STYLE = f"""\
.kb-moving {{ background: {plotting.CARD}; color: {plotting.INK}; border-radius: 8px; padding: 0.9em 1.2em }}
.kb-moving label {{ display: inline-flex; gap: 0.5em; align-items: center; font-weight: bold; color: inherit }}
.kb-moving input {{ accent-color: {plotting.BLUE}; width: 1.2em; height: 1.2em }}
.kb-moving ul {{ display: grid; grid-template-columns: repeat(auto-fill, {WIDTH}px); gap: 0.6em 1em }}
.kb-moving ul, .kb-moving li {{ list-style: none; margin: 0.4em 0 0; padding: 0; color: inherit }}
.kb-moving .kb-panel {{ position: relative; overflow: hidden; width: {WIDTH}px; border: 1px solid #e3e5ea }}
.kb-moving i {{ position: absolute; display: block; box-sizing: border-box; border-radius: 50% }}
.kb-moving .kb-level {{ border: 1px solid #c5c9d3 }}
.kb-moving .kb-goal {{ width: 7px; height: 7px; margin: -3.5px; background: {plotting.ORANGE} }}
.kb-moving .kb-trail {{ width: 3px; height: 3px; margin: -1.5px; opacity: 0.45 }}
.kb-moving .kb-point {{ width: 11px; height: 11px; margin: -5.5px; background: {plotting.BLUE}; visibility: hidden;
  animation: 0s linear infinite paused }}
.kb-moving:has(input:checked) .kb-point {{ animation-play-state: running; visibility: visible }}
@media (max-width: 480px) {{ .kb-moving .kb-panel {{ zoom: 0.74 }}
  .kb-moving ul {{ grid-template-columns: repeat(auto-fill, {0.74 * WIDTH:.0f}px) }} }}"""


@dataclass(frozen=True)
class Moving:
    """Paths of one valley, as they are shown in a notebook.

    Attributes:
        valley: Whose contour lines are drawn.
        paths: By name, each [steps + 1, 2], all equally long, of one start.

    Raises:
        TypeError: the valley is none, or the paths are not arrays under names.
        ValueError: there are no paths, or one is of another shape or start than the first, or has NaN.
    """

    valley: Valley
    paths: Mapping[str, Path]

    def __post_init__(self) -> None:
        if not isinstance(self.valley, Valley) or not isinstance(self.paths, Mapping):
            kinds = f"{type(self.valley).__name__} and {type(self.paths).__name__}"
            raise TypeError(f"a Valley and a dict of paths are wanted, got {kinds}")
        if not self.paths:
            raise ValueError("paths must hold at least one path, got none")
        first = next(iter(self.paths.values()))
        for name, path in self.paths.items():
            if not isinstance(name, str) or not isinstance(path, np.ndarray):
                raise TypeError(f"paths must be arrays under names, got {type(path).__name__} for {name!r}")
            if np.isnan(path).any():
                raise ValueError(f"paths must hold no NaN, got one for {name!r}")
            if path.ndim != 2 or path.shape[1] != 2 or path.shape != first.shape or len(path) < 2:
                raise ValueError(f"each path must be [steps + 1, 2], all alike; got {path.shape} for {name!r}")
            if not np.isfinite(path[0]).all() or (path[0] != first[0]).any() or not first[0].any():
                raise ValueError(f"paths must begin at one point that is not the minimum; got {path[0]} for {name!r}")

    @property
    def half(self) -> Path:
        """Half the width and half the height of what a panel shows, in the units of the parameters."""
        everywhere = np.abs(np.stack(list(self.paths.values())))
        start = everywhere[0, 0]
        reach = np.minimum(everywhere.max(axis=(0, 1)), 1.25 * start.max())  # whoever flies off does not count
        return np.maximum(np.maximum(1.15 * start, 1.05 * reach), 0.42 * start.max())

    def __repr__(self) -> str:
        steps = [step for step in SHOWN if step < len(next(iter(self.paths.values())))]
        width = max(map(len, self.paths))
        lines = [f"{'step':{width}}" + "".join(f"{step:>9}" for step in steps)]
        for name, path in self.paths.items():
            heights = self.valley.height(path[steps])
            lines.append(f"{name:{width}}" + "".join(f"{_amount(height):>9}" for height in heights))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        scale = WIDTH / (2 * self.half[0])
        middle = np.array([WIDTH / 2, round(scale * self.half[1])])
        key = zlib.crc32(b"".join(np.round(path, 6).tobytes() for path in self.paths.values()))
        style, panels = [_STYLE], []
        for place, (name, path) in enumerate(self.paths.items()):
            far = 4 * WIDTH  # whatever is outside of the panel
            with np.errstate(over="ignore"):
                pixels = np.clip(path * scale * (1, -1), -far, far)
            frames = "".join(
                f"{100 * step / (len(path) - 1):.2f}%{{transform:translate({x:.1f}px,{y:.1f}px)}}"
                for step, (x, y) in enumerate(pixels)
            )
            style.append(f"@keyframes kb-{key:08x}-{place} {{ {frames} }}")
            trail = ",".join(f"{x:.1f}px {y:.1f}px {plotting.BLUE}" for x, y in pixels)
            moving = f"animation-name:kb-{key:08x}-{place};animation-duration:{SECONDS:g}s"
            at = f"left:{middle[0]:.0f}px;top:{middle[1]:.0f}px"
            marks = f'{self._levels(scale, at)}<i class="kb-goal" style="{at}"></i>'
            marks += f'<i class="kb-trail" style="{at};box-shadow:{trail}"></i>'
            marks += f'<i class="kb-point" style="{at};{moving}"></i>'
            panels.append(
                f'<li>{html.escape(name)}<div class="kb-panel" style="height:{2 * middle[1]:.0f}px">{marks}</div></li>'
            )
        return (
            f'<div class="kb-moving"><style>{" ".join(style)}</style><label><input type="checkbox"> play</label>'
            f"<ul>{''.join(panels)}</ul></div>"
        )

    def _levels(self, scale: float, at: str) -> str:
        """The contour lines of the valley, which are ellipses."""
        tenth = 0.1 * float(self.valley.height(next(iter(self.paths.values()))[0]))
        lines = []
        for level in LEVELS:
            wide, high = (2 * scale * (2 * level * tenth / h) ** 0.5 for h in (self.valley.along, self.valley.across))
            lines.append(
                f'<i class="kb-level" style="{at};width:{wide:.1f}px;height:{high:.1f}px;'
                f'transform:translate(-50%,-50%) rotate({-self.valley.degrees:g}deg)"></i>'
            )
        return "".join(lines)


def _amount(height: Any) -> str:
    """A height in few characters; what is below the noise of floating point is 0."""
    if height < 1e-12:
        return "0"
    if height < 0.01 or height >= 10_000:
        return f"{height:.0e}"
    return f"{height:.0f}" if height >= 10 else f"{height:.2g}"
