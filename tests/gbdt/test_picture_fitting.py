"""Curves through points as HTML: what is drawn, in which order it moves, and what is refused."""

import re
from typing import Any

import matplotlib.path
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kb.gbdt.pictures.fitting import HEIGHT, LINE, MARGIN, SECONDS, WIDTH, Fitting

X, Y, GRID = np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 4.0]), np.linspace(0.0, 2.0, 5)
CURVES = {"1 tree": np.full(5, 1.0), "2 <trees>": np.array([0.0, 0.5, 1.0, 2.0, 4.0]), "3 trees": GRID**2}


def corners(page: str) -> list[list[tuple[float, float]]]:
    """The outline of each curve."""
    pairs = [
        [one.replace("px", "").split() for one in found.split(",")] for found in re.findall(r"polygon\((.*?)\)", page)
    ]
    return [[(float(x), float(y)) for x, y in outline] for outline in pairs]


def test_text_has_the_error_of_each_curve() -> None:
    fitting = Fitting(X, Y, GRID, CURVES)
    assert fitting.error("1 tree") == pytest.approx((1 + 0 + 9) / 3)
    assert fitting.error("3 trees") == 0
    assert repr(fitting).splitlines()[0].split() == ["1", "tree", "mean", "squared", "error", "3.333"]
    assert len(repr(fitting).splitlines()) == 3


def test_points_and_curves_lie_where_they_belong() -> None:
    page = Fitting(X, Y, GRID, CURVES)._repr_html_()
    points = [(float(x), float(y)) for x, y in re.findall(r'<i style="left:(.*?)px;top:(.*?)px">', page)]
    assert [x for x, _ in points] == [MARGIN, WIDTH / 2, WIDTH - MARGIN]
    assert points[0][1] == HEIGHT - MARGIN
    assert points[2][1] == pytest.approx(3 * MARGIN)
    flat, steps, _ = corners(page)
    low, high = points[0][1], points[2][1]
    level = low - (low - high) / 4
    np.testing.assert_allclose(
        flat,
        [
            (MARGIN, level - LINE),
            (WIDTH - MARGIN, level - LINE),
            (WIDTH - MARGIN, level + LINE),
            (MARGIN, level + LINE),
        ],
        atol=0.06,
    )
    assert len(steps) == 2 * (2 + 2 * 4)
    assert re.findall(r"<b>(.*?)</b>", page)[1] == "2 &lt;trees&gt;: 0.000"


@given(
    heights=st.lists(st.sampled_from([0.0, 1.0, 1.5, 3.0, -2.0]), min_size=2, max_size=12),
    seed=st.integers(0, 2**16),
)
def test_the_band_is_seen_around_the_curve_and_nowhere_else(heights: list[float], seed: int) -> None:
    curve = np.array(heights)
    grid = np.sort(np.random.default_rng(seed).uniform(0, 10, len(curve)))
    fitting = Fitting(X, Y, grid, {"one": curve})
    places = fitting._pixels(grid, curve)
    assume(np.diff(places[:, 0]).min() > 6 * LINE)  # so that no jump is near a place
    inner = places[1:-1]
    outline = matplotlib.path.Path(corners(fitting._repr_html_())[0])
    assert outline.contains_points(inner).all()
    aside = np.array([0.0, 2 * LINE])
    assert not outline.contains_points(np.concatenate([inner - aside, inner + aside])).any()


def test_each_curve_has_its_turn_and_the_last_one_three() -> None:
    page = Fitting(X, Y, GRID, CURVES)._repr_html_()
    turns = len(CURVES) + 2
    moves = re.findall(
        r"nth-of-type\((\d)\) \{ animation-name: (\S+); animation-duration: (\S+)s; .*?-delay: (\S+)s", page
    )
    assert [int(place) for place, *_ in moves] == [1, 2, 3]
    assert [name.endswith("-last") for _, name, *_ in moves] == [False, False, True]
    assert {float(whole) for _, _, whole, _ in moves} == {turns * SECONDS}
    assert [round(float(delay) / SECONDS) % turns for *_, delay in moves] == [0, 1, 2]
    assert re.findall(r"visible \} ([\d.]+)%", page) == ["20.000", "60.000"]
    assert "<script" not in page
    assert "<svg" not in page


def test_two_on_one_page_do_not_move_each_other() -> None:
    names = [
        set(re.findall(r"@keyframes (\S+)", Fitting(X, Y, GRID, curves)._repr_html_()))
        for curves in (CURVES, {"1 tree": GRID})
    ]
    assert all(len(one) == 2 for one in names)
    assert not names[0] & names[1]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"curves": {}}, ValueError, "at least one curve"),
        ({"x_N": [0.0, 1.0]}, TypeError, "x_N must be an array of numbers, got list"),
        ({"y_N": np.array(["a", "b", "c"])}, TypeError, "y_N must be an array of numbers"),
        ({"y_N": np.array([0.0, np.nan, 1.0])}, ValueError, "y_N must be finite"),
        ({"y_N": Y[:2]}, ValueError, "as many"),
        ({"x_N": np.zeros(3)}, ValueError, "two places"),
        ({"grid_Q": GRID[::-1].copy()}, ValueError, "ascending"),
        ({"curves": {"odd": GRID[1:]}}, ValueError, "odd must have 5 heights"),
        ({"curves": {"flat": np.zeros((5, 1))}}, ValueError, "flat must be finite numbers in one axis"),
    ],
)
def test_refuses(change: dict[str, Any], error: type[Exception], says: str) -> None:
    parts: dict[str, Any] = {"x_N": X, "y_N": Y, "grid_Q": GRID, "curves": CURVES}
    with pytest.raises(error, match=says):
        Fitting(**(parts | change))
