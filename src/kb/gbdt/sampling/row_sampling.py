"""Which rows a tree sees: a random share of them, or those with large gradients and a share of the rest.

Sources: Friedman 2002, Stochastic Gradient Boosting; Ke et al. 2017, LightGBM, section 3 and algorithm 2 (GOSS).
Shapes: N rows, C trees a round, R chosen rows.
"""

from typing import Protocol

import numpy as np

from kb.arguments import require_count
from kb.gbdt.sampling.drawing import Drawing

_BLOCK = 1024  # rows that share a generator in LightGBM, which makes its draws independent of threads


class RowSampling(Protocol):
    """Chooses rows, and may weigh them."""

    def choose(
        self, number: int, gradients_NC: np.ndarray, hessians_NC: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The rows of a round, ascending [R], and what their derivatives are multiplied by, [N] or None."""
        ...


class Bagging:
    """A share of the rows, drawn anew every few rounds: those that LightGBM draws.

    Args:
        rows: N.
        share: Of them, above 0 and up to 1.
        every: How many rounds keep a draw.
        seed: LightGBM's ``bagging_seed``.

    Raises:
        ValueError: the share is out of range, or ``every`` is no positive integer.
    """

    def __init__(self, rows: int, share: float, every: int, seed: int) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"subsample must be above 0 and at most 1, got {share}")
        require_count("subsample_freq", every)
        self.rows, self.share, self.every = rows, share, every
        self._drawings = [Drawing(seed + block) for block in range(-(-rows // _BLOCK))]
        self._chosen_R = np.arange(rows)

    def choose(
        self, number: int, gradients_NC: np.ndarray, hessians_NC: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The rows of the round; the derivatives are not looked at."""
        if number % self.every == 0:
            sizes = [min(_BLOCK, self.rows - start) for start in range(0, self.rows, _BLOCK)]
            fractions = [drawing.fractions(size) for drawing, size in zip(self._drawings, sizes, strict=True)]
            chosen_R = np.flatnonzero(np.concatenate(fractions).astype(np.float32) < np.float32(self.share))
            self._chosen_R = chosen_R if len(chosen_R) else np.arange(self.rows)
        return self._chosen_R, None


class Goss:
    """Gradient-based one-side sampling: all rows with large gradients, and of the rest a share that speaks for it.

    Args:
        top_rate: The share of rows that is kept for its gradients.
        other_rate: The share of rows that is drawn from the rest.
        first: How many rounds see all rows.
        seed: Of the draws.

    Raises:
        ValueError: a share is negative, none is kept, or both are more than the whole.
    """

    def __init__(self, top_rate: float, other_rate: float, first: int, seed: int) -> None:
        if min(top_rate, other_rate) < 0 or not 0 < top_rate + other_rate <= 1:
            raise ValueError(f"top_rate and other_rate must sum to at most 1, got {top_rate} and {other_rate}")
        self.top_rate, self.other_rate, self.first = top_rate, other_rate, first
        self._generator = np.random.default_rng(seed)

    def choose(
        self, number: int, gradients_NC: np.ndarray, hessians_NC: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The rows of the round, and factors that make up for those that were left out."""
        N = len(gradients_NC)
        if number < self.first:
            return np.arange(N), None
        sizes_N = np.abs(gradients_NC * hessians_NC).sum(axis=1)
        top, other = max(1, int(N * self.top_rate)), max(1, int(N * self.other_rate))
        least = np.partition(sizes_N, N - top)[N - top]  # of the top ones; a partition takes no sorting of all rows
        kept_N = sizes_N > least
        kept_N[np.flatnonzero(sizes_N == least)[: top - int(kept_N.sum())]] = True
        drawn = self._generator.choice(np.flatnonzero(~kept_N), min(other, N - top), replace=False)
        factors_N = np.ones(N, np.float32)
        factors_N[drawn] = (N - top) / other
        kept_N[drawn] = True
        return np.flatnonzero(kept_N), factors_N
