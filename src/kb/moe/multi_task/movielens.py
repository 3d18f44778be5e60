"""MovieLens-100k as a task with two targets: will this user see this film, and will they like it.

Both are what a recommender wants of one row, a user and a film at a moment: a list ranked by either alone is of films
that nobody opens, or of films that nobody minds. Every rating is a row that was seen, and liked from 4 stars on; beside
each stands a film that its user never rates, drawn at random, which was not seen and of which liking is not known.

Unusual: every number that describes a row (how often a film was rated, by whom, how a user rates its genres) is of
ratings of earlier seconds alone, so the test rows, the last fifth in time, are told nothing of the future. Most users
rate on one day and never again, so nearly all users of the test rows are new: features are all that is known of them,
and there is no table of users to be learnt by heart.

Source: Harper and Konstan 2015, The MovieLens Datasets. Ma et al. 2018, MMoE, section 1, have the same pair of targets.
Shapes: N rows, F features, G genres, R ratings, Q queries.
"""

# Fields end in their shapes.
# ruff: noqa: N815

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kb import tables

GENRES = 18
TASKS = ("seen", "liked")
LIKED = 4
_MIDDLE, _DOUBT = 3.5, 5.0  # a mean starts there, with the weight of so many ratings
_DAY = 86_400


@dataclass(frozen=True)
class Rows:
    """Rows in the order of time.

    Attributes:
        x_NF: Features, float32; of the training rows each has mean 0 and standard deviation 1.
        targets_N2: 1 or 0 for each of :data:`TASKS`; NaN where it is not known.
    """

    x_NF: Tensor
    targets_N2: Tensor

    def __len__(self) -> int:
        return len(self.x_NF)


@dataclass(frozen=True)
class MovieLens:
    """The rows in three parts, one after the other in time: 70 %, 10 % and 20 % of the ratings.

    Attributes:
        train: To learn from.
        validation: To choose by.
        test: To judge by.
        features: F names.
    """

    train: Rows
    validation: Rows
    test: Rows
    features: tuple[str, ...]


def movielens(seed: int = 0) -> MovieLens:
    """Read the ratings, draw the films that were not seen, and describe every row.

    Args:
        seed: Of the draw.

    Raises:
        ModuleNotFoundError: there is no pandas or no pyarrow.
        kb.datasets.DatasetError: the package cannot be had.
    """
    ratings, films, users = (tables.widedeep(f"MovieLens100k_{name}") for name in ("data", "items", "users"))
    ratings = ratings.sort_values(["timestamp", "user_id", "movie_id"], kind="stable")
    user_R, film_R = ratings["user_id"].to_numpy() - 1, ratings["movie_id"].to_numpy() - 1
    stars_R, time_R = ratings["rating"].to_numpy().astype(np.float64), ratings["timestamp"].to_numpy()
    other_R = unseen_films(user_R, film_R, len(films), np.random.default_rng(seed))
    # A rating and its unseen film stand one after the other.
    film_N = np.stack([film_R, other_R], 1).ravel()
    user_N, time_N = np.repeat(user_R, 2), np.repeat(time_R, 2)
    columns = _history(user_R, film_R, stars_R, time_R, films, user_N, film_N, time_N)
    columns |= _profiles(films, users, user_N, film_N, time_N)
    liked_N = np.where(np.arange(len(film_N)) % 2 == 0, np.repeat(stars_R >= LIKED, 2), np.nan)
    targets_N2 = np.stack([np.arange(len(film_N)) % 2 == 0, liked_N], 1)
    x_NF = np.stack(list(columns.values()), 1)
    ends = [2 * round(share * len(stars_R)) for share in (0.7, 0.8, 1.0)]
    mean_F, spread_F = x_NF[: ends[0]].mean(0), x_NF[: ends[0]].std(0)
    x_NF = ((x_NF - mean_F) / np.where(spread_F > 0, spread_F, 1)).astype(np.float32)
    parts = [
        Rows(torch.from_numpy(x_NF[start:end]), torch.from_numpy(targets_N2[start:end]).float())
        for start, end in zip([0, *ends[:-1]], ends, strict=True)
    ]
    return MovieLens(parts[0], parts[1], parts[2], tuple(columns))


