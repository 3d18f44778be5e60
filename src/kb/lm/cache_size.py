"""How many numbers a token adds to a KV cache, for each way of sharing heads, and for models that were released.

Multi-head attention (MHA) keeps a key and a value per head; multi-query (MQA) one pair for all heads; grouped-query
(GQA) one per group. Multi-head latent attention (MLA) keeps, per layer, one compressed vector from which all keys and
values are computed again, and one rotary key shared by all heads.

Sources: Shazeer 2019 (MQA); Ainslie et al. 2023 (GQA); DeepSeek-AI 2024, DeepSeek-V2, section 2.1.4 and table 1 (all
four side by side).
"""

from dataclasses import dataclass

from kb.arguments import require_count


@dataclass(frozen=True)
class CacheShape:
    """What one model keeps per token.

    Args:
        name: The model's.
        layers: Layers that keep something.
        heads: Query heads.
        kv_heads: Key-value heads: ``heads`` for MHA, 1 for MQA, between for GQA. Ignored for MLA.
        head_dim: Numbers in one key, and in one value.
        latent: MLA: width of the compressed vector; 0 for the others.
        rotary: MLA: width of the shared rotary key.

    Raises:
        ValueError: a count is not a positive integer, heads are not a multiple of KV heads, or only one of the MLA
            widths is given.
    """

    name: str
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    latent: int = 0
    rotary: int = 0

    def __post_init__(self) -> None:
        for field in ("layers", "heads", "kv_heads", "head_dim"):
            require_count(field, getattr(self, field))
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}")
        for field in ("latent", "rotary"):
            require_count(field, getattr(self, field), least=0)
        if (self.latent > 0) != (self.rotary > 0):
            raise ValueError(f"MLA wants both widths, got latent {self.latent} and rotary {self.rotary}")

    @property
    def kind(self) -> str:
        """MHA, MQA, GQA or MLA."""
        if self.latent:
            return "MLA"
        if self.kv_heads == self.heads:
            return "MHA"
        return "MQA" if self.kv_heads == 1 else "GQA"

    @property
    def per_layer(self) -> int:
        """Numbers per token and layer."""
        return self.latent + self.rotary if self.latent else 2 * self.kv_heads * self.head_dim

    @property
    def per_token(self) -> int:
        """Numbers per token, all layers."""
        return self.layers * self.per_layer

    def nbytes(self, tokens: int = 1, *, itemsize: float = 2, batch: int = 1) -> int:
        """Bytes of the cache of ``batch`` sequences of ``tokens`` tokens; ``itemsize`` 2 is bfloat16.

        Raises:
            ValueError: a count is not a positive integer, or ``itemsize`` is not positive.
        """
        require_count("tokens", tokens)
        require_count("batch", batch)
        if not itemsize > 0:
            raise ValueError(f"itemsize must be positive, got {itemsize}")
        return round(batch * tokens * self.per_token * itemsize)


# From each model's released config.json or its report.
RELEASED = (
    CacheShape("GPT-3 175B", layers=96, heads=96, kv_heads=96, head_dim=128),  # Brown et al. 2020, table 2.1
    CacheShape("PaLM 540B", layers=118, heads=48, kv_heads=1, head_dim=256),  # Chowdhery et al. 2023, table 1
    CacheShape("Falcon 7B", layers=32, heads=71, kv_heads=1, head_dim=64),  # config.json
    CacheShape("Llama 2 7B", layers=32, heads=32, kv_heads=32, head_dim=128),  # config.json
    CacheShape("Llama 2 70B", layers=80, heads=64, kv_heads=8, head_dim=128),  # config.json
    CacheShape("Mistral 7B", layers=32, heads=32, kv_heads=8, head_dim=128),  # Jiang et al. 2023, table 1
    CacheShape("Llama 3 8B", layers=32, heads=32, kv_heads=8, head_dim=128),  # Grattafiori et al. 2024, table 3
    CacheShape("Llama 3 70B", layers=80, heads=64, kv_heads=8, head_dim=128),  # the same
    CacheShape("Llama 3 405B", layers=126, heads=128, kv_heads=8, head_dim=128),  # the same
    CacheShape(
        "DeepSeek 67B", layers=95, heads=64, kv_heads=8, head_dim=128
    ),  # DeepSeek-AI 2024, DeepSeek LLM, table 2
    CacheShape("DeepSeek-V2", layers=60, heads=128, kv_heads=128, head_dim=128, latent=512, rotary=64),  # section 3.1.2
    CacheShape("DeepSeek-V3", layers=61, heads=128, kv_heads=128, head_dim=128, latent=512, rotary=64),  # section 4.2
    CacheShape("Qwen3 0.6B", layers=28, heads=16, kv_heads=8, head_dim=128),  # Yang et al. 2025, table 1; config.json
    CacheShape("Qwen3 8B", layers=36, heads=32, kv_heads=8, head_dim=128),  # the same
    CacheShape("SmolLM2 135M", layers=30, heads=9, kv_heads=3, head_dim=64),  # config.json
)
