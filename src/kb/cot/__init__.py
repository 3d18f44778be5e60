"""Chain of thought: prompts that ask for reasoning, answers read out of it, demonstrations chosen, votes counted."""

from kb.cot.auto_cot import AutoCot, AutoCotConfig, auto_cot
from kb.cot.auto_cot_reports import AutoCotError, Candidate, ClusterReport
from kb.cot.clustering import Clustering, k_means
from kb.cot.coverage import Coverage, distance_to_nearest, measure_coverage, measure_coverage_loop
from kb.cot.demonstration_filters import DemonstrationFilters
from kb.cot.demonstrations import Demonstration
from kb.cot.endpoint_model import EndpointModel
from kb.cot.engine_model import EngineModel
from kb.cot.json_requests import EndpointError, RetryPolicy
from kb.cot.language_model import Completion, LanguageModel, Sampling
from kb.cot.least_to_most import LeastToMost, LeastToMostConfig, Step, least_to_most
from kb.cot.reranking import LogisticVerifier, Reranked, Verifier, rerank, solution_features
from kb.cot.selection import select_k_center, select_k_means, select_mmr, select_nearest, select_random
from kb.cot.sentence_embeddings import MiniLM, SentenceEmbedding, Tfidf
from kb.cot.transformers_model import TransformersModel

__all__ = [
    "AutoCot",
    "AutoCotConfig",
    "AutoCotError",
    "Candidate",
    "ClusterReport",
    "Clustering",
    "Completion",
    "Coverage",
    "Demonstration",
    "DemonstrationFilters",
    "EndpointError",
    "EndpointModel",
    "EngineModel",
    "LanguageModel",
    "LeastToMost",
    "LeastToMostConfig",
    "LogisticVerifier",
    "MiniLM",
    "Reranked",
    "RetryPolicy",
    "Sampling",
    "SentenceEmbedding",
    "Step",
    "Tfidf",
    "TransformersModel",
    "Verifier",
    "auto_cot",
    "distance_to_nearest",
    "k_means",
    "least_to_most",
    "measure_coverage",
    "measure_coverage_loop",
    "rerank",
    "select_k_center",
    "select_k_means",
    "select_mmr",
    "select_nearest",
    "select_random",
    "solution_features",
]
