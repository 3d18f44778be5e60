"""Architecture facts of released language models, each with where it stands, and the parameters that follow from them.

Unusual: a fact without a source is None, never a guess, and what a report prints is kept as printed, so that the count
by formula can be held against it to the last printed digit (:func:`agreement`). Some do not agree; the tests name them.

The table is ``families.toml`` beside this file; its sources stand there, one per group of facts.
Symbols: D width, N query heads, G key-value heads, H head width, F inner width, V rows of the vocabulary, E experts.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from kb.arguments import is_integer


@dataclass(frozen=True)
class Experts:
    """A mixture of experts in place of the feed-forward network, in all layers but the first ``dense_layers``.

    Args:
        routed: E, of which a token goes through ``active``.
        active: Routed experts of one token.
        width: Inner width of one expert.
        shared: Experts of every token beside them.
        dense_layers: First layers with an ordinary feed-forward network.
    """

    routed: int
    active: int
    width: int
    shared: int = 0
    dense_layers: int = 0


@dataclass(frozen=True)
class Latent:
    """Widths of multi-head latent attention (DeepSeek-V2, section 2.1): what is compressed, and what a head gets.

    Args:
        query_rank: Width of the compressed query.
        kv_rank: Width of the compressed key and value, the part that is cached.
        rope_dim: Width of the rotary part of a key, one for all heads and cached, and of a head's query.
        nope_dim: Width of the rest of a head's key and query.
        value_dim: Width of a head's value.
    """

    query_rank: int
    kv_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int


@dataclass(frozen=True)
class Architecture:
    """One released model; None where no source was found.

    Args:
        name: The model's.
        family: Key of its family in the table.
        organisation: Who made it.
        date: Month of its release or report, "2023-02".
        parameters: As printed: "6.7B", "117M" or all digits.
        active: The same, of one token, for mixtures of experts.
        non_embedding: The same, without embedding and head.
        layers: Decoder layers.
        encoder_layers: Encoder layers beside them (2017).
        width: D.
        heads: N.
        kv_heads: G; N for multi-head attention.
        head_dim: H.
        ffn: "relu", "gelu", "swiglu" or "geglu"; the last two have three matrices.
        ffn_width: F, of one branch; None where all layers have experts.
        norm: "layernorm" or "rmsnorm".
        norm_place: "pre", "post" or "pre and post" of each sublayer; "deepnorm" where the sum starts from a multiple of
            the normalised input (ChatGLM-6B), with one more norm at the end.
        position: "sinusoidal", "learned", "rope", "2d-rope" or "alibi".
        rope_theta: Base of the rotary angles.
        rotary_share: Which part of a head is turned.
        context: Longest sequence stated, in tokens.
        vocabulary: V, rows of the embedding table, unused ones included.
        tied: Whether the head is the embedding table.
        bias: "all" matrices, "qkv", "ffn" or "none".
        qk_norm: Whether queries and keys are normalised, head by head.
        attention: "MHA", "GQA", "MQA" or "MLA".
        window: Keys that a query of a local layer sees.
        window_layers: Which layers are local, in words.
        tokens: Trained on, as stated: "1.4T".
        experts: Of a mixture.
        latent: Of multi-head latent attention.
        sources: Where each group of facts stands.
    """

    name: str
    family: str
    organisation: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: str
    norm: str
    norm_place: str
    position: str
    vocabulary: int
    tied: bool
    bias: str
    attention: str
    sources: Mapping[str, str] = field(repr=False)
    date: str | None = None
    parameters: str | None = None
    active: str | None = None
    non_embedding: str | None = None
    encoder_layers: int = 0
    ffn_width: int | None = None
    rope_theta: float | None = None
    rotary_share: float = 1.0
    context: int | None = None
    qk_norm: bool = False
    window: int | None = None
    window_layers: str | None = None
    tokens: str | None = None
    experts: Experts | None = None
    latent: Latent | None = None


@cache
def architectures() -> Mapping[str, Architecture]:
    """Every model of the table by its name, in the table's order."""
    text = resources.files("kb.lm").joinpath("families.toml").read_text(encoding="utf-8")
    models = {}
    for family, shared in tomllib.loads(text).items():
        common = {key: value for key, value in shared.items() if key not in ("models", "sources")}
        for name, own in shared["models"].items():
            models[name] = _architecture(name, family, {**common, **own}, shared["sources"])
    return MappingProxyType(models)


def architecture(name: str) -> Architecture:
    """One model.

    Raises:
        ValueError: the table has no model of that name.
    """
    if name not in architectures():
        raise ValueError(f"name {name!r} is not in the table; it has {', '.join(architectures())}")
    return architectures()[name]


