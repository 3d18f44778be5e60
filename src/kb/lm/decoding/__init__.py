"""How text is made of next-token distributions: edits, beams, contrast, speculation, and measures of the result."""

from kb.lm.decoding.penalties import (
    FrequencyPenalty,
    MinLength,
    MinNewTokens,
    NoRepeatNGram,
    PresencePenalty,
    RepetitionPenalty,
)
from kb.lm.decoding.processor import Processor, Processors, kept_in_both_orders
from kb.lm.decoding.truncation import Epsilon, Eta, MinP, Temperature, TopK, TopP, Typical

__all__ = [
    "Epsilon",
    "Eta",
    "FrequencyPenalty",
    "MinLength",
    "MinNewTokens",
    "MinP",
    "NoRepeatNGram",
    "PresencePenalty",
    "Processor",
    "Processors",
    "RepetitionPenalty",
    "Temperature",
    "TopK",
    "TopP",
    "Typical",
    "kept_in_both_orders",
]
