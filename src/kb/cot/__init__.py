"""Chain of thought: prompts that ask for reasoning, answers read out of it, demonstrations chosen, votes counted."""

from kb.cot.clustering import Clustering, k_means
from kb.cot.coverage import Coverage, distance_to_nearest, measure_coverage, measure_coverage_loop
from kb.cot.demonstrations import Demonstration
from kb.cot.endpoint_model import EndpointModel
from kb.cot.engine_model import EngineModel
from kb.cot.json_requests import EndpointError, Patience
from kb.cot.language_model import Completion, LanguageModel, Sampling
from kb.cot.selection import select_k_center, select_k_means, select_mmr, select_nearest, select_random
from kb.cot.sentence_embeddings import MiniLM, SentenceEmbedding, Tfidf
from kb.cot.transformers_model import TransformersModel

__all__ = [
    "Clustering",
    "Completion",
    "Coverage",
    "Demonstration",
    "EndpointError",
    "EndpointModel",
    "EngineModel",
    "LanguageModel",
    "MiniLM",
    "Patience",
    "Sampling",
    "SentenceEmbedding",
    "Tfidf",
    "TransformersModel",
    "distance_to_nearest",
    "k_means",
    "measure_coverage",
    "measure_coverage_loop",
    "select_k_center",
    "select_k_means",
    "select_mmr",
    "select_nearest",
    "select_random",
]
