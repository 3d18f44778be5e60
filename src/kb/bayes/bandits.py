"""Arms that pay 0 or 1, and three ways to choose among them: Thompson's draws, UCB1 and epsilon-greedy.

Unusual: all runs of a policy go together, one array of counts for each round; regret is what the best arm's mean is
above that of the arm taken, which has less noise than the payments.

Sources: Thompson 1933; Auer, Cesa-Bianchi and Fischer 2002, Finite-time Analysis of the Multiarmed Bandit Problem
(UCB1); Russo et al. 2018, A Tutorial on Thompson Sampling.
Shapes: R runs, A arms, T rounds.
"""

from collections.abc import Callable, Sequence

import numpy as np

from kb.arguments import is_number, require_count

# Times each arm was taken, its successes, and what draws: the arm that each run takes.
Policy = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def thompson(taken_RA: np.ndarray, paid_RA: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The arm whose draw from its posterior (under a flat prior) is highest, [R]."""
    return np.asarray(generator.beta(1 + paid_RA, 1 + taken_RA - paid_RA).argmax(axis=1))


def ucb1(taken_RA: np.ndarray, paid_RA: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The arm whose mean plus sqrt(2 ln t / taken) is highest, after each was taken once, [R]; nothing is drawn."""
    t_R1 = np.maximum(taken_RA.sum(axis=1, keepdims=True), 1)
    often_RA = np.maximum(taken_RA, 1)
    index_RA = paid_RA / often_RA + np.sqrt(2 * np.log(t_R1) / often_RA)
    return np.where(taken_RA == 0, np.inf, index_RA).argmax(axis=1)


def epsilon_greedy(epsilon: float) -> Policy:
    """Any arm with probability ``epsilon``, else the one with the highest mean (one not taken yet counts as 1).

    Raises:
        ValueError: epsilon is not from 0 to 1.
    """
    if not is_number(epsilon) or not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon must be a number from 0 to 1, got {epsilon!r}")

    def policy(taken_RA: np.ndarray, paid_RA: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        best_R = np.where(taken_RA == 0, 1.0, paid_RA / np.maximum(taken_RA, 1)).argmax(axis=1)
        any_R = generator.integers(taken_RA.shape[1], size=len(taken_RA))
        return np.where(generator.random(len(taken_RA)) < epsilon, any_R, best_R)

    return policy


def regret(policy: Policy, means: Sequence[float], *, rounds: int, runs: int, seed: int) -> np.ndarray:
    """Summed regret after each round, the mean of all runs, [T].

    Raises:
        ValueError: fewer than two arms, a mean that is not from 0 to 1, no round or no run.
    """
    means_A = _read(means)
    require_count("rounds", rounds)
    require_count("runs", runs)
    generator = np.random.default_rng(seed)
    taken_RA, paid_RA = np.zeros((runs, len(means_A))), np.zeros((runs, len(means_A)))
    rows, lost_T = np.arange(runs), np.empty(rounds)
    for t in range(rounds):
        arm_R = policy(taken_RA, paid_RA, generator)
        paid_RA[rows, arm_R] += generator.random(runs) < means_A[arm_R]
        taken_RA[rows, arm_R] += 1
        lost_T[t] = (means_A.max() - means_A[arm_R]).mean()
    return np.cumsum(lost_T)


def regret_loop(policy: Policy, means: Sequence[float], *, rounds: int, seed: int) -> list[float]:
    """The reference of one run: every payment kept, counted anew in every round."""
    generator, lost = np.random.default_rng(seed), [0.0]
    history: list[tuple[int, bool]] = []
    arms = range(len(means))
    for _ in range(rounds):
        paid = [[sum(pay for arm, pay in history if arm == one) for one in arms]]
        taken = [[sum(arm == one for arm, _ in history) for one in arms]]
        arm = int(policy(np.array(taken, float), np.array(paid, float), generator)[0])
        history.append((arm, bool(generator.random(1)[0] < means[arm])))
        lost.append(lost[-1] + max(means) - means[arm])
    return lost[1:]


def _read(means: Sequence[float]) -> np.ndarray:
    means_A = np.asarray(means, dtype=np.float64)
    if means_A.ndim != 1 or len(means_A) < 2 or not ((means_A >= 0) & (means_A <= 1)).all():
        raise ValueError(f"means must be at least two numbers from 0 to 1, got {means!r}")
    return means_A
