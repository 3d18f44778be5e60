"""Sorting what does not fit into memory: runs, merging, and a count of everything that moves."""

from kb.algorithms.sorting.external import SortReport, external_sort
from kb.algorithms.sorting.merging import LoserTree, loser_merge, merge_blocks, merge_by_losers
from kb.algorithms.sorting.order import Order
from kb.algorithms.sorting.reading import Account, LineReader
from kb.algorithms.sorting.replacement import replacement_selection

__all__ = [
    "Account",
    "LineReader",
    "LoserTree",
    "Order",
    "SortReport",
    "external_sort",
    "loser_merge",
    "merge_blocks",
    "merge_by_losers",
    "replacement_selection",
]
