"""The four real tables: shapes, kinds of columns, known numbers."""

import sys

import numpy as np
import pytest

from kb import tables
from kb.gbdt import data


@pytest.fixture(autouse=True)
def pandas() -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")


def test_california() -> None:
    X, prices = data.california()
    assert X.shape == (20_640, 8)
    assert prices.mean() == pytest.approx(2.06856, abs=1e-5)  # as scikit-learn describes the same data
    assert X["MedInc"].mean() == pytest.approx(3.87067, abs=1e-5)
    assert not X.isna().any(axis=None)


def test_adult() -> None:
    X, rich = data.adult()
    assert X.shape == (48_842, 14)
    assert int(rich.sum()) == 11_687  # the source's own count
    assert sum(str(kind) == "category" for kind in X.dtypes) == 8
    assert int(X["occupation"].isna().sum()) == 2809
    assert not (X == "?").any(axis=None)


def test_kdd04() -> None:
    X, related, counts = data.kdd04()
    assert X.shape == (145_751, 74)
    assert int(related.sum()) == 1296
    assert (len(counts), int(counts.sum())) == (153, 145_751)
    starts = np.cumsum(counts) - counts
    assert np.add.reduceat(related, starts).min() >= 1  # each query has a relative


def test_flights() -> None:
    X, delays = data.flights()
    assert X.shape == (327_346, 26)
    assert delays.mean() == pytest.approx(6.895, abs=1e-3)  # as in the source's documentation
    assert sum(str(kind) == "category" for kind in X.dtypes) == 6
    assert X["tailnum"].nunique() == 4037
    assert 0.7 < X["wind_gust"].isna().mean() < 0.8
    assert not {"dep_delay", "air_time", "arr_time", "dep_time", "arr_delay"} & set(X.columns)
    assert X.loc[0, "weekday"] == 1  # New Year's Day of 2013 was a Tuesday


def test_flights_with_their_departure_delay() -> None:
    X, delays = data.flights(departure_delay=True)
    assert X.shape == (327_346, 27)
    assert np.corrcoef(X["dep_delay"], delays)[0, 1] == pytest.approx(0.915, abs=1e-3)


@pytest.mark.parametrize("missing", ["pandas", "pyarrow"])
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ModuleNotFoundError, match=f"pip install {missing}"):
        tables.pandas_with_parquet()
