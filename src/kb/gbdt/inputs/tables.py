"""Tables of all kinds as a matrix of floats: NumPy arrays, lists, and data frames with columns of categories.

A column of categories is replaced by the numbers of its values in the order in which it was fitted; a value that was
not there then is missing. Nothing else is done to the data, and a frame's library is not imported.

Shapes: N rows, F features.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_TOO_LARGE = 2**31  # a category of so much or more counts as missing


@dataclass(frozen=True)
class Columns:
    """What must be known of a fitted table to read another one.

    Attributes:
        categories: Of each column of categories, by its place, the values in order.
    """

    categories: dict[int, tuple[Any, ...]]


def is_frame(table: Any) -> bool:
    """Whether a table is a data frame as pandas has them."""
    return hasattr(table, "iloc") and hasattr(table, "dtypes") and hasattr(table, "columns")


def columns_of(table: Any) -> Columns:
    """The categories of a frame's columns; none of anything else."""
    if not is_frame(table):
        return Columns({})
    kinds = list(table.dtypes)
    return Columns({place: tuple(kind.categories) for place, kind in enumerate(kinds) if hasattr(kind, "categories")})


def to_numbers(table: Any, columns: Columns) -> Any:
    """The same table with numbers in the place of categories; what is no frame comes back as it is.

    Raises:
        ValueError: a column that had categories has none now, or the other way round; two columns have one name, and
            one of them categories; or a column holds dates.
    """
    _refuse_dates(table)
    if not is_frame(table):
        return table
    known, now = set(columns.categories), set(columns_of(table).categories)
    if len(table.columns) > max(known | now, default=-1) and known != now:
        raise ValueError(f"columns of categories were {sorted(known)} when fitted, and are {sorted(now)} now")
    if not known:
        return table
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise ValueError(f"X must have columns with different names, got two named {twice!r}")
    table = table.copy(deep=False)
    for place, values in columns.categories.items():
        if place < len(table.columns):
            name = table.columns[place]
            codes = table[name].cat.set_categories(values).cat.codes.to_numpy(np.float64)
            table[name] = np.where(codes < 0, np.nan, codes)
    return table


def _refuse_dates(table: Any) -> None:
    """Refuse what NumPy would turn into a count of nanoseconds without a word."""
    if is_frame(table):
        for name, kind in zip(table.columns, table.dtypes, strict=True):
            if getattr(kind, "kind", "") in tuple("mM"):
                raise ValueError(f"X must hold numbers or categories, got column {name!r} of {kind}")
    elif getattr(getattr(table, "dtype", None), "kind", "") in tuple("mM"):
        raise ValueError(f"X must hold numbers, got {table.dtype}")


def warn_of_large_categories(
    values_NF: np.ndarray, categorical: Iterable[int], names: Sequence[str] | None = None
) -> None:
    """Warn once of all columns with categories that LightGBM's integers of 32 bits cannot hold: they are missing."""
    large = [place for place in sorted(categorical) if (values_NF[:, place] >= _TOO_LARGE).any()]
    if large:
        columns = ", ".join(str(place) if names is None else repr(str(names[place])) for place in large)
        warnings.warn(f"X has categories of 2^31 or more, which count as missing, in column {columns}", stacklevel=4)


def places(features: Sequence[int | str] | str | None, names: Sequence[str] | None, count: int) -> tuple[int, ...]:
    """The places of features that are named or numbered; "auto" and None name none.

    Raises:
        ValueError: there is no such feature, or a name is given and the table has none.
    """
    if features is None or isinstance(features, str):
        if features not in (None, "auto", ""):
            raise ValueError(f"categorical_feature must be 'auto' or a list of features, got {features!r}")
        return ()
    if not isinstance(features, Iterable):
        raise ValueError(f"categorical_feature must be 'auto' or a list of features, got {features!r}")
    found = []
    for feature in features:
        if isinstance(feature, str):
            if names is None or feature not in names:
                raise ValueError(f"categorical_feature: there is no feature named {feature!r}")
            found.append(list(names).index(feature))
        elif isinstance(feature, bool) or not isinstance(feature, int | np.integer) or not 0 <= feature < count:
            raise ValueError(f"categorical_feature: features are numbered from 0 to {count - 1}, got {feature!r}")
        else:
            found.append(int(feature))
    return tuple(sorted(set(found)))
