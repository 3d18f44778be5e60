"""Inference of both schools, small enough to count: proportions, A/B tests, peeking, priors as penalties, shrinkage."""

from kb.bayes.ab import (
    chance_b_beats_a,
    chance_b_beats_a_draws,
    chance_b_beats_a_quadrature,
    expected_loss,
    z_test,
)
from kb.bayes.bandits import epsilon_greedy, regret, thompson, ucb1
from kb.bayes.beta import FLAT, HALDANE, JEFFREYS, Beta, distance_to_normal
from kb.bayes.chains import effective_size, metropolis, rhat
from kb.bayes.coin import (
    doubled_p,
    lower_tail,
    stopped_at_failures,
    unlikely_p,
    upper_tail,
)
from kb.bayes.hypotheses import (
    least_factor,
    normal_factor,
    posterior_of_null,
    predictive_value,
)
from kb.bayes.logistic import LogisticPosterior
from kb.bayes.peeking import (
    e_value,
    ever_stopped,
    fixed_level,
    log_e_values,
    obrien_fleming,
    posterior_sure,
    simulated,
    spending,
)
from kb.bayes.penalties import LaplacePosterior, ridge_posterior
from kb.bayes.proportions import (
    average_coverage,
    clopper_pearson,
    coverage,
    credible,
    interval_table,
    jeffreys,
    simulated_coverage,
    wald,
)
from kb.bayes.shrinkage import AT_BATS, BATTING, hierarchy, james_stein

__all__ = [
    "AT_BATS",
    "BATTING",
    "FLAT",
    "HALDANE",
    "JEFFREYS",
    "Beta",
    "LaplacePosterior",
    "LogisticPosterior",
    "average_coverage",
    "chance_b_beats_a",
    "chance_b_beats_a_draws",
    "chance_b_beats_a_quadrature",
    "clopper_pearson",
    "coverage",
    "credible",
    "distance_to_normal",
    "doubled_p",
    "e_value",
    "effective_size",
    "epsilon_greedy",
    "ever_stopped",
    "expected_loss",
    "fixed_level",
    "hierarchy",
    "interval_table",
    "james_stein",
    "jeffreys",
    "least_factor",
    "log_e_values",
    "lower_tail",
    "metropolis",
    "normal_factor",
    "obrien_fleming",
    "posterior_of_null",
    "posterior_sure",
    "predictive_value",
    "regret",
    "rhat",
    "ridge_posterior",
    "simulated",
    "simulated_coverage",
    "spending",
    "stopped_at_failures",
    "thompson",
    "ucb1",
    "unlikely_p",
    "upper_tail",
    "wald",
    "z_test",
]
