"""What a decoder-only language model of the Llama family is made of: one frozen dataclass.

Reads the ``config.json`` of Llama, Mistral, Qwen2, Qwen3 and SmolLM3 folders, in the form of transformers 4
(``rope_theta``, ``rope_scaling``) and of transformers 5 (``rope_parameters``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from kb.arguments import is_integer, is_number, require_count
from kb.nn import ACTIVATIONS, RopeParameters

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3", "smollm3")
# What the configuration classes of transformers fill in where config.json is silent.
_DEFAULT_THETA = {"smollm3": 2_000_000.0}
_DEFAULT_KV_HEADS = {"mistral": 8, "qwen2": 32, "qwen3": 32, "smollm3": 4}
_DEFAULT_POSITIONS = {"llama": 2048, "mistral": 131_072}


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and switches of one model; sizes count elements, not bytes.

    Raises:
        ValueError: a size is not a positive integer, or the sizes do not fit each other.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int
    norm_eps: float = 1e-5
    rope: RopeParameters = field(default_factory=RopeParameters)
    tie_embeddings: bool = False
    activation: str = "silu"
    qkv_bias: bool = False
    output_bias: bool = False
    ffn_bias: bool = False
    qk_norm: bool = False
    windows: tuple[int | None, ...] = ()  # per layer, None for full attention; empty: full everywhere
    uses_rope: tuple[bool, ...] = ()  # per layer; empty: everywhere
    eos_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("vocab_size", "hidden_size", "intermediate_size", "num_layers", "num_heads", "num_kv_heads"):
            require_count(name, getattr(self, name))
        for name in ("head_dim", "max_positions"):
            require_count(name, getattr(self, name))
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} must be even: rotary embedding turns pairs of features")
        if not is_number(self.norm_eps) or self.norm_eps <= 0:
            raise ValueError(f"norm_eps must be a positive number, got {self.norm_eps!r}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"hidden_act {self.activation!r} is not known; wanted one of {', '.join(ACTIVATIONS)}")
        for name in ("windows", "uses_rope"):
            if len(getattr(self, name)) not in (0, self.num_layers):
                raise ValueError(f"{name} has {len(getattr(self, name))} entries for {self.num_layers} layers")
        if self.rope.type == "longrope" and len(self.rope.short_factor) != self.head_dim // 2:
            raise ValueError(
                f"longrope has {len(self.rope.short_factor)} factors for the {self.head_dim // 2} pairs of a head"
            )
        for window in self.windows:
            if window is not None:
                require_count("windows", window)
        for stop in self.eos_ids:
            if not is_integer(stop) or stop < 0:
                raise ValueError(f"eos_ids must be token ids, got {stop!r}")

    def window(self, layer: int) -> int | None:
        """How many keys a query of this layer sees at most; None for all."""
        return self.windows[layer] if self.windows else None

    def rotates(self, layer: int) -> bool:
        """Whether this layer turns its queries and keys by position."""
        return self.uses_rope[layer] if self.uses_rope else True

    @property
    def context_length(self) -> int:
        """Most tokens of one sequence: ``max_positions``, or what a scaling of RoPE stretches the trained ones to."""
        if self.rope.type == "default":
            return self.max_positions
        return max(self.max_positions, int(self.rope.max_positions * self.rope.factor))

    @property
    def kv_elements_per_token(self) -> int:
        """Numbers that one token adds to the KV cache: a key and a value of every KV head of every layer."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim

    @classmethod
    def from_huggingface(cls, config: Mapping[str, Any], generation: Mapping[str, Any] | None = None) -> "ModelConfig":
        """Read a ``config.json``.

        Args:
            config: What it holds.
            generation: What ``generation_config.json`` holds, if there is one. Its end-of-sequence ids go before those
                of ``config.json``: chat models name the end of a turn only there.

        Raises:
            ValueError: the model is not of a known type, an entry is missing or not of its kind, or it asks for what
                this model does not do (another activation, a partial rotary embedding, another kind of layer).
        """
        kind = config.get("model_type")
        if kind not in MODEL_TYPES:
            raise ValueError(f"model_type {kind!r} is not of the Llama family; wanted one of {', '.join(MODEL_TYPES)}")
        missing = [name for name in _NEEDED if config.get(name) is None]
        if missing:
            raise ValueError(f"config.json lacks {', '.join(missing)}")
        for name in _NEEDED:
            require_count(name, config[name])
        num_layers, num_heads = config["num_hidden_layers"], config["num_attention_heads"]
        attention_bias = bool(config.get("attention_bias", False)) and kind not in ("mistral", "qwen2")
        max_positions = config.get("max_position_embeddings") or _DEFAULT_POSITIONS.get(kind, 32_768)
        return cls(
            vocab_size=config["vocab_size"],
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"],
            num_layers=num_layers,
            num_heads=num_heads,
            num_kv_heads=config.get("num_key_value_heads", _DEFAULT_KV_HEADS.get(kind)) or num_heads,
            head_dim=config.get("head_dim") or (128 if kind == "qwen3" else config["hidden_size"] // num_heads),
            max_positions=max_positions,
            norm_eps=config.get("rms_norm_eps", 1e-6),
            rope=_rope(config, kind, max_positions),
            tie_embeddings=bool(config.get("tie_word_embeddings", kind == "smollm3")),
            activation=config.get("hidden_act", "silu"),
            qkv_bias=attention_bias or kind == "qwen2",
            output_bias=attention_bias,
            ffn_bias=bool(config.get("mlp_bias", False)) and kind in ("llama", "smollm3"),
            qk_norm=kind == "qwen3",
            windows=_windows(config, kind, num_layers),
            uses_rope=_uses_rope(config, kind, num_layers),
            eos_ids=_ids((generation or {}).get("eos_token_id")) or _ids(config.get("eos_token_id")),
        )


_NEEDED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_SCALING_NAMES = {field.name for field in fields(RopeParameters)} - {"theta", "type", "factor", "max_positions"}
_LAYER_TYPES = ("full_attention", "sliding_attention")


def _ids(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value,)


def _scaling(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What config.json says of RoPE; as in transformers, ``rope_scaling`` goes before ``rope_parameters``."""
    given = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if not isinstance(given, Mapping):
        raise ValueError(f"rope_scaling must hold names and values, got {given!r}")
    nested = [name for name, value in given.items() if isinstance(value, Mapping)]
    if nested:
        raise ValueError(f"rope parameters of their own for {nested[0]} are not supported")
    if (given.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0) != 1.0:
        raise ValueError("partial_rotary_factor other than 1 is not supported: it is not of the Llama family")
    return given


def _rope(config: Mapping[str, Any], kind: str, max_positions: int) -> RopeParameters:
    given = _scaling(config)
    scaling = given.get("rope_type") or given.get("type") or "default"
    require_count("max_position_embeddings", max_positions)
    trained = max_positions
    if scaling in ("llama3", "yarn", "longrope"):
        trained = (
            config.get("original_max_position_embeddings")
            or given.get("original_max_position_embeddings")
            or max_positions
        )
        require_count("original_max_position_embeddings", trained)
    elif scaling not in ("default", "linear", "dynamic"):
        raise ValueError(
            f"rope_type {scaling!r} is not known; wanted default, linear, dynamic, yarn, longrope or llama3"
        )
    factor = given.get("factor")
    if factor is None:
        if scaling in ("linear", "dynamic", "llama3"):
            raise ValueError(f"rope_type {scaling!r} needs a factor, and config.json gives none")
        factor = max_positions / trained
    named = {name: given[name] for name in _SCALING_NAMES if given.get(name) is not None}
    lists = {name: tuple(value) for name, value in named.items() if isinstance(value, list)}
    stated = [theta for theta in (given.get("rope_theta"), config.get("rope_theta")) if theta is not None]
    theta = stated[0] if stated else _DEFAULT_THETA.get(kind, 10_000.0)
    return RopeParameters(theta=theta, type=scaling, factor=factor, max_positions=trained, **(named | lists))


def _windows(config: Mapping[str, Any], kind: str, num_layers: int) -> tuple[int | None, ...]:
    window = config.get("sliding_window", None if kind == "smollm3" else 4096)
    kinds = config.get("layer_types")
    # SmolLM3 goes by the list of its layers where there is one, whatever the switch says.
    switched_on = config.get("use_sliding_window", False) or (kind == "smollm3" and kinds is not None)
    if kind == "llama" or (kind != "mistral" and not switched_on) or window is None:
        return ()
    if kind == "mistral":
        return (window,) * num_layers
    if kinds is None and kind == "smollm3":
        kinds = [
            "full_attention" if rotates else "sliding_attention" for rotates in _uses_rope(config, kind, num_layers)
        ]
    elif kinds is None:
        first = config.get("max_window_layers")
        first = 28 if first is None else first
        kinds = ["sliding_attention" if layer >= first else "full_attention" for layer in range(num_layers)]
    unknown = [name for name in kinds if name not in _LAYER_TYPES]
    if unknown:
        raise ValueError(f"layer_types: {unknown[0]!r} is not known; wanted {' or '.join(_LAYER_TYPES)}")
    return tuple(window if name == "sliding_attention" else None for name in kinds)


def _uses_rope(config: Mapping[str, Any], kind: str, num_layers: int) -> tuple[bool, ...]:
    if kind != "smollm3":
        return ()
    flags = config.get("no_rope_layers")  # despite its name: 1 where a layer does use RoPE
    if flags is None:
        interval = config.get("no_rope_layer_interval", 4)
        require_count("no_rope_layer_interval", interval)
        flags = [(layer + 1) % interval != 0 for layer in range(num_layers)]
    return tuple(bool(flag) for flag in flags[:num_layers])
