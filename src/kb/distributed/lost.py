"""One name for what a process is told when another is gone: the backends have many."""

from collections.abc import Iterator
from contextlib import contextmanager


class LostRankError(RuntimeError):
    """A rank died, or did not answer within the timeout of its group."""


@contextmanager
def lost_ranks_named() -> Iterator[None]:
    """Give the many errors of the backends one name."""
    try:
        yield
    except LostRankError:
        raise
    except RuntimeError as error:
        raise LostRankError(f"a rank died, or did not answer within the timeout of its group: {error}") from error
