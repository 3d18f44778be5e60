"""The differences between the decoder of 2017 and LLaMA's as switches; what each costs in parameters and operations.

Unusual: no size is bound to a switch. The inner width of the feed-forward network is given as the ungated network's;
a gated one gets two thirds of it, so that three matrices hold what two held, and a page that turns one switch compares
models of (almost) one size.

Sources: Vaswani et al. 2017, sections 3.1 to 3.5 (LayerNorm after each sublayer, ReLU, sinusoids, the embedding times
sqrt(D) and shared with the head; biases are in its feed-forward network alone, equation 2, and in all matrices in
``torch.nn.Transformer``, which is followed here); Touvron et al. 2023, LLaMA, section 2.2 (RMSNorm before each
sublayer, SwiGLU of 2/3 · 4D, RoPE); Ainslie et al. 2023 (grouped queries); Press et al. 2022, ALiBi, section 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kb.arguments import is_number, require_count

NORMS = ("layer", "rms")
NORM_PLACES = ("post", "pre", "sandwich")
POSITIONS = ("sinusoidal", "learned", "rope", "alibi")
FFNS = ("relu", "gelu", "swiglu")
BIASES = ("all", "qkv", "none")


def gated_width(ungated: int, *, multiplier: float = 1.0, multiple_of: int = 1) -> int:
    """Inner width at which a gated network's three matrices hold what an ungated one's two hold: 2/3 of it.

    Args:
        ungated: Inner width of the ungated network, 4D in most models.
        multiplier: Times this after that; 1.3 in Llama 2 70B and in Llama 3 8B, which spend there what grouped queries
            save.
        multiple_of: Rounded up to a multiple of this, for the hardware's sake.

    Raises:
        ValueError: a count is not a positive integer, or the multiplier is not a positive number.
    """
    require_count("ungated", ungated)
    require_count("multiple_of", multiple_of)
    if not is_number(multiplier) or multiplier <= 0:
        raise ValueError(f"multiplier must be a positive number, got {multiplier!r}")
    exact = max(1, int(multiplier * (2 * ungated // 3)))
    return -(-exact // multiple_of) * multiple_of


@dataclass(frozen=True)
class AblationConfig:
    """One decoder, by default LLaMA's.

    Args:
        vocab_size: V.
        width: D.
        layers: Blocks.
        heads: N query heads of D / N numbers each.
        kv_heads: G, heads of keys and values; as many as of queries (multi-head attention) if not given.
        inner: Inner width of an ungated feed-forward network; 4D if not given. See :func:`gated_width`.
        multiple_of: What a gated network's width is rounded up to a multiple of.
        max_positions: Rows of the learned table, and so the longest sequence with it. No other position has a limit.
        norm: "layer" (with gain and bias) or "rms" (gain alone).
        norm_place: "post", norm(x + sublayer(x)); "pre", x + sublayer(norm(x)) and one more norm at the end; or
            "sandwich", x + norm(sublayer(norm(x))) and the one at the end, as in Gemma 2.
        position: "sinusoidal" and "learned" are added to the embedding; "rope" turns queries and keys in every layer;
            "alibi" subtracts from every score a multiple of the distance.
        ffn: "relu" and "gelu" are two matrices, "swiglu" three.
        bias: Which matrices have one: "all" but the head, "qkv" alone (as in Qwen), or "none".
        tie_embeddings: Whether the head is the embedding table.
        scale_embeddings: Whether embeddings are multiplied by sqrt(D).
        norm_eps: Of every norm.
        rope_theta: Base of the rotary angles.

    Raises:
        ValueError: a size is not a positive integer, sizes do not fit each other, or a switch is not known.
    """

    vocab_size: int
    width: int
    layers: int
    heads: int
    kv_heads: int | None = None
    inner: int | None = None
    multiple_of: int = 1
    max_positions: int = 2048
    norm: str = "rms"
    norm_place: str = "pre"
    position: str = "rope"
    ffn: str = "swiglu"
    bias: str = "none"
    tie_embeddings: bool = False
    scale_embeddings: bool = False
    norm_eps: float = 1e-5
    rope_theta: float = 10_000.0

    def __post_init__(self) -> None:
        for name in ("vocab_size", "width", "layers", "heads", "multiple_of", "max_positions"):
            require_count(name, getattr(self, name))
        for name in ("kv_heads", "inner"):
            if getattr(self, name) is not None:
                require_count(name, getattr(self, name))
        for name, known in _SWITCHES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r} is not known; wanted one of {', '.join(known)}")
        for name in ("tie_embeddings", "scale_embeddings"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.heads % self.groups:
            raise ValueError(f"heads {self.heads} is not a multiple of kv_heads {self.groups}")
        if self.position == "rope" and self.head_dim % 2:
            raise ValueError(
                f"rope turns pairs of features, got heads of {self.head_dim}: width over heads must be even"
            )
        if self.position == "sinusoidal" and self.width % 2:
            raise ValueError(f"sinusoidal positions are pairs of features: width must be even, got {self.width}")
        if not is_number(self.norm_eps) or self.norm_eps <= 0:
            raise ValueError(f"norm_eps must be a positive number, got {self.norm_eps!r}")
        if not is_number(self.rope_theta) or self.rope_theta < 1:
            raise ValueError(f"rope_theta must be a number of at least 1, got {self.rope_theta!r}")

    @property
    def groups(self) -> int:
        """G, heads of keys and values."""
        return self.heads if self.kv_heads is None else self.kv_heads

    @property
    def head_dim(self) -> int:
        """H, numbers in one head."""
        return self.width // self.heads

    @property
    def ffn_width(self) -> int:
        """Inner width of the feed-forward network that is built, gated or not."""
        ungated = 4 * self.width if self.inner is None else self.inner
        return gated_width(ungated, multiple_of=self.multiple_of) if self.ffn == "swiglu" else ungated


_SWITCHES = {"norm": NORMS, "norm_place": NORM_PLACES, "position": POSITIONS, "ffn": FFNS, "bias": BIASES}

_STEPS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("pre-norm", {"norm_place": "pre"}),
    ("RMSNorm", {"norm": "rms"}),
    ("RoPE", {"position": "rope"}),
    ("SwiGLU", {"ffn": "swiglu"}),
    ("no biases", {"bias": "none"}),
    ("untied head", {"tie_embeddings": False}),
    ("embeddings as they are", {"scale_embeddings": False}),
)


def vaswani(config: AblationConfig) -> AblationConfig:
    """The same sizes at the setting of 2017: multi-head attention, and every switch as in Vaswani et al."""
    return replace(
        config,
        kv_heads=None,
        norm="layer",
        norm_place="post",
        position="sinusoidal",
        ffn="relu",
        bias="all",
        tie_embeddings=True,
        scale_embeddings=True,
    )


def steps_to_llama(config: AblationConfig) -> list[tuple[str, AblationConfig]]:
    """From 2017 to LLaMA, one difference after the other, each kept: (what changed, the decoder).

    The last has ``config``'s own KV heads: with fewer than heads, grouped queries are one more step (LLaMA's were as
    many; Llama 2 70B and Llama 3 group them).
    """
    current = vaswani(config)
    path = [("2017", current)]
    changes = [*_STEPS, *([("grouped queries", {"kv_heads": config.kv_heads})] if config.groups < config.heads else [])]
    for name, change in changes:
        current = replace(current, **change)
        path.append((name, current))
    return path


@dataclass(frozen=True)
class ParameterCount:
    """Learned numbers by where they are; a tied head is none."""

    embedding: int
    positions: int
    attention: int
    ffn: int
    norms: int
    head: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.embedding + self.positions + self.attention + self.ffn + self.norms + self.head


def count_parameters(config: AblationConfig) -> ParameterCount:
    """Parameters of a decoder by formula; equal to those of :class:`kb.lm.ablation.AblationLM`."""
    D, F, kv = config.width, config.ffn_width, config.groups * config.head_dim
    qkv_bias = 0 if config.bias == "none" else D + 2 * kv
    other_bias = config.bias == "all"
    matrices = 3 if config.ffn == "swiglu" else 2
    attention = D * (D + 2 * kv) + qkv_bias + D * D + other_bias * D
    ffn = matrices * D * F + other_bias * ((matrices - 1) * F + D)
    norm = (2 if config.norm == "layer" else 1) * D
    return ParameterCount(
        embedding=config.vocab_size * D,
        positions=config.max_positions * D if config.position == "learned" else 0,
        attention=config.layers * attention,
        ffn=config.layers * ffn,
        norms=norm * ((4 if config.norm_place == "sandwich" else 2) * config.layers + (config.norm_place != "post")),
        head=0 if config.tie_embeddings else config.vocab_size * D,
    )


def forward_flops(config: AblationConfig, *, length: int, batch: int = 1) -> int:
    """Operations of one pass over ``batch`` sequences, logits of every token, as in training.

    Two per multiply-add of a matrix product, biases and elementwise work left out, and T × T pairs of query and key:
    the convention of ``kb.counting``. A backward pass costs about twice as much again.

    Raises:
        ValueError: a count is not a positive integer.
    """
    require_count("length", length)
    require_count("batch", batch)
    D, F, kv = config.width, config.ffn_width, config.groups * config.head_dim
    matrices = 2 * D * D + 2 * D * kv + (3 if config.ffn == "swiglu" else 2) * D * F
    per_token = config.layers * (2 * matrices + 4 * length * D) + 2 * D * config.vocab_size
    return batch * length * per_token