def before(
    key_R: np.ndarray, time_R: np.ndarray, value_R: np.ndarray, key_Q: np.ndarray, time_Q: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many events of a key came before a moment, and the sum of their values: [Q] and [Q].

    Args:
        key_R: Whose each event is, integers of at least 0.
        time_R: When it came, integers of at least 0; those of the moment itself are not before it.
        value_R: What is summed.
        key_Q: Whose are asked for.
        time_Q: Before when.

    Raises:
        ValueError: the arrays do not fit each other, or a key or a time is negative.
    """
    if not len(key_R) == len(time_R) == len(value_R) or len(key_Q) != len(time_Q):
        lengths = [len(some) for some in (key_R, time_R, value_R, key_Q, time_Q)]
        raise ValueError(f"wanted three arrays [R] and two [Q], got lengths {lengths}")
    if any(len(some) and some.min() < 0 for some in (key_R, time_R, key_Q, time_Q)):
        raise ValueError("keys and times must be at least 0, got one below")
    longest = 1 + max((int(some.max()) for some in (time_R, time_Q) if len(some)), default=0)
    place_R = key_R.astype(np.int64) * longest + time_R
    order_R = np.argsort(place_R, kind="stable")
    place_R, total_R = place_R[order_R], np.concatenate([[0.0], np.cumsum(value_R[order_R])])
    first_Q = np.searchsorted(place_R, key_Q.astype(np.int64) * longest)
    last_Q = np.searchsorted(place_R, key_Q.astype(np.int64) * longest + time_Q)
    return last_Q - first_Q, total_R[last_Q] - total_R[first_Q]


def unseen_films(user_R: np.ndarray, film_R: np.ndarray, num_films: int, generator: np.random.Generator) -> np.ndarray:
    """For each rating a film, [R], that its user never rates, each as likely as any other.

    Raises:
        ValueError: a user rates every film.
    """
    rated_UM = np.zeros((int(user_R.max(initial=-1)) + 1, num_films), bool)
    rated_UM[user_R, film_R] = True
    if rated_UM.all(1).any():
        raise ValueError(f"every user must leave one of {num_films} films unrated")
    drawn_R = generator.integers(0, num_films, len(user_R))
    while (again_R := rated_UM[user_R, drawn_R]).any():
        drawn_R[again_R] = generator.integers(0, num_films, int(again_R.sum()))
    return drawn_R


def _history(
    user_R: np.ndarray,
    film_R: np.ndarray,
    stars_R: np.ndarray,
    time_R: np.ndarray,
    films: Any,
    user_N: np.ndarray,
    film_N: np.ndarray,
    time_N: np.ndarray,
) -> dict[str, np.ndarray]:
    """What earlier ratings say of the user, of the film, and of the user among films of each genre."""
    above_R = stars_R - _MIDDLE
    columns: dict[str, np.ndarray] = {}
    for name, key_R, key_N in (("user", user_R, user_N), ("film", film_R, film_N)):
        count_N, sum_N = before(key_R, time_R, above_R, key_N, time_N)
        columns |= {f"{name} ratings": np.log1p(count_N), f"{name} mean": sum_N / (count_N + _DOUBT)}
    of_all_N = np.expm1(columns["user ratings"])
    genres_MG = films.iloc[:, -GENRES:].to_numpy()
    for name, has_M in zip(films.columns[-GENRES:], genres_MG.T, strict=True):
        inside_R = has_M[film_R] == 1
        count_N, sum_N = before(user_R[inside_R], time_R[inside_R], above_R[inside_R], user_N, time_N)
        columns |= {
            f"user {name} share": count_N / (of_all_N + _DOUBT),
            f"user {name} mean": sum_N / (count_N + _DOUBT),
        }
    likes_NG = np.stack([columns[f"user {name} mean"] for name in films.columns[-GENRES:]], 1)
    share_NG = np.stack([columns[f"user {name} share"] for name in films.columns[-GENRES:]], 1)
    columns["user mean of the film's genres"] = (likes_NG * genres_MG[film_N]).sum(1)
    columns["user share of the film's genres"] = (share_NG * genres_MG[film_N]).sum(1)
    return columns


def _profiles(
    films: Any, users: Any, user_N: np.ndarray, film_N: np.ndarray, time_N: np.ndarray
) -> dict[str, np.ndarray]:
    """What is known without ratings: genres and age of the film, age, gender and occupation of the user."""
    names = films.columns[-GENRES:]
    columns = {name: films[name].to_numpy()[film_N].astype(np.float64) for name in names}
    released = tables.pandas_with_parquet().to_datetime(films["release_date"], format="%d-%b-%Y")
    released = released.fillna(released.median()).astype("datetime64[s]").astype(np.int64).to_numpy()
    columns["film age"] = np.log1p(np.maximum(0, time_N - released[film_N]) / _DAY)
    columns["age"] = users["age"].to_numpy()[user_N].astype(np.float64)
    columns["woman"] = (users["gender"] == "F").to_numpy()[user_N].astype(np.float64)
    for occupation in sorted(set(users["occupation"])):
        columns[occupation] = (users["occupation"] == occupation).to_numpy()[user_N].astype(np.float64)
    return columns
