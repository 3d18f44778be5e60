"""One decoder-only language model, small enough to read and able to run released weights; what released ones are."""

from kb.lm.ablation import AblationLM
from kb.lm.ablation_config import AblationConfig
from kb.lm.cache import Cache, KVCache, NoCache
from kb.lm.config import ModelConfig
from kb.lm.families import Architecture, architecture, architectures
from kb.lm.generation import generate
from kb.lm.model import DecoderLM
from kb.lm.sampling import GREEDY, SamplingParams

__all__ = [
    "GREEDY",
    "AblationConfig",
    "AblationLM",
    "Architecture",
    "Cache",
    "DecoderLM",
    "KVCache",
    "ModelConfig",
    "NoCache",
    "SamplingParams",
    "architecture",
    "architectures",
    "generate",
]
