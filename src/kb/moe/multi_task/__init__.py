"""The recommender's mixture of experts: several tasks of one row, a gate for each: MMoE, PLE, and their baselines."""

from kb.moe.multi_task.correlated import correlated_tasks
from kb.moe.multi_task.fitting import binary_loss, epochs, ranking_quality
from kb.moe.multi_task.gates import expert_weights, run_gates, widened
from kb.moe.multi_task.movielens import MovieLens, Rows, movielens
from kb.moe.multi_task.multi_gate import MultiGateMixture, SharedBottom, SingleTasks
from kb.moe.multi_task.perceptron import perceptron
from kb.moe.multi_task.progressive import ExtractionLayer, ProgressiveExtraction

__all__ = [
    "ExtractionLayer",
    "MovieLens",
    "MultiGateMixture",
    "ProgressiveExtraction",
    "Rows",
    "SharedBottom",
    "SingleTasks",
    "binary_loss",
    "correlated_tasks",
    "epochs",
    "expert_weights",
    "movielens",
    "perceptron",
    "ranking_quality",
    "run_gates",
    "widened",
]
