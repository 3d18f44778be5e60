"""What a loss must say for trees to be fitted to it.

Boosting goes down in the space of functions: each tree is fitted to the derivatives of the loss by the predictions, the
first as what it points along, the second as how far. Derivatives are rounded to float32, as LightGBM's are, so that
trees are equal.

Sources: Friedman 2001, Greedy Function Approximation; Chen and Guestrin 2016, XGBoost, equation 2.
Shapes: N rows, C trees a round (classes, else 1), L leaves.
"""

import math
from abc import ABC, abstractmethod
from itertools import chain

import numpy as np

_BLOCK = 2**16  # numbers that are Python's at a time


class Loss(ABC):
    """A loss of raw scores.

    Attributes:
        name: LightGBM's word for it.
        classes: C, trees that are grown in a round.
    """

    name: str
    classes: int = 1
    renews: bool = False  # whether leaves are set to something else than Newton's step

    def check(self, targets_N: np.ndarray) -> None:  # noqa: B027 - most losses take any number
        """Refuse targets that the loss is not defined for.

        Raises:
            ValueError: there are some; the message says which.
        """

    @abstractmethod
    def start(self, targets_N: np.ndarray, weights_N: np.ndarray | None) -> np.ndarray:
        """The constant scores that boosting starts from, [C]."""

    @abstractmethod
    def derivatives(
        self, scores_NC: np.ndarray, targets_N: np.ndarray, weights_N: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """First and second derivatives by the scores, float32 [N, C]."""

    def predict(self, scores_NC: np.ndarray) -> np.ndarray:
        """What scores stand for: the number itself, or probabilities."""
        return scores_NC[:, 0]

    def renew(self, residuals_R: np.ndarray, weights_R: np.ndarray | None) -> float:
        """What a leaf is to say, from target less score of its rows; only where ``renews``."""
        raise NotImplementedError


def weighted(
    gradients: np.ndarray, hessians: np.ndarray, weights_N: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives times the weights of their rows, as float32 [N, C]."""
    if weights_N is not None:
        gradients, hessians = gradients * weights_N[:, None], hessians * weights_N[:, None]
    return gradients.astype(np.float32, copy=False), hessians.astype(np.float32, copy=False)


def average(values_N: np.ndarray, weights_N: np.ndarray | None) -> float:
    """The mean, weighted where there are weights; the same whatever the order of the rows."""
    if weights_N is None:
        return exact_sum(values_N) / len(values_N)
    return exact_sum(values_N * weights_N) / exact_sum(weights_N)


def exact_sum(values_N: np.ndarray) -> float:
    """The sum, rounded once, so that it is the same in any order."""
    blocks = (values_N[start : start + _BLOCK].tolist() for start in range(0, len(values_N), _BLOCK))
    return math.fsum(chain.from_iterable(blocks))
