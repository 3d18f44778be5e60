"""Words sought in a text: Aho and Corasick's automaton, its case of one word, and the definitions as loops."""

from kb.algorithms.matching.arrays import ArrayAutomaton, code_points
from kb.algorithms.matching.automaton import Automaton, Search
from kb.algorithms.matching.kmp import kmp_ends, prefix_function
from kb.algorithms.matching.naive import naive_longest, naive_matches
from kb.algorithms.matching.trie import Found, Place, Steps, TrieAutomaton

__all__ = [
    "ArrayAutomaton",
    "Automaton",
    "Found",
    "Place",
    "Search",
    "Steps",
    "TrieAutomaton",
    "code_points",
    "kmp_ends",
    "naive_longest",
    "naive_matches",
    "prefix_function",
]
