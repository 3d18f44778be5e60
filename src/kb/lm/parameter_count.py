"""How many parameters a model has, in named parts, by formula: BERT's family of encoders, and decoders of Llama's.

A matrix of a linear layer counts inputs × outputs, its bias outputs, a LayerNorm two vectors, an RMSNorm one. Heads do
not appear in the encoder's formula: however many they are, together they are as wide as the model.

Unusual: the paper's 110M and 340M are two digits of either of two counts, with the pooler alone (109.5M, 335.1M) and
with the two heads of pre-training (110.1M, 336.2M); the difference is far below what was published.

Sources: Devlin et al. 2019, section 3 (L, H, A and totals); google-research/bert, modeling.py (the parts); Liu et al.
2019, RoBERTa; Touvron et al. 2023, LLaMA, section 2.2. Sizes: each model's config.json.
Shapes: V vocabulary, D width, F inner width, L layers.
"""

from dataclasses import dataclass

from kb.arguments import require_count
from kb.lm.config import ModelConfig
from kb.lm.cost import matrices


@dataclass(frozen=True)
class EncoderSizes:
    """What the count of an encoder depends on; field names but for ``name`` are those of ``config.json``.

    Args:
        name: The model's.
        vocab_size: V.
        max_position_embeddings: Rows of the learned table of positions.
        type_vocab_size: Kinds of segments.
        hidden_size: D.
        num_hidden_layers: L.
        num_attention_heads: Heads, which divide D and add no parameters.
        intermediate_size: F.

    Raises:
        ValueError: a size is not a positive integer, or the heads do not divide the width.
    """

    name: str
    vocab_size: int
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072

    def __post_init__(self) -> None:
        for name in ("vocab_size", "max_position_embeddings", "type_vocab_size", "hidden_size", "num_hidden_layers"):
            require_count(name, getattr(self, name))
        for name in ("num_attention_heads", "intermediate_size"):
            require_count(name, getattr(self, name))
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size must be a multiple of num_attention_heads, got {self.hidden_size} and "
                f"{self.num_attention_heads}"
            )


_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
# RoBERTa numbers its positions from padding_idx + 1 = 2 on, so that 512 tokens need 514 rows; and it has one segment.
_ROBERTA = {"vocab_size": 50_265, "max_position_embeddings": 514, "type_vocab_size": 1}

# config.json of the repository of that name on the Hugging Face hub.
BERT_BASE_UNCASED = EncoderSizes("google-bert/bert-base-uncased", 30_522)
BERT_BASE_CASED = EncoderSizes("google-bert/bert-base-cased", 28_996)
BERT_BASE_CHINESE = EncoderSizes("google-bert/bert-base-chinese", 21_128)
BERT_LARGE_UNCASED = EncoderSizes("google-bert/bert-large-uncased", 30_522, **_LARGE)
ROBERTA_BASE = EncoderSizes("FacebookAI/roberta-base", **_ROBERTA)
ROBERTA_LARGE = EncoderSizes("FacebookAI/roberta-large", **_ROBERTA, **_LARGE)
ENCODERS = (BERT_BASE_UNCASED, BERT_BASE_CASED, BERT_BASE_CHINESE, BERT_LARGE_UNCASED, ROBERTA_BASE, ROBERTA_LARGE)


def encoder_layer_parameters(sizes: EncoderSizes) -> dict[str, int]:
    """The parts of one layer: 4 D² + 4 D, 2 D F + F + D, and twice 2 D."""
    D, F = sizes.hidden_size, sizes.intermediate_size
    return {
        "query, key, value": 3 * (D * D + D),
        "attention output": D * D + D,
        "attention LayerNorm": 2 * D,
        "FFN in": D * F + F,
        "FFN out": F * D + D,
        "FFN LayerNorm": 2 * D,
    }


def encoder_parameters(sizes: EncoderSizes, *, pooler: bool = True, pretraining_heads: bool = False) -> dict[str, int]:
    """The parts of an encoder such as BERT; their sum is its number of parameters.

    Args:
        sizes: The model's.
        pooler: Whether there is the linear layer on the first token, with tanh.
        pretraining_heads: Whether to count the two heads of BERT's pre-training. The masked-token head is a linear
            layer, a LayerNorm and one bias per word: its matrix of words is the embedding's. The next-sentence head is
            a linear layer to 2, of the pooler's output.

    Raises:
        ValueError: both heads without the pooler.
    """
    if pretraining_heads and not pooler:
        raise ValueError(
            "pooler must be True with pretraining_heads: the next-sentence head reads its output, got False"
        )
    D, V = sizes.hidden_size, sizes.vocab_size
    layer = encoder_layer_parameters(sizes)
    parts = {
        "word embeddings": V * D,
        "position embeddings": sizes.max_position_embeddings * D,
        "type embeddings": sizes.type_vocab_size * D,
        "embeddings LayerNorm": 2 * D,
        **{name: sizes.num_hidden_layers * number for name, number in layer.items()},
    }
    if pooler:
        parts["pooler"] = D * D + D
    if pretraining_heads:
        parts["masked-token head"] = D * D + D + 2 * D + V
        parts["next-sentence head"] = 2 * D + 2
    return parts


def decoder_parameters(config: ModelConfig) -> dict[str, int]:
    """The parts of a :class:`kb.lm.DecoderLM`; their sum is its number of parameters, and that of transformers' model.

    Grouped queries make keys and values smaller, SwiGLU has three matrices, a tied head counts nothing.
    """
    D, F, H = config.hidden_size, config.intermediate_size, config.head_dim
    queries, keys = config.num_heads * H, config.num_kv_heads * H
    q, k, v, o, gate, up, down = (inputs * outputs for inputs, outputs in matrices(config))
    qkv_bias = queries + 2 * keys if config.qkv_bias else 0
    layer = {
        "query, key, value": q + k + v + qkv_bias,
        "attention output": o + (D if config.output_bias else 0),
        "FFN gate, up": gate + up + (2 * F if config.ffn_bias else 0),
        "FFN down": down + (D if config.ffn_bias else 0),
        "RMSNorms": 2 * D + (2 * H if config.qk_norm else 0),
    }
    return {
        "word embeddings": config.vocab_size * D,
        **{name: config.num_layers * number for name, number in layer.items()},
        "final RMSNorm": D,
        "output head": 0 if config.tie_embeddings else config.vocab_size * D,
    }
