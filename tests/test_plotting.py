"""Figures: one style, readable numbers."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from kb import plotting


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_every_colour_stands_out_from_the_card() -> None:
    assert contrast(plotting.INK, plotting.CARD) >= 7
    # 3:1 is what WCAG asks of graphics; the two light ones are for areas that have an outline or a label.
    assert all(contrast(c, plotting.CARD) >= 3 for c in set(plotting.PALETTE) - {plotting.YELLOW, plotting.SKY})


def test_a_figure_is_opaque_and_small(tmp_path) -> None:
    figure, axes = plotting.figure(1, 2)
    assert len(axes) == 2
    axes[0].plot([1, 2, 4])
    figure.savefig(tmp_path / "figure.png")
    plt.close(figure)
    pixels = plt.imread(tmp_path / "figure.png")
    assert pixels.shape[1] == pytest.approx(7.4 * 110, abs=1)
    assert np.allclose(pixels[0, 0, :3], to_rgb(plotting.CARD), atol=1 / 255)
    assert (tmp_path / "figure.png").stat().st_size < 60_000


def test_heatmap_writes_each_number_where_it_can_be_read() -> None:
    figure, ax = plotting.figure()
    plotting.heatmap(ax, [[1.0, math.nan], [0.25, 0.0]])
    written = {text.get_position(): (text.get_text(), text.get_color()) for text in ax.texts}
    plt.close(figure)
    assert written == {
        (0, 0): ("1.00", "white"),
        (0, 1): ("0.25", plotting.INK),
        (1, 1): ("0.00", plotting.INK),
    }


def test_plain_log_labels_what_is_asked_and_powers_otherwise() -> None:
    made, axes = plotting.figure()
    axes.loglog([16, 512], [25, 900])
    plotting.plain_log(axes.xaxis, [16, 128, 512])
    plotting.plain_log(axes.yaxis)
    made.canvas.draw()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["16", "128", "512"]
    assert {"50", "100", "200", "500"} <= {label.get_text() for label in axes.get_yticklabels()}
    assert not axes.get_xticklabels(minor=True)
