"""Chain of thought: prompts that ask for reasoning, answers read out of it, demonstrations chosen, votes counted."""

from kb.cot.language_model import Completion, LanguageModel, Sampling

__all__ = ["Completion", "LanguageModel", "Sampling"]
