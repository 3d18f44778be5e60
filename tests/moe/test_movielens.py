"""MovieLens as two tasks: counts of the source, features that see no future, films that were not seen."""

from datetime import UTC, datetime

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb import tables
from kb.moe.multi_task.movielens import before, movielens, unseen_films


@settings(max_examples=60)
@given(
    events=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(-4, 4)), max_size=20),
    queries=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=10),
)
def test_before_counts_and_sums_what_came_earlier(
    events: list[tuple[int, int, int]], queries: list[tuple[int, int]]
) -> None:
    key_R, time_R, value_R = np.array(events, np.int64).reshape(-1, 3).T
    key_Q, time_Q = np.array(queries, np.int64).reshape(-1, 2).T
    count_Q, sum_Q = before(key_R, time_R, value_R, key_Q, time_Q)
    earlier = [[v for k, t, v in events if k == key and t < time] for key, time in queries]
    assert count_Q.tolist() == [len(some) for some in earlier]
    assert sum_Q.tolist() == [sum(some) for some in earlier]


def test_before_names_bad_input() -> None:
    one = np.ones(1, np.int64)
    with pytest.raises(ValueError, match=r"three arrays \[R\] and two \[Q\]"):
        before(one, one, np.ones(2), one, one)
    with pytest.raises(ValueError, match="at least 0"):
        before(-one, one, one, one, one)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=25), st.integers(0, 99))
def test_unseen_films_are_films_that_the_user_never_rates(pairs: list[tuple[int, int]], seed: int) -> None:
    user_R, film_R = np.array(pairs).T
    drawn_R = unseen_films(user_R, film_R, 7, np.random.default_rng(seed))
    assert not set(zip(user_R.tolist(), drawn_R.tolist(), strict=True)) & set(pairs)
    assert (drawn_R >= 0).all()
    assert (drawn_R < 7).all()


def test_unseen_films_need_one() -> None:
    with pytest.raises(ValueError, match="one of 2 films unrated"):
        unseen_films(np.array([0, 0]), np.array([0, 1]), 2, np.random.default_rng(0))


@pytest.fixture(scope="module")
def data():  # type: ignore[no-untyped-def]
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    return movielens()


def test_movielens_has_the_counts_of_its_source(data) -> None:  # type: ignore[no-untyped-def]
    assert [len(part) for part in (data.train, data.validation, data.test)] == [140_000, 20_000, 40_000]
    parts = (data.train, data.validation, data.test)
    targets_N2 = torch.cat([part.targets_N2 for part in parts])
    assert int(targets_N2[:, 0].sum()) == 100_000
    assert int((~targets_N2[:, 1].isnan()).sum()) == 100_000
    assert int(targets_N2[:, 1].nansum()) == 55_375  # ratings of 4 and 5
    assert torch.equal(targets_N2[:, 1].isnan(), targets_N2[:, 0] == 0)
    assert len(data.features) == len(set(data.features)) == data.train.x_NF.shape[1]


def test_movielens_features_are_scaled_by_the_training_rows(data) -> None:  # type: ignore[no-untyped-def]
    x_NF = data.train.x_NF.double()
    torch.testing.assert_close(x_NF.mean(0), torch.zeros(x_NF.shape[1], dtype=torch.float64), atol=1e-4, rtol=0)
    spread_F = x_NF.std(0, correction=0)
    assert ((spread_F - 1).abs() < 1e-3).all()
    assert torch.isfinite(data.test.x_NF).all()


def test_the_first_rating_of_all_knows_no_history(data) -> None:  # type: ignore[no-untyped-def]
    histories = [i for i, name in enumerate(data.features) if name in ("user ratings", "film ratings")]
    least_F = data.train.x_NF.min(0).values
    assert torch.equal(data.train.x_NF[0, histories], least_F[histories])


def test_features_are_what_the_tables_say_of_earlier_seconds(data) -> None:  # type: ignore[no-untyped-def]
    """By another way, row by row; features are scaled, so each must go with the reference along a rising line."""
    ratings, films, users = (tables.widedeep(f"MovieLens100k_{name}") for name in ("data", "items", "users"))
    ratings = ratings.sort_values(["timestamp", "user_id", "movie_id"], kind="stable")
    films, users = films.set_index("movie_id"), users.set_index("user_id")
    genre = "Drama"
    dramas = set(films.index[films[genre] == 1])
    wanted: dict[str, list[float]] = {}
    chosen = list(range(500, 70_000, 347))
    for now in ratings.iloc[chosen].itertuples():
        earlier = ratings[ratings["timestamp"] < now.timestamp]
        by_user, of_film = earlier[earlier["user_id"] == now.user_id], earlier[earlier["movie_id"] == now.movie_id]
        inside = by_user[by_user["movie_id"].isin(dramas)]
        film = films.loc[now.movie_id]
        days = (
            now.timestamp - datetime.strptime(film["release_date"], "%d-%b-%Y").replace(tzinfo=UTC).timestamp()
        ) / 86_400
        row = {
            "user ratings": np.log1p(len(by_user)),
            "film ratings": np.log1p(len(of_film)),
            "film mean": (of_film["rating"] - 3.5).sum() / (len(of_film) + 5),
            f"user {genre} share": len(inside) / (len(by_user) + 5),
            f"user {genre} mean": (inside["rating"] - 3.5).sum() / (len(inside) + 5),
            "film age": np.log1p(max(0.0, days)),
            "age": users.loc[now.user_id, "age"],
        }
        for name, value in row.items():
            wanted.setdefault(name, []).append(float(value))
    found_CF = data.train.x_NF[[2 * i for i in chosen]].double().numpy()
    for name, values in wanted.items():
        assert np.corrcoef(values, found_CF[:, data.features.index(name)])[0, 1] > 1 - 1e-6, name


def test_another_seed_draws_other_films_and_keeps_the_ratings(data) -> None:  # type: ignore[no-untyped-def]
    other = movielens(seed=1)
    assert torch.equal(other.train.targets_N2.nan_to_num(-1), data.train.targets_N2.nan_to_num(-1))
    film = data.features.index("film ratings")
    assert not torch.equal(other.train.x_NF[1::2, film], data.train.x_NF[1::2, film])
