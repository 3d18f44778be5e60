"""Huffman's code over a vocabulary: the tree of hierarchical softmax.

Each word is a leaf; a word's probability is the product of one sigmoid for each inner node on its path, so that all of
them sum to one whatever the vectors are, and a step costs the length of a code instead of the size of the vocabulary.
Unusual: the heap compares counts alone, as gensim's does, so that ties fall as they fall there.

Sources: Huffman 1952; Morin and Bengio 2005; Mikolov et al. 2013, Distributed Representations of Words and Phrases,
section 2.1, equation 3.
Shapes: V words, C bits of one code, D components.
"""

# ruff: noqa: N815

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np

from kb.embeddings.vocabulary import sum_in_order


@dataclass(frozen=True)
class HuffmanCode:
    """Paths from the root: for word v the entries ``start_V1[v]`` to ``start_V1[v + 1]`` of the two flat arrays.

    Attributes:
        bits: 0 to the left, which is the rarer child, 1 to the right.
        nodes: Inner node at which each bit is decided, counted in the order of their making; the root has the highest.
        start_V1: Where each path begins, one entry more than there are words.
    """

    bits: np.ndarray
    nodes: np.ndarray
    start_V1: np.ndarray

    def path(self, word: int) -> tuple[np.ndarray, np.ndarray]:
        """Bits and inner nodes of one word, from the root down."""
        part = slice(self.start_V1[word], self.start_V1[word + 1])
        return self.bits[part], self.nodes[part]

    def code(self, word: int) -> str:
        """The bits of one word as text."""
        return "".join(map(str, self.path(word)[0]))

    def mean_length(self, counts_V: np.ndarray) -> float:
        """Bits of a token on average, where words occur as often as ``counts_V`` says."""
        return float(np.average(np.diff(self.start_V1), weights=counts_V))


class _Node:
    """Two subtrees, or a leaf; nodes are compared by count alone."""

    def __init__(self, count: int, place: int, children: "tuple[_Node, _Node] | None" = None) -> None:
        self.count, self.place, self.children = count, place, children

    def __lt__(self, other: "_Node") -> bool:
        return self.count < other.count


def huffman_code(counts_V: Any) -> HuffmanCode:
    """Codes of minimal mean length for words that occur ``counts_V`` times.

    Raises:
        ValueError: no word, or a count under 1.
    """
    counts_V = np.asarray(counts_V)
    if counts_V.ndim != 1 or not len(counts_V) or not np.issubdtype(counts_V.dtype, np.integer) or counts_V.min() < 1:
        raise ValueError(f"counts_V must be integers of at least 1, one axis, at least one; got {counts_V!r}")
    words = len(counts_V)
    heap = [_Node(count, place) for place, count in enumerate(counts_V.tolist())]
    heapq.heapify(heap)
    for made in range(words - 1):
        pair = heapq.heappop(heap), heapq.heappop(heap)
        heapq.heappush(heap, _Node(pair[0].count + pair[1].count, words + made, pair))
    paths: list[tuple[list[int], list[int]]] = [([], [])] * words
    stack: list[tuple[_Node, list[int], list[int]]] = [(heap[0], [], [])]
    while stack:
        node, bits, nodes = stack.pop()
        if node.children is None:
            paths[node.place] = (bits, nodes)
        else:
            nodes = [*nodes, node.place - words]
            stack += [(child, [*bits, bit], nodes) for bit, child in enumerate(node.children)]
    start_V1 = np.cumsum([0, *(len(bits) for bits, _ in paths)])
    flat = [np.array([one for path in paths for one in path[part]], np.int32) for part in (0, 1)]
    return HuffmanCode(flat[0], flat[1], start_V1)


def tree_probabilities(code: HuffmanCode, hidden_D: np.ndarray, output_VD: np.ndarray) -> np.ndarray:
    """Probability of every word given a hidden vector: at each node sigmoid(h.u) for bit 0, the rest for bit 1.

    Raises:
        ValueError: fewer rows than the tree has inner nodes, or other components than the hidden vector's.
    """
    if (
        np.ndim(output_VD) != 2
        or np.shape(hidden_D) != np.shape(output_VD)[1:]
        or len(output_VD) < len(code.start_V1) - 2
    ):
        raise ValueError(
            f"output_VD must have a row for each of {len(code.start_V1) - 2} inner nodes, as long as hidden_D; "
            f"got {np.shape(output_VD)} and {np.shape(hidden_D)}"
        )
    score_V = np.asarray(output_VD, np.float64) @ np.asarray(hidden_D, np.float64)
    found = []
    for word in range(len(code.start_V1) - 1):
        bits, nodes = code.path(word)
        logs = [
            -np.logaddexp(0.0, -score_V[node] if bit == 0 else score_V[node])
            for bit, node in zip(bits, nodes, strict=True)
        ]
        found.append(np.exp(sum_in_order(logs)))
    return np.array(found)