def _architecture(name: str, family: str, facts: dict[str, Any], sources: dict[str, str]) -> Architecture:
    facts = {"kv_heads": facts["heads"], **facts}
    if "experts" in facts:
        facts["experts"] = Experts(**facts["experts"])
    if "latent" in facts:
        facts["latent"] = Latent(**facts["latent"])
    return Architecture(name=name, family=family, sources=MappingProxyType(sources), **facts)


@dataclass(frozen=True)
class Parameters:
    """Learned numbers of a model by formula.

    Args:
        total: All of them, a tied head once.
        embedding: Of these, the embedding table and an untied head.
        active: What one token is multiplied with: without the experts that it does not take, and without the embedding
            table, of which one row is looked up, unless that is the head.
    """

    total: int
    embedding: int
    active: int

    @property
    def non_embedding(self) -> int:
        """All but the embedding table and an untied head; learned positions are among them."""
        return self.total - self.embedding


def count_parameters(model: Architecture) -> Parameters:
    """Parameters of the language model; no vision encoder and no module for the prediction of further tokens."""
    D, norm = model.width, model.width * (2 if model.norm == "layernorm" else 1)
    norms_a_layer = 4 if model.norm_place == "pre and post" else 2
    attention = _latent_attention(model, model.latent) if model.latent else _attention(model)
    rest = model.layers * (attention + norms_a_layer * norm)
    rest += model.encoder_layers * (_attention(model) + norms_a_layer * norm)
    if model.encoder_layers:  # each decoder layer attends to the encoder, behind a norm of its own
        rest += model.layers * (_attention(model) + norm)
    rest += norm if model.norm_place != "post" else 0
    if model.position == "learned":
        rest += (model.context or 0) * D
    dense, experts, idle = _feed_forward(model)
    total = rest + dense + experts
    table = model.vocabulary * D
    embedding = table * (1 if model.tied else 2)
    return Parameters(total + embedding, embedding, total + table - idle)


def _attention(model: Architecture) -> int:
    D, queries, keys = model.width, model.heads * model.head_dim, model.kv_heads * model.head_dim
    biases = {"all": queries + 2 * keys + D, "qkv": queries + 2 * keys}.get(model.bias, 0)
    return D * (queries + 2 * keys) + queries * D + biases + (2 * model.head_dim if model.qk_norm else 0)


def _latent_attention(model: Architecture, latent: Latent) -> int:
    """Down and up again, for queries and for keys and values, with a norm at each narrow place."""
    D, N = model.width, model.heads
    head = latent.nope_dim + latent.rope_dim
    queries = latent.query_rank * (D + 1 + N * head)
    down = D * (latent.kv_rank + latent.rope_dim) + latent.kv_rank
    up = latent.kv_rank * N * (latent.nope_dim + latent.value_dim)
    return queries + down + up + N * latent.value_dim * D


def _feed_forward(model: Architecture) -> tuple[int, int, int]:
    """Of all dense networks, of all experts with their routers, and of those experts that a token does not take."""
    D, F, experts = model.width, model.ffn_width or 0, model.experts
    matrices = 3 if model.ffn in ("swiglu", "geglu") else 2
    dense = matrices * D * F + ((matrices - 1) * F + D if model.bias in ("all", "ffn") else 0)
    dense_layers = model.encoder_layers + (model.layers if experts is None else experts.dense_layers)
    if experts is None:
        return dense_layers * dense, 0, 0
    sparse_layers = model.layers - experts.dense_layers
    one = matrices * D * experts.width
    mixture = (experts.routed + experts.shared) * one + D * experts.routed
    idle = (experts.routed - experts.active) * one
    return dense_layers * dense, sparse_layers * mixture, sparse_layers * idle


_UNITS = {"M": 10**6, "B": 10**9, "T": 10**12}


def agreement(count: int, printed: str) -> str:
    """How a count stands to what was printed, at the digits printed: "rounded", "cut" or "differs".

    "6.7B" is 6,738,415,616 rounded; "65.2B" is 65,285,660,672 with the digits behind it cut off, as rounded it would
    be 65.3B. Without a unit every digit counts.

    Raises:
        ValueError: ``count`` is not a positive integer, or ``printed`` is not a number with or without M, B or T.
    """
    if not is_integer(count) or count < 1:
        raise ValueError(f"count must be a positive integer, got {count!r}")
    if not isinstance(printed, str) or not re.fullmatch(r"\d[\d,]*(\.\d+)?[MBT]?", printed, re.ASCII):
        raise ValueError(f"printed must be a number such as '6.7B' or '1,234', got {printed!r}")
    digits, unit = printed.replace(",", "").rstrip("MBT"), _UNITS.get(printed[-1], 1)
    decimals = len(digits.partition(".")[2])
    wanted = Fraction(digits) * 10**decimals
    scaled = Fraction(count * 10**decimals, unit)
    if (scaled + Fraction(1, 2)).__floor__() == wanted:
        return "rounded"
    return "cut" if scaled.__floor__() == wanted else "differs"
