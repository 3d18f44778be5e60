"""Evaluation of language models: scores by likelihood and by text, judges and ratings, and how sure all of it is."""

from kb.evaluation.comparison import clustered_standard_error, items_needed, paired_bootstrap, standard_error
from kb.evaluation.detection import (
    Bin,
    auroc,
    auroc_interval,
    auroc_loop,
    calibration_error,
    reliability,
    risk_coverage,
)
from kb.evaluation.items import CapitalFact, ChoiceItem, capitals, mmlu_development
from kb.evaluation.judges import PositionBias, cohen_kappa, position_bias, simulated_verdicts
from kb.evaluation.multiple_choice import (
    RULES,
    ScoredChoices,
    encode_pair,
    log_likelihood_loop,
    log_likelihoods,
    score_choices,
)
from kb.evaluation.pass_at_k import expected_estimate, pass_at_k, pass_at_k_loop, pass_at_k_plug_in
from kb.evaluation.perplexity import (
    Perplexity,
    Window,
    perplexity,
    token_log_likelihoods,
    token_log_likelihoods_loop,
    windows,
)
from kb.evaluation.ratings import (
    SCALE,
    Ratings,
    bootstrap_ratings,
    bradley_terry,
    bradley_terry_loop,
    elo,
    win_chance,
)
from kb.evaluation.text_answers import exact_match, normalize_answer, token_f1
from kb.evaluation.uncertainty import (
    cluster,
    discrete_semantic_entropy,
    entropy,
    predictive_entropy,
    self_consistency,
    semantic_entropy,
)

__all__ = [
    "RULES",
    "SCALE",
    "Bin",
    "CapitalFact",
    "ChoiceItem",
    "Perplexity",
    "PositionBias",
    "Ratings",
    "ScoredChoices",
    "Window",
    "auroc",
    "auroc_interval",
    "auroc_loop",
    "bootstrap_ratings",
    "bradley_terry",
    "bradley_terry_loop",
    "calibration_error",
    "capitals",
    "cluster",
    "clustered_standard_error",
    "cohen_kappa",
    "discrete_semantic_entropy",
    "elo",
    "encode_pair",
    "entropy",
    "exact_match",
    "expected_estimate",
    "items_needed",
    "log_likelihood_loop",
    "log_likelihoods",
    "mmlu_development",
    "normalize_answer",
    "paired_bootstrap",
    "pass_at_k",
    "pass_at_k_loop",
    "pass_at_k_plug_in",
    "perplexity",
    "position_bias",
    "predictive_entropy",
    "reliability",
    "risk_coverage",
    "score_choices",
    "self_consistency",
    "semantic_entropy",
    "simulated_verdicts",
    "standard_error",
    "token_f1",
    "token_log_likelihoods",
    "token_log_likelihoods_loop",
    "win_chance",
    "windows",
]
