"""Chain of thought: prompts that ask for reasoning, answers read out of it, demonstrations chosen, votes counted."""

from kb.cot.demonstrations import Demonstration
from kb.cot.engine_model import EngineModel
from kb.cot.language_model import Completion, LanguageModel, Sampling
from kb.cot.transformers_model import TransformersModel

__all__ = ["Completion", "Demonstration", "EngineModel", "LanguageModel", "Sampling", "TransformersModel"]
