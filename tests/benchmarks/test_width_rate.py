"""The search for the best rate: the parabola by hand, and one tiny run of each scheme."""

import math
from itertools import product

import pytest

from benchmarks.measurements.width_rate import SCHEMES, Run, Setting, best_exponent, loss_of, measurement

TINY = Setting(widths=(16, 32), exponents=(-9, -7, -5), layers=1, length=8, batch=2, steps=10, seeds=1, judged=4)


def test_the_minimum_of_a_parabola_by_hand() -> None:
    assert best_exponent([-9, -8, -7], [4.0, 1.0, 2.0]) == pytest.approx(-7.75)
    assert best_exponent([-9, -8, -7], [1.0, 2.0, 3.0]) == -9
    assert best_exponent([-9, -8, -7], [4.0, 1.0, math.inf]) == -8
    for losses in ([1.0, 2.0], [math.inf, math.inf, math.nan]):
        with pytest.raises(ValueError, match="exponents"):
            best_exponent([-9, -8, -7], losses)


def test_a_tiny_measurement_has_a_sample_a_seed() -> None:
    jobs = [Run(*kind, TINY) for kind in product(SCHEMES, TINY.widths, TINY.exponents, range(TINY.seeds))]
    found = {job: loss_of(job) for job in jobs}
    assert all(4 < loss < 8 for loss in found.values())
    made = measurement(TINY, found)
    assert set(made.samples) == {f"{scheme}, width {width}" for scheme in SCHEMES for width in TINY.widths}
    assert all(len(one.values) == 1 and -9 <= one.values[0] <= -5 for one in made.samples.values())
    base = [found[Run(scheme, 16, exponent, 0, TINY)] for scheme in SCHEMES for exponent in TINY.exponents]
    assert base[:3] == base[3:]  # at the base the two schemes are one
