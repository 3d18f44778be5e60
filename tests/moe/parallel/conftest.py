"""Two groups of processes that all tests of this folder share: starting them takes longer than any case."""

from collections.abc import Iterator

import pytest

from kb.moe.parallel import Ranks
from tests.quick_ranks import quick_ranks


@pytest.fixture(scope="package")
def two() -> Iterator[Ranks]:
    with quick_ranks(2, timeout=60) as ranks:
        yield ranks


@pytest.fixture(scope="package")
def four() -> Iterator[Ranks]:
    with quick_ranks(4, timeout=60) as ranks:
        yield ranks


@pytest.fixture(params=[2, 4])
def some(request: pytest.FixtureRequest) -> Ranks:
    """Either of them."""
    ranks: Ranks = request.getfixturevalue({2: "two", 4: "four"}[request.param])
    return ranks
