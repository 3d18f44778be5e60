"""One group of two processes that all tests of this folder share: starting them takes longer than any case."""

from collections.abc import Iterator

import pytest

from kb.distributed import Ranks
from tests.quick_ranks import quick_ranks


@pytest.fixture(scope="package")
def two() -> Iterator[Ranks]:
    with quick_ranks(2, timeout=60) as ranks:
        yield ranks
