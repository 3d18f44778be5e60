"""One decoder-only language model, small enough to read and able to run released weights."""

from kb.lm.cache import Cache, KVCache, NoCache
from kb.lm.config import ModelConfig
from kb.lm.generation import generate
from kb.lm.model import DecoderLM
from kb.lm.sampling import GREEDY, SamplingParams

__all__ = ["GREEDY", "Cache", "DecoderLM", "KVCache", "ModelConfig", "NoCache", "SamplingParams", "generate"]
