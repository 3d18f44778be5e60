"""The recommender's mixture of experts: several tasks of one row, a gate for each: MMoE, PLE, and their baselines."""

from kb.moe.multi_task.correlated import correlated_tasks
from kb.moe.multi_task.deletion import bank_without, layer_without, mixture_without, router_without
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
    "correlated_tasks",
    "expert_weights",
    "layer_without",
    "mixture_without",
    "movielens",
    "perceptron",
    "router_without",
    "run_gates",
    "widened",
]
