"""Iterators by hand: what yield from does, and small tools that behave as itertools and more-itertools do."""

from kb.algorithms.iteration.delegation import delegate
from kb.algorithms.iteration.peekable import Peekable
from kb.algorithms.iteration.tee import TeeIterator, tee
from kb.algorithms.iteration.windows import chunked, pairwise

__all__ = ["Peekable", "TeeIterator", "chunked", "delegate", "pairwise", "tee"]
