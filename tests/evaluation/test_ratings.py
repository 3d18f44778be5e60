"""Ratings: Bradley-Terry equal to its MM loop and to scikit-learn, intervals that cover, Elo that depends on order."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from kb.evaluation import SCALE, bootstrap_ratings, bradley_terry, bradley_terry_loop, elo, win_chance

TRUE = np.array([150.0, 50.0, -60.0, -140.0])


def played(count: int, seed: int) -> list[tuple[int, int, float]]:
    draw = np.random.default_rng(seed)
    games = []
    for _ in range(count):
        first, second = (int(one) for one in draw.choice(4, size=2, replace=False))
        games.append((first, second, float(draw.random() < win_chance(TRUE[first] - TRUE[second]))))
    return games


def test_two_models_by_hand() -> None:
    games = [(0, 1, 1.0)] * 3 + [(0, 1, 0.0)]
    points = bradley_terry(games, 2).points_M
    assert points[0] - points[1] == pytest.approx(SCALE * np.log(3))
    assert win_chance(400) == pytest.approx(10 / 11)
    assert win_chance(-400) == pytest.approx(1 / 11)
    assert (win_chance(-1e6), win_chance(1e6)) == (0, 1)
    # Fisher's information of four games at p = 3/4 is 4 * 3/16; the sandwich agrees where the model fits exactly.
    assert bradley_terry(games, 2).difference_error(0, 1) == pytest.approx(SCALE / np.sqrt(0.75))


def test_the_sandwich_by_hand_where_the_model_does_not_fit() -> None:
    # Even, with two draws: the information is 4 * 1/4 = 1, but the outcomes vary half as much as wins and losses would.
    found = bradley_terry([(0, 1, 0.5), (0, 1, 0.5), (0, 1, 1.0), (0, 1, 0.0)], 2)
    assert found.points_M == pytest.approx([0, 0], abs=1e-9)
    assert found.difference_error(0, 1) == pytest.approx(SCALE * np.sqrt(0.5))


def test_newton_equals_the_loop_and_scikit_learn() -> None:
    games = played(400, 0)
    points = bradley_terry(games, 4).points_M
    assert points == pytest.approx(bradley_terry_loop(games, 4), abs=1e-6)
    X = np.zeros((400, 4))
    for row, (first, second, _) in enumerate(games):
        X[row, first], X[row, second] = 1, -1
    theirs = LogisticRegression(C=1e8, fit_intercept=False, tol=1e-10, max_iter=10_000)
    theirs.fit(X, [game[2] for game in games])
    coefficients = theirs.coef_[0] - theirs.coef_[0].mean()
    assert points == pytest.approx(SCALE * coefficients, abs=0.05)


def test_order_changes_elo_and_not_bradley_terry() -> None:
    games = played(300, 1)
    shuffled = [games[place] for place in np.random.default_rng(2).permutation(300)]
    assert np.abs(elo(games, 4) - elo(shuffled, 4)).max() > 10
    assert bradley_terry(games, 4).points_M == pytest.approx(bradley_terry(shuffled, 4).points_M, abs=1e-6)
    assert elo(games, 4).sum() == pytest.approx(4000)
    assert elo([(0, 1, 1.0)], 2).tolist() == [1016.0, 984.0]


def test_intervals_cover_and_the_bootstrap_agrees() -> None:
    inside = 0
    for seed in range(60):
        found = bradley_terry(played(300, 100 + seed), 4)
        inside += int((np.abs(found.points_M - TRUE) <= 1.96 * found.standard_errors()).sum())
    assert 0.90 <= inside / 240 <= 0.99
    games = played(300, 7)
    drawn = bootstrap_ratings(games, 4, draws=200)
    assert drawn.std(axis=0) == pytest.approx(bradley_terry(games, 4).standard_errors(), rel=0.25)


def test_draws_are_half_a_win_each() -> None:
    halves = bradley_terry([(0, 1, 0.5), (1, 2, 0.5), (0, 2, 1.0), (2, 0, 0.0), (2, 0, 1.0)], 3)
    assert halves.points_M == pytest.approx(
        bradley_terry_loop([(0, 1, 0.5), (1, 2, 0.5), (0, 2, 1.0), (2, 0, 0.0), (2, 0, 1.0)], 3), abs=1e-5
    )


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="never lost"):
        bradley_terry([(0, 1, 1.0)], 2)
    with pytest.raises(ValueError, match="never lost"):
        bradley_terry([(0, 1, 1.0), (0, 1, 0.0)], 3)
    for game in ((0, 0, 1.0), (0, 2, 1.0), (0, 1, 2.0)):
        with pytest.raises(ValueError, match=r"games\[0\]"):
            elo([game], 2)
    with pytest.raises(ValueError, match="k must"):
        elo([(0, 1, 1.0)], 2, k=0)
    with pytest.raises(ValueError, match="games"):
        bradley_terry([], 2)
