"""A serving engine with vLLM's interface: paged KV cache, continuous batching, prefix caching, tiers."""

from kb.serving.beam_search_params import BeamSearchParams
from kb.serving.engine import Engine
from kb.serving.engine_config import EngineConfig
from kb.serving.llm import LLM
from kb.serving.outputs import BeamSearchOutput, BeamSearchSequence, CompletionOutput, Logprob, RequestOutput
from kb.serving.plan import SchedulerConfig
from kb.serving.sampling_params import RequestOutputKind, SamplingParams

__all__ = [
    "LLM",
    "BeamSearchOutput",
    "BeamSearchParams",
    "BeamSearchSequence",
    "CompletionOutput",
    "Engine",
    "EngineConfig",
    "Logprob",
    "RequestOutput",
    "RequestOutputKind",
    "SamplingParams",
    "SchedulerConfig",
]
