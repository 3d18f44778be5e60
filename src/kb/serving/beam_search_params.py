"""What a beam search may be asked for: ``BeamSearchParams``, with vLLM 0.32's names, order, defaults and meaning.

Source: vLLM 0.32, ``vllm/sampling_params.py``.
"""

from dataclasses import dataclass

from kb.arguments import require_count
from kb.serving.parameter_checks import absent, refuse_absent, require, require_types
from kb.serving.sampling_params import MOST_SEQUENCES

_LARGEST_PENALTY = 20


@dataclass(frozen=True)
class BeamSearchParams:
    """How beams are searched.

    Args:
        beam_width: Beams kept at every step, and returned.
        max_tokens: New tokens at most.
        ignore_eos: Whether to go on after an end-of-sequence token.
        temperature: 0 to 2, and of no effect, as in vLLM: beams are scored by the model's own distribution.
        length_penalty: A beam's score is its log-probability over its length to this power.
        include_stop_str_in_output: Of no effect, as in vLLM: a beam's text is that of all its tokens.
        structured_outputs: Not here.
        skip_special_tokens: Whether to leave special tokens out of the text.
        watermarking: Not here.

    Raises:
        TypeError: an argument is of another type.
        ValueError: it is out of its range, or is not here.
    """

    beam_width: int
    max_tokens: int
    ignore_eos: bool = False
    temperature: float = 0.0
    length_penalty: float = 1.0
    include_stop_str_in_output: bool = False
    structured_outputs: None = absent(None)
    skip_special_tokens: bool = True
    watermarking: None = absent(None)

    def __post_init__(self) -> None:
        refuse_absent(self)
        flags = ("ignore_eos", "include_stop_str_in_output", "skip_special_tokens")
        require_types(self, ("temperature", "length_penalty"), flags)
        require_count("beam_width", self.beam_width)
        require(self.beam_width <= MOST_SEQUENCES, "beam_width", self.beam_width, f"at most {MOST_SEQUENCES}")
        require_count("max_tokens", self.max_tokens)
        fits = abs(self.length_penalty) <= _LARGEST_PENALTY  # so that a length to this power is a float
        require(fits, "length_penalty", self.length_penalty, f"between -{_LARGEST_PENALTY} and {_LARGEST_PENALTY}")
        require(0 <= self.temperature <= 2, "temperature", self.temperature, "between 0 and 2")
