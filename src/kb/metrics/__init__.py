"""Metrics of classifiers and rankings, by scikit-learn's names where it has them; for tensors: kb.metrics.tensors."""

from kb.metrics.arrays import UndefinedMetricWarning
from kb.metrics.cumulated import dcg_score, ndcg_score
from kb.metrics.curves import auc, precision_recall_curve, roc_curve, roc_hull, threshold_counts
from kb.metrics.errors import mean_absolute_error, root_mean_squared_error
from kb.metrics.interactions import Interactions, movielens, split_at_random, split_at_time, split_last
from kb.metrics.pairs import (
    AucParts,
    GroupedAuc,
    grouped_auc,
    mann_whitney_auc,
    roc_auc_loop,
    within_and_across,
)
from kb.metrics.ranking import (
    average_precision,
    hit_rate_at_k,
    mean_over_queries,
    ndcg_at_k,
    precision_at_k,
    ranked_gains,
    recall_at_k,
    reciprocal_rank,
)
from kb.metrics.sampled import corrected, expected_sampled, sampled_places
from kb.metrics.scores import average_precision_score, roc_auc_score
from kb.metrics.streaming import StreamingAuc
from kb.metrics.uncertainty import (
    PairedAuc,
    bootstrap_interval,
    delong_covariance,
    delong_interval,
    delong_test,
    hanley_mcneil_error,
    hanley_mcneil_interval,
    placements,
    placements_loop,
)

__all__ = [
    "AucParts",
    "GroupedAuc",
    "Interactions",
    "PairedAuc",
    "StreamingAuc",
    "UndefinedMetricWarning",
    "auc",
    "average_precision",
    "average_precision_score",
    "bootstrap_interval",
    "corrected",
    "dcg_score",
    "delong_covariance",
    "delong_interval",
    "delong_test",
    "expected_sampled",
    "grouped_auc",
    "hanley_mcneil_error",
    "hanley_mcneil_interval",
    "hit_rate_at_k",
    "mann_whitney_auc",
    "mean_absolute_error",
    "mean_over_queries",
    "movielens",
    "ndcg_at_k",
    "ndcg_score",
    "placements",
    "placements_loop",
    "precision_at_k",
    "precision_recall_curve",
    "ranked_gains",
    "recall_at_k",
    "reciprocal_rank",
    "roc_auc_loop",
    "roc_auc_score",
    "roc_curve",
    "roc_hull",
    "root_mean_squared_error",
    "sampled_places",
    "split_at_random",
    "split_at_time",
    "split_last",
    "threshold_counts",
    "within_and_across",
]
