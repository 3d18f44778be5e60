"""One group of two processes that all tests of this folder share: starting them takes longer than any case."""

from collections.abc import Iterator

import pytest

from kb.distributed import Ranks


@pytest.fixture(scope="package")
def two() -> Iterator[Ranks]:
    with Ranks(2, timeout=60) as ranks:
        yield ranks
