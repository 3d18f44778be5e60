"""Two algorithms of interviews, at full strength: many words sought at once, and a file sorted that memory cannot hold.

Iterators and concurrency, Python's own, are in packages of their own: :mod:`kb.algorithms.iteration` and
:mod:`kb.algorithms.concurrency`. Nothing here needs torch.
"""

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
