"""The derivatives of the logistic loss in one pass: the operations of ``classification``, so the same bytes."""

# What a compiled function's arguments are, numba says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

import numpy as np
from numba import njit, prange

from kb.gbdt.growing.histogram_numba import FLAGS
from kb.gbdt.losses.exponential import LEADS_J, TRAILS_J
from kb.gbdt.losses.exponential_numba import exp


def logistic(
    scores_N: np.ndarray, targets_N: np.ndarray, weights_N: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivatives, float32 [N, 1]; see :class:`kb.gbdt.losses.classification.Logistic`."""
    found = [np.empty((len(scores_N), 1), np.float32) for _ in range(2)]
    weights = np.empty(0) if weights_N is None else weights_N
    _logistic(scores_N, targets_N, weights, found[0][:, 0], found[1][:, 0])
    return found[0], found[1]


@njit(parallel=True, **FLAGS)
def _logistic(scores_N, targets_N, weights_N, gradients_N, hessians_N):
    weighs = len(weights_N) > 0
    for row in prange(len(scores_N)):
        sign = 1.0 if targets_N[row] > 0 else -1.0
        gradient = -sign / (1.0 + exp(sign * scores_N[row], LEADS_J, TRAILS_J))
        size = abs(gradient)
        hessian = size * (1.0 - size)
        weight = weights_N[row] if weighs else 1.0
        gradients_N[row], hessians_N[row] = np.float32(gradient * weight), np.float32(hessian * weight)
