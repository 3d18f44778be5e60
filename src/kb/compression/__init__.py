"""Smaller models: weights in few bits, students of a teacher, weights dropped."""

from kb.compression.calibration import InputStatistics, collect_inputs, linear_layers, output_error, swapped_weights
from kb.compression.distillation import (
    centred,
    distillation_gradient,
    distillation_loss,
    distillation_loss_loop,
    high_temperature_gradient,
    kl_divergence,
    mixed_loss,
)
from kb.compression.gptq import gptq, obq_loop
from kb.compression.grid import Grid, QuantizedTensor, quantize, quantize_loop
from kb.compression.linear import (
    WeightOnlyLinear,
    int8_linear,
    int8_linear_loop,
    integer_product,
    outlier_linear,
    quantize_inputs,
)
from kb.compression.normal_float import NF4Linear, NF4Tensor, nf4_table, quantize_nf4
from kb.compression.packing import pack_int4, unpack_int4
from kb.compression.pruning import (
    apply_masks,
    compress_2_4,
    decompress_2_4,
    global_magnitude_masks,
    magnitude_mask,
    row_mask,
    semi_structured_mask,
    semi_structured_mask_loop,
    wanda_scores,
)
from kb.compression.scaling import ScaledTensor, awq, smoothing_scale

__all__ = [
    "Grid",
    "InputStatistics",
    "NF4Linear",
    "NF4Tensor",
    "QuantizedTensor",
    "ScaledTensor",
    "WeightOnlyLinear",
    "apply_masks",
    "awq",
    "centred",
    "collect_inputs",
    "compress_2_4",
    "decompress_2_4",
    "distillation_gradient",
    "distillation_loss",
    "distillation_loss_loop",
    "global_magnitude_masks",
    "gptq",
    "high_temperature_gradient",
    "int8_linear",
    "int8_linear_loop",
    "integer_product",
    "kl_divergence",
    "linear_layers",
    "magnitude_mask",
    "mixed_loss",
    "nf4_table",
    "obq_loop",
    "outlier_linear",
    "output_error",
    "pack_int4",
    "quantize",
    "quantize_inputs",
    "quantize_loop",
    "quantize_nf4",
    "row_mask",
    "semi_structured_mask",
    "semi_structured_mask_loop",
    "smoothing_scale",
    "swapped_weights",
    "unpack_int4",
    "wanda_scores",
]
