"""The bricks of every model in the book: each as a loop that can be read and as the fast path that is used."""

from kb.nn.attention import grouped_query_attention, grouped_query_attention_loop
from kb.nn.feed_forward import ACTIVATIONS, SwiGLU, swiglu_loop
from kb.nn.norms import RMSNorm, rms_norm, rms_norm_loop
from kb.nn.packed_linear import PackedLinear, PackedSwiGLU, pack_linears
from kb.nn.positions import RopeParameters, apply_rotary, apply_rotary_loop, inverse_frequencies, rotary_tables

__all__ = [
    "ACTIVATIONS",
    "PackedLinear",
    "PackedSwiGLU",
    "RMSNorm",
    "RopeParameters",
    "SwiGLU",
    "apply_rotary",
    "apply_rotary_loop",
    "grouped_query_attention",
    "grouped_query_attention_loop",
    "inverse_frequencies",
    "pack_linears",
    "rms_norm",
    "rms_norm_loop",
    "rotary_tables",
    "swiglu_loop",
]
