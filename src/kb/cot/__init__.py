"""Chain of thought: prompts that ask for reasoning, answers read out of it, demonstrations chosen, votes counted."""

from kb.cot.demonstrations import Demonstration
from kb.cot.endpoint_model import EndpointModel
from kb.cot.engine_model import EngineModel
from kb.cot.json_requests import EndpointError, Patience
from kb.cot.language_model import Completion, LanguageModel, Sampling
from kb.cot.sentence_embeddings import MiniLM, SentenceEmbedding, Tfidf
from kb.cot.transformers_model import TransformersModel

__all__ = [
    "Completion",
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
]
