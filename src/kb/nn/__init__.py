"""The bricks of every model in the book: each as a loop that can be read and as the fast path that is used."""

from kb.nn.attention import grouped_query_attention, grouped_query_attention_loop
from kb.nn.causal_convolution import CausalConv1d, causal_convolution, causal_convolution_loop, receptive_field
from kb.nn.feed_forward import ACTIVATIONS, SwiGLU, swiglu_loop
from kb.nn.masked_attention import (
    causal_mask,
    masked_attention_einsum,
    masked_attention_fused,
    masked_attention_loop,
)
from kb.nn.multi_head_attention import AttentionCache, MultiHeadAttention
from kb.nn.norms import RMSNorm, rms_norm, rms_norm_loop
from kb.nn.packed_linear import PackedLinear, PackedSwiGLU, pack_linears
from kb.nn.positions import RopeParameters, apply_rotary, apply_rotary_loop, inverse_frequencies, rotary_tables
from kb.nn.recurrent import GRU, LSTM, RNN, gru_step, lstm_step, recurrent_loop, rnn_step
from kb.nn.transformer import DecoderLayer, EncoderDecoder, EncoderLayer, TransformerLayerConfig

__all__ = [
    "ACTIVATIONS",
    "GRU",
    "LSTM",
    "RNN",
    "AttentionCache",
    "CausalConv1d",
    "DecoderLayer",
    "EncoderDecoder",
    "EncoderLayer",
    "MultiHeadAttention",
    "PackedLinear",
    "PackedSwiGLU",
    "RMSNorm",
    "RopeParameters",
    "SwiGLU",
    "TransformerLayerConfig",
    "apply_rotary",
    "apply_rotary_loop",
    "causal_convolution",
    "causal_convolution_loop",
    "causal_mask",
    "grouped_query_attention",
    "grouped_query_attention_loop",
    "gru_step",
    "inverse_frequencies",
    "lstm_step",
    "masked_attention_einsum",
    "masked_attention_fused",
    "masked_attention_loop",
    "pack_linears",
    "receptive_field",
    "recurrent_loop",
    "rms_norm",
    "rms_norm_loop",
    "rnn_step",
    "rotary_tables",
    "swiglu_loop",
]
