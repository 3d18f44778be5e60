"""Bayesian logistic regression: the most probable weights by Newton, and Laplace's Gaussian about them.

Unusual: the log posterior takes the weights of many chains at once, so that a sampler moves them together; an intercept
is a column of ones whose prior deviation may be infinite (a flat prior), as in scikit-learn, which does not shrink it.

Sources: Bishop 2006, Pattern Recognition and Machine Learning, sections 4.3.3 and 4.5; MacKay 1992.
Shapes: N examples, D weights, C chains.
"""

import numpy as np
from scipy import special

from kb.bayes.penalties import Gaussian, read_examples, singular

MOST_STEPS = 100


class LogisticPosterior:
    """Weights of a logistic model with labels 0 and 1 and a Gaussian prior about 0.

    Args:
        x_ND: Inputs.
        y_N: Labels.
        prior_sd: Of every weight, or of each one, [D]; infinite for no prior.

    Raises:
        ValueError: shapes do not fit, a value is not finite, a label is neither 0 nor 1, or a deviation is not above 0.
    """

    def __init__(self, x_ND: np.ndarray, y_N: np.ndarray, prior_sd: float | np.ndarray) -> None:
        self.x_ND, self.y_N = read_examples(x_ND, y_N)
        if not np.isin(self.y_N, (0, 1)).all():
            raise ValueError("y must be 0 or 1")
        sd = np.asarray(prior_sd, dtype=np.float64)
        if sd.shape not in ((), (self.x_ND.shape[1],)) or not (sd > 0).all():
            raise ValueError(f"prior_sd must be above 0, one number or one a weight, got {prior_sd!r}")
        self.precision_D = np.broadcast_to(1 / sd**2, self.x_ND.shape[1])

    def log_density(self, weights_CD: np.ndarray) -> np.ndarray:
        """Log of the posterior, without its constant, of each row of weights, [C]."""
        logits_CN = weights_CD @ self.x_ND.T
        likelihood_C = (self.y_N * logits_CN - np.logaddexp(0, logits_CN)).sum(axis=1)
        return likelihood_C - 0.5 * (weights_CD**2 * self.precision_D).sum(axis=1)

    def gradient(self, weights_D: np.ndarray) -> np.ndarray:
        """Of the log posterior at one vector of weights, [D]."""
        return self.x_ND.T @ (self.y_N - special.expit(self.x_ND @ weights_D)) - self.precision_D * weights_D

    def curvature(self, weights_D: np.ndarray) -> np.ndarray:
        """Minus the Hessian of the log posterior, [D, D]."""
        chance_N = special.expit(self.x_ND @ weights_D)
        return (self.x_ND.T * (chance_N * (1 - chance_N))) @ self.x_ND + np.diag(self.precision_D)

    def mode(self) -> np.ndarray:
        """The most probable weights, by Newton's steps, halved until the posterior rises.

        Raises:
            ValueError: there are none, as where classes are separated and a weight has no prior; or more than floats
                can tell apart, as where columns depend on each other and the prior is weak beside them.
        """
        weights_D = np.zeros(self.x_ND.shape[1])
        for _ in range(MOST_STEPS):
            try:
                step_D = np.linalg.solve(self.curvature(weights_D), self.gradient(weights_D))
            except np.linalg.LinAlgError:
                break
            # Steps shrink quadratically at a mode; where classes are separated they never do.
            if np.abs(step_D).max() <= 1e-9 * (1 + np.abs(weights_D).max()):
                return weights_D + step_D
            here, size = self.log_density(weights_D[None])[0], 1.0
            while self.log_density((weights_D + size * step_D)[None])[0] < here - 1e-12 * abs(here) and size > 1e-10:
                size /= 2
            weights_D = weights_D + size * step_D
        if singular(self.curvature(np.zeros(self.x_ND.shape[1]))):
            raise ValueError("x has columns that depend on each other, and prior_sd is too large to settle them")
        raise ValueError("x: no finite weights are most probable; are the classes separated, without a prior?")

    def laplace(self) -> Gaussian:
        """The Gaussian with the posterior's mode and its curvature there; errors as of :meth:`mode`."""
        mode_D = self.mode()
        return Gaussian(mode_D, np.linalg.inv(self.curvature(mode_D)))
