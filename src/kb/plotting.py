"""One look for every figure: palette, sizes, fonts. Set here and nowhere else.

Figures are PNG on an opaque near-white card, so that the same file reads on a light and on a dark page. The colours
are Okabe and Ito's, which stay apart for colour-blind readers (https://jfly.uni-koeln.de/color/); every series also
differs in marker or line style where two meet in one plot.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, StrMethodFormatter

BLUE, ORANGE, GREEN, RED = "#0072B2", "#D55E00", "#009E73", "#A6192E"
PURPLE, SKY, YELLOW, GREY = "#8F4A87", "#56B4E9", "#E69F00", "#6B7280"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY, RED, GREY)

CARD = "#fbfbfd"
INK = "#1f2430"

STYLE: Any = {
    "figure.facecolor": CARD,
    "figure.dpi": 110,
    "savefig.facecolor": CARD,
    "savefig.dpi": 110,
    "axes.facecolor": CARD,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e5ea",
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "text.color": INK,
    "font.size": 10.5,
    "lines.linewidth": 2.0,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
}


def figure(rows: int = 1, columns: int = 1, *, width: float = 7.4, height: float = 3.4, **options: Any) -> Any:
    """A new figure in the book's style: ``(figure, axes)`` as ``plt.subplots`` gives them.

    Args:
        rows: Rows of axes.
        columns: Columns of axes.
        width: Width in inches; 7.4 fills the text column of the site.
        height: Height in inches.
        **options: Handed to ``plt.subplots``.
    """
    plt.rcParams.update(STYLE)
    plt.rcParams["axes.prop_cycle"] = plt.cycler(color=PALETTE)
    made: tuple[Figure, Any] = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **options)
    return made


def plain_log(axis: Axis, ticks: Sequence[float] | None = None) -> None:
    """Label a logarithmic axis with plain numbers: at ``ticks`` and nowhere else, or at 1, 2, 5, 10, 20 and so on."""
    axis.set_major_locator(FixedLocator(ticks) if ticks is not None else LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_locator(NullLocator())


def heatmap(axes: Axes, values: Any, *, fmt: str = ".2f", cmap: str = "Blues", **options: Any) -> None:
    """Draw a small matrix with its numbers written in the cells.

    Args:
        axes: Where to draw.
        values: A 2-D array; a NaN is left blank.
        fmt: Format of each number.
        cmap: A colour map whose dark end takes white text.
        **options: Handed to ``imshow``.
    """
    image = axes.imshow(values, cmap=cmap, **options)
    axes.grid(visible=False)
    low, high = image.get_clim()
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            if value == value:  # not NaN
                shade = (float(value) - low) / (high - low or 1.0)
                axes.text(
                    column,
                    row,
                    format(float(value), fmt),
                    ha="center",
                    va="center",
                    color="white" if shade > 0.6 else INK,
                    fontsize=9,
                )
