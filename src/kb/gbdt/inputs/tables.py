"""Tables of all kinds as a matrix of floats: NumPy arrays, lists, and data frames with columns of categories.

A column of categories is replaced by the numbers of its values in the order in which it was fitted; a value that was
not there then is missing. Nothing else is done to the data, and a frame's library is not imported.

Shapes: N rows, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


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
        ValueError: a column that had categories has none now, or the other way round.
    """
    if not is_frame(table):
        return table
    known, now = set(columns.categories), set(columns_of(table).categories)
    if len(table.columns) > max(known | now, default=-1) and known != now:
        raise ValueError(f"columns of categories were {sorted(known)} when fitted, and are {sorted(now)} now")
    if not known:
        return table
    table = table.copy(deep=False)
    for place, values in columns.categories.items():
        if place < len(table.columns):
            name = table.columns[place]
            codes = table[name].cat.set_categories(values).cat.codes.to_numpy(np.float64)
            table[name] = np.where(codes < 0, np.nan, codes)
    return table


def places(features: Sequence[int | str] | str | None, names: Sequence[str] | None, count: int) -> tuple[int, ...]:
    """The places of features that are named or numbered; "auto" and None name none.

    Raises:
        ValueError: there is no such feature, or a name is given and the table has none.
    """
    if features is None or isinstance(features, str):
        if features not in (None, "auto", ""):
            raise ValueError(f"categorical_feature must be 'auto' or a list of features, got {features!r}")
        return ()
    found = []
    for feature in features:
        if isinstance(feature, str):
            if names is None or feature not in names:
                raise ValueError(f"there is no feature named {feature!r}")
            found.append(list(names).index(feature))
        elif isinstance(feature, bool) or not isinstance(feature, int | np.integer) or not 0 <= feature < count:
            raise ValueError(f"features are numbered from 0 to {count - 1}, got {feature!r}")
        else:
            found.append(int(feature))
    return tuple(sorted(set(found)))
