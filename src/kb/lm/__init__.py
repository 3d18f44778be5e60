"""One decoder-only language model, small enough to read and able to run released weights; what models cost."""

from kb.lm.ablation import AblationLM
from kb.lm.ablation_config import AblationConfig
from kb.lm.attention_maps import AttentionMaps, attention_maps, head_scores, head_scores_loop
from kb.lm.cache import Cache, KVCache, NoCache
from kb.lm.config import ModelConfig
from kb.lm.copy_task import CopyBatch, CopyTask, copy_loss
from kb.lm.extrapolation import loss_by_position, with_positions
from kb.lm.families import Architecture, architecture, architectures
from kb.lm.generation import generate
from kb.lm.model import DecoderLM
from kb.lm.parameter_count import (
    ENCODERS,
    EncoderSizes,
    decoder_parameters,
    encoder_layer_parameters,
    encoder_parameters,
)
from kb.lm.roofline import (
    BFLOAT16,
    FLOAT32,
    Machine,
    PassTime,
    Widths,
    compute_bound_batch,
    decode_rate,
    largest_batch,
    measured_machine,
    pass_time,
)
from kb.lm.sampling import GREEDY, SamplingParams
from kb.lm.sequence_layers import (
    LayerCost,
    contiguous_dilations,
    convolution_cost,
    convolution_stack_cost,
    equal_length,
    exponential_dilations,
    recurrence_cost,
    self_attention_cost,
)
from kb.lm.sequence_models import AttentionModel, ConvolutionModel, RecurrentModel, nearest_width

__all__ = [
    "BFLOAT16",
    "ENCODERS",
    "FLOAT32",
    "GREEDY",
    "AblationConfig",
    "AblationLM",
    "Architecture",
    "AttentionMaps",
    "AttentionModel",
    "Cache",
    "ConvolutionModel",
    "CopyBatch",
    "CopyTask",
    "DecoderLM",
    "EncoderSizes",
    "KVCache",
    "LayerCost",
    "Machine",
    "ModelConfig",
    "NoCache",
    "PassTime",
    "RecurrentModel",
    "SamplingParams",
    "Widths",
    "architecture",
    "architectures",
    "attention_maps",
    "compute_bound_batch",
    "contiguous_dilations",
    "convolution_cost",
    "convolution_stack_cost",
    "copy_loss",
    "decode_rate",
    "decoder_parameters",
    "encoder_layer_parameters",
    "encoder_parameters",
    "equal_length",
    "exponential_dilations",
    "generate",
    "head_scores",
    "head_scores_loop",
    "largest_batch",
    "loss_by_position",
    "measured_machine",
    "nearest_width",
    "pass_time",
    "recurrence_cost",
    "self_attention_cost",
    "with_positions",
]
