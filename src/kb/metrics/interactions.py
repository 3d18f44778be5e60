"""Who rated what, with how many stars and when, and how to split it: at random, or at a moment.

Unusual: splits are of rows and never of the tables made from them, so that nothing of the test is in the training.
Source: Harper and Konstan 2015, The MovieLens Datasets. Shapes: R ratings, U users, I items.
"""

# Fields end in their shapes.
# ruff: noqa: N815

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kb import tables
from kb.arguments import is_integer
from kb.metrics.arrays import share


@dataclass(frozen=True)
class Interactions:
    """Ratings, a row each.

    Args:
        user_R: Users, integers from 0.
        item_R: Items, integers from 0.
        stars_R: Ratings, float64.
        time_R: Seconds.
        num_users: U.
        num_items: I.
    """

    user_R: np.ndarray
    item_R: np.ndarray
    stars_R: np.ndarray
    time_R: np.ndarray
    num_users: int
    num_items: int

    def __len__(self) -> int:
        return len(self.user_R)

    def rows(self, chosen: Any) -> "Interactions":
        """Some of the rows, by a mask or by places."""
        parts = {name: getattr(self, name)[chosen] for name in ("user_R", "item_R", "stars_R", "time_R")}
        return replace(self, **parts)

    def stars(self) -> np.ndarray:
        """The ratings as a table [U, I], 0 where there is none; of several of one pair the last row's."""
        table_UI = np.zeros((self.num_users, self.num_items))
        table_UI[self.user_R, self.item_R] = self.stars_R
        return table_UI

    def seen(self) -> np.ndarray:
        """Whether there is a rating, as a table [U, I]."""
        table_UI = np.zeros((self.num_users, self.num_items), bool)
        table_UI[self.user_R, self.item_R] = True
        return table_UI


def movielens() -> Interactions:
    """MovieLens-100k in the order of time, ties by user and film: 100,000 ratings, 943 users, 1,682 films.

    Raises:
        ModuleNotFoundError: there is no pandas or no pyarrow.
        kb.datasets.DatasetError: the package cannot be had.
    """
    frame = tables.widedeep("MovieLens100k_data").sort_values(["timestamp", "user_id", "movie_id"], kind="stable")
    users, items = frame["user_id"].to_numpy() - 1, frame["movie_id"].to_numpy() - 1
    stars, times = frame["rating"].to_numpy().astype(np.float64), frame["timestamp"].to_numpy().astype(np.int64)
    return Interactions(users, items, stars, times, int(users.max()) + 1, int(items.max()) + 1)


def split_at_time(data: Interactions, train_share: float = 0.8) -> tuple[Interactions, Interactions]:
    """The earlier rows and the later ones; rows of one second stay together, in the later part.

    Raises:
        ValueError: the share is not between 0 and 1, or a part would be empty.
    """
    times = np.sort(data.time_R)
    moment = times[min(round(len(data) * share("train_share", train_share)), len(data) - 1)]
    return _parts(data, data.time_R < moment)


def split_at_random(
    data: Interactions, train_share: float = 0.8, *, seed: int = 0
) -> tuple[Interactions, Interactions]:
    """Rows for training drawn at random, and the others; errors as of :func:`split_at_time`, or a seed that is none."""
    if not is_integer(seed):
        raise ValueError(f"seed must be an integer, got {seed!r}")
    count = round(len(data) * share("train_share", train_share))
    drawn = np.zeros(len(data), bool)
    drawn[np.random.default_rng(seed).permutation(len(data))[:count]] = True
    return _parts(data, drawn)


def split_last(data: Interactions) -> tuple[Interactions, Interactions]:
    """Leave one out: each user's last row for the test (of one second the last in the table), all others to train on.

    Raises:
        ValueError: a part would be empty.
    """
    order = np.lexsort((np.arange(len(data)), data.time_R, data.user_R))
    is_last = np.append(np.diff(data.user_R[order]) != 0, True)
    earlier = np.ones(len(data), bool)
    earlier[order[is_last]] = False
    return _parts(data, earlier)


def _parts(data: Interactions, earlier_R: np.ndarray) -> tuple[Interactions, Interactions]:
    if earlier_R.all() or not earlier_R.any():
        raise ValueError(f"both parts must have a row, got {int(earlier_R.sum())} of {len(data)} to train on")
    return data.rows(earlier_R), data.rows(~earlier_R)
