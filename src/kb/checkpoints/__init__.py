"""Released weights: a configuration, tensors and a tokenizer, by name or from a Hugging Face folder."""

from kb.checkpoints.loading import NAMES, Checkpoint, load
from kb.checkpoints.tokenizer import Tokenizer

__all__ = ["NAMES", "Checkpoint", "Tokenizer", "load"]
