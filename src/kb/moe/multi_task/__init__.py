"""The recommender's mixture of experts: several tasks of one row, a gate for each: MMoE, PLE, and their baselines."""

from kb.moe.multi_task.correlated import correlated_tasks
from kb.moe.multi_task.deletion import bank_without, extraction_without, layer_without, mixture_without, router_without
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
    "bank_without",
    "binary_loss",
    "correlated_tasks",
    "epochs",
    "expert_weights",
    "extraction_without",
    "layer_without",
    "mixture_without",
    "movielens",
    "perceptron",
    "ranking_quality",
    "router_without",
    "run_gates",
    "widened",
]
