"""A loss that is given as a function of targets and scores, by LightGBM's conventions.

The function takes (y_true, y_pred), with the weights as a third and the sizes of the queries as a fourth argument if it
has them, and returns first and second derivatives. Nothing is known of what the scores stand for: boosting starts from
0, weights are the function's to apply, and predictions are the scores themselves.

Source: LightGBM's documentation of ``objective`` in its scikit-learn interface.
Shapes: N rows, C trees a round, Q queries.
"""

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np

from kb.gbdt.losses.loss import Loss


class Custom(Loss):
    """A loss by its derivatives.

    Args:
        function: Gives both derivatives: [N] for one tree a round, [N, C] for more, as the scores that it gets.
        classes: C.
        groups_Q: Sizes of the queries, for a function of four arguments.

    Raises:
        TypeError: the function takes other than two, three or four arguments.
    """

    name = "custom"

    def __init__(self, function: Callable[..., Any], classes: int = 1, groups_Q: np.ndarray | None = None) -> None:
        require_arguments(function, "objective")
        self.function, self.classes, self.groups_Q = function, classes, groups_Q

    def start(self, targets_N: np.ndarray, weights_N: np.ndarray | None) -> np.ndarray:
        """Zeros."""
        return np.zeros(self.classes)

    def derivatives(
        self, scores_NC: np.ndarray, targets_N: np.ndarray, weights_N: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the function says.

        Raises:
            ValueError: these are not two arrays in the shape of the scores.
        """
        scores = self.predict(scores_NC)
        found = call(self.function, targets_N, scores, weights_N, self.groups_Q)
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise ValueError(f"objective must return first and second derivatives, got {type(found).__name__}")
        arrays = [np.asarray(values, np.float32) for values in found]
        for values in arrays:
            if values.shape != scores.shape:
                raise ValueError(f"objective must return arrays of shape {scores.shape}, got {values.shape}")
        return arrays[0].reshape(scores_NC.shape), arrays[1].reshape(scores_NC.shape)

    def predict(self, scores_NC: np.ndarray) -> np.ndarray:
        """The scores: [N] for one tree a round, else [N, C]."""
        return scores_NC[:, 0].copy() if self.classes == 1 else scores_NC.copy()


def require_arguments(function: Callable[..., Any], name: str) -> int:
    """How many arguments a function takes: two, three or four.

    Raises:
        TypeError: it takes more or fewer.
    """
    count = len(signature(function).parameters)
    if count not in (2, 3, 4):
        raise TypeError(f"{name} must be a function of 2, 3 or 4 arguments, got one of {count}")
    return count


def call(
    function: Callable[..., Any],
    targets_N: np.ndarray,
    predictions: np.ndarray,
    weights_N: np.ndarray | None,
    groups_Q: np.ndarray | None,
) -> Any:
    """Call a function of the user's with as many arguments as it takes; targets and weights have LightGBM's 32 bits."""
    weights = None if weights_N is None else weights_N.astype(np.float32)
    arguments = (targets_N.astype(np.float32), predictions, weights, groups_Q)
    return function(*arguments[: len(signature(function).parameters)])
