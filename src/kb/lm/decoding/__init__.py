"""How text is made of next-token distributions: edits, beams, contrast, speculation, and measures of the result."""

from kb.lm.decoding.acceptance import (
    acceptance_rate,
    expected_speedup,
    expected_tokens,
    residual,
    verify,
    verify_loop,
)
from kb.lm.decoding.beam_config import BeamConfig
from kb.lm.decoding.beam_search import BeamOutput, Hypothesis, beam_search, beam_search_loop
from kb.lm.decoding.contrastive import (
    ContrastiveConfig,
    contrastive_scores,
    contrastive_scores_loop,
    contrastive_search,
    contrastive_search_loop,
    states_of,
)
from kb.lm.decoding.drafts import Draft, ModelDraft, PromptLookup
from kb.lm.decoding.exact_outcomes import mean_tokens, pass_outcomes, text_distribution
from kb.lm.decoding.measures import distinct_n, diversity, mean_log_likelihood, overlap, repetition
from kb.lm.decoding.penalties import (
    FrequencyPenalty,
    MinLength,
    MinNewTokens,
    NoRepeatNGram,
    PresencePenalty,
    RepetitionPenalty,
)
from kb.lm.decoding.processor import Processor, Processors, kept_in_both_orders
from kb.lm.decoding.speculative import SpeculativeOutput, speculative_decode
from kb.lm.decoding.stepwise import decode
from kb.lm.decoding.truncation import Epsilon, Eta, MinP, Temperature, TopK, TopP, Typical

__all__ = [
    "BeamConfig",
    "BeamOutput",
    "ContrastiveConfig",
    "Draft",
    "Epsilon",
    "Eta",
    "FrequencyPenalty",
    "Hypothesis",
    "MinLength",
    "MinNewTokens",
    "MinP",
    "ModelDraft",
    "NoRepeatNGram",
    "PresencePenalty",
    "Processor",
    "Processors",
    "PromptLookup",
    "RepetitionPenalty",
    "SpeculativeOutput",
    "Temperature",
    "TopK",
    "TopP",
    "Typical",
    "acceptance_rate",
    "beam_search",
    "beam_search_loop",
    "contrastive_scores",
    "contrastive_scores_loop",
    "contrastive_search",
    "contrastive_search_loop",
    "decode",
    "distinct_n",
    "diversity",
    "expected_speedup",
    "expected_tokens",
    "kept_in_both_orders",
    "mean_log_likelihood",
    "mean_tokens",
    "overlap",
    "pass_outcomes",
    "repetition",
    "residual",
    "speculative_decode",
    "states_of",
    "text_distribution",
    "verify",
    "verify_loop",
]
