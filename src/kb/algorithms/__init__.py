"""Two algorithms of interviews, at full strength: many words sought at once, and a file sorted that memory cannot hold.

Iterators and concurrency, Python's own, are in packages of their own: :mod:`kb.algorithms.iteration` and
:mod:`kb.algorithms.concurrency`. The names below are imported when they are first asked for, as a worker process that
runs something of the latter imports this package, and should not have to wait for NumPy. Nothing here needs torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kb.algorithms.matching import (
        ArrayAutomaton,
        Automaton,
        TrieAutomaton,
        kmp_ends,
        naive_longest,
        naive_matches,
        prefix_function,
    )
    from kb.algorithms.sorting import (
        LoserTree,
        SortReport,
        external_sort,
        loser_merge,
        merge_blocks,
        merge_by_losers,
        replacement_selection,
    )

__all__ = [
    "ArrayAutomaton",
    "Automaton",
    "LoserTree",
    "SortReport",
    "TrieAutomaton",
    "external_sort",
    "kmp_ends",
    "loser_merge",
    "merge_blocks",
    "merge_by_losers",
    "naive_longest",
    "naive_matches",
    "prefix_function",
    "replacement_selection",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for part in ("matching", "sorting"):
            if hasattr(module := import_module(f"{__name__}.{part}"), name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
