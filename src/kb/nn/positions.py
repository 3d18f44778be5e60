"""Rotary position embedding: each pair of features of a query or key is turned by an angle that grows with position.

Pair i at position m is turned by m · theta^(-2i/H), so the dot product of a query at m and a key at n depends on m - n
alone. Unusual: the pairs are (i, i + H/2), the half-split layout of Hugging Face checkpoints, not RoFormer's
(2i, 2i + 1); the two differ by a fixed permutation of the rows of the q and k projections. Angles are float32 always,
as the checkpoints were trained: in bfloat16 positions above 256 would collide.

Sources: Su et al. 2021, RoFormer, section 3.2.2 and equation 34. Scaling: linear (Chen et al. 2023), dynamic NTK and
YaRN (Peng et al. 2023, arXiv 2309.00071 as of that year, equations 17 to 22; 10 to 15 at ICLR), LongRoPE (Ding et al.
2024), and llama3 (Llama Team 2024, released code).
Shapes: B sequences, T tokens, N heads, H head width, P = H/2 pairs.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kb.arguments import is_integer, is_number, require_count


@dataclass(frozen=True)
class RopeParameters:
    """How the angles are made. Names and meaning are those of transformers' ``rope_parameters``.

    ``max_positions`` is the length that the model was trained for (``original_max_position_embeddings``).
    """

    theta: float = 10_000.0
    type: str = "default"
    factor: float = 1.0
    max_positions: int = 2048
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    short_factor: tuple[float, ...] = ()
    long_factor: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.type, str) or self.type not in _SCALINGS:
            raise ValueError(f"rope_type {self.type!r} is not known; wanted one of {', '.join(sorted(_SCALINGS))}")
        for name, value in (("rope_theta", self.theta), ("factor of rope scaling", self.factor)):
            if not is_number(value) or value < 1:
                raise ValueError(f"the {name} must be a number of at least 1, got {value!r}")
        for name in ("low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow", "attention_factor"):
            value = getattr(self, name)
            if not (is_number(value) and value > 0) and not (name == "attention_factor" and value is None):
                raise ValueError(f"{name} must be a positive number, got {value!r}")
        for name in ("mscale", "mscale_all_dim"):
            value = getattr(self, name)
            if value is not None and not (is_number(value) and value >= 0):
                raise ValueError(f"{name} must be a number of at least 0 or None, got {value!r}")
        if not isinstance(self.truncate, bool):
            raise ValueError(f"truncate must be True or False, got {self.truncate!r}")
        if self.theta == 1 and self.type == "yarn":
            raise ValueError("yarn needs a rope_theta above 1: with 1 all pairs turn alike")
        least = 2 if self.type == "longrope" else 1
        if not is_integer(self.max_positions) or self.max_positions < least:
            raise ValueError(f"max_positions must be an integer of at least {least}, got {self.max_positions!r}")
        if self.type == "llama3" and not self.high_freq_factor > self.low_freq_factor:
            raise ValueError(
                f"high_freq_factor must be above low_freq_factor, got {self.high_freq_factor}, {self.low_freq_factor}"
            )
        if self.type == "longrope":
            for name in ("short_factor", "long_factor"):
                factors = getattr(self, name)
                if not factors or not all(is_number(one) and one > 0 for one in factors):
                    raise ValueError(f"longrope wants {name}, a positive number for each pair, got {factors!r}")
            if len(self.short_factor) != len(self.long_factor):
                raise ValueError(
                    f"longrope has {len(self.short_factor)} short factors and {len(self.long_factor)} long ones"
                )

    @property
    def varies_with_length(self) -> bool:
        """Whether the angles of a position depend on how long the sequence is.

        Where they do, a key that was cached keeps the angle that it was given, in transformers and here: once a
        sequence outgrows ``max_positions``, decoding with a cache and without one are two different functions.
        """
        return self.type in ("dynamic", "longrope")


def inverse_frequencies(rope: RopeParameters, head_dim: int, *, length: int = 0) -> tuple[Tensor, float]:
    """Radians per position of each pair, [P] float32, and the factor on cos and sin (1 but for YaRN and LongRoPE).

    The operations and their order are transformers', so that the angles are its angles to the last bit.

    Args:
        rope: The scaling and its numbers.
        head_dim: H, even.
        length: Tokens in the sequence; matters to "dynamic" and "longrope" alone, beyond ``rope.max_positions``.

    Raises:
        ValueError: ``head_dim`` is not a positive even integer, ``length`` not one of at least 0, or a LongRoPE factor
            list has not one number per pair.
    """
    require_count("head_dim", head_dim, least=2)
    require_count("length", length, least=0)
    if head_dim % 2:
        raise ValueError(f"head_dim must be even: features are turned in pairs, got {head_dim}")
    if head_dim == 2 and rope.type == "dynamic":
        raise ValueError("dynamic scaling needs a head_dim of at least 4: its exponent divides by head_dim - 2")
    return _SCALINGS[rope.type](rope, head_dim, length)


def _pair_powers(theta: float | Tensor, head_dim: int) -> Tensor:
    return theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)


def _default(rope: RopeParameters, head_dim: int, length: int) -> tuple[Tensor, float]:
    return 1.0 / _pair_powers(rope.theta, head_dim), 1.0


def _linear(rope: RopeParameters, head_dim: int, length: int) -> tuple[Tensor, float]:
    return 1.0 / _pair_powers(rope.theta, head_dim) / rope.factor, 1.0


def _dynamic(rope: RopeParameters, head_dim: int, length: int) -> tuple[Tensor, float]:
    if length <= rope.max_positions:
        return _default(rope, head_dim, length)
    stretch = rope.factor * torch.tensor(length) / rope.max_positions - (rope.factor - 1)
    return 1.0 / _pair_powers(rope.theta * stretch ** (head_dim / (head_dim - 2)), head_dim), 1.0


def _llama3(rope: RopeParameters, head_dim: int, length: int) -> tuple[Tensor, float]:
    plain = 1.0 / _pair_powers(rope.theta, head_dim)
    turns = rope.max_positions / (2 * math.pi / plain)  # full turns within the trained length
    keep = ((turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)).clamp(0, 1)
    return (1 - keep) * plain / rope.factor + keep * plain, 1.0


def _yarn(rope: RopeParameters, head_dim: int, length: int) -> tuple[Tensor, float]:
    def pair_that_turns(times: float) -> float:
        return head_dim * math.log(rope.max_positions / (times * 2 * math.pi)) / (2 * math.log(rope.theta))

    low, high = pair_that_turns(rope.beta_fast), pair_that_turns(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    # Linear in the number of the pair, as in the released code; equation 18 (11 at ICLR) has it linear in the turns.
    width = high - low or 0.001  # a ramp of no width is a step
    keep = 1 - ((torch.arange(head_dim // 2, dtype=torch.float32) - low) / width).clamp(0, 1)
    powers = _pair_powers(rope.theta, head_dim)
    return 1.0 / (rope.factor * powers) * (1 - keep) + 1.0 / powers * keep, _yarn_attention_factor(rope)


def _yarn_attention_factor(rope: RopeParameters) -> float:
    def mscale(weight: float) -> float:
        return 0.1 * weight * math.log(rope.factor) + 1.0

    if rope.attention_factor is not None:
        return rope.attention_factor
    if rope.mscale and rope.mscale_all_dim:
        return mscale(rope.mscale) / mscale(rope.mscale_all_dim)
    return mscale(1.0)


def _longrope(rope: RopeParameters, head_dim: int, length: int) -> tuple[Tensor, float]:
    factors = rope.long_factor if length > rope.max_positions else rope.short_factor
    if len(factors) != head_dim // 2:
        raise ValueError(f"longrope wants {head_dim // 2} factors, one per pair, got {len(factors)}")
    attention_factor = rope.attention_factor
    if attention_factor is None:
        attention_factor = math.sqrt(1 + math.log(rope.factor) / math.log(rope.max_positions))  # 1 for a factor of 1
    per_pair = torch.tensor(factors, dtype=torch.float32)
    return 1.0 / (per_pair * _pair_powers(rope.theta, head_dim)), attention_factor


_SCALINGS = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
}


def rotary_tables(positions_BT: Tensor, inverse_frequencies_P: Tensor, factor: float = 1.0) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every angle, each [B, T, P] float32, times ``factor``."""
    angles_BTP = positions_BT[..., None].float() * inverse_frequencies_P
    return angles_BTP.cos() * factor, angles_BTP.sin() * factor


def require_rotary_fit(x_BTNH: Tensor, cos_BTP: Tensor, sin_BTP: Tensor) -> None:
    """Refuse heads and tables that do not fit each other, as :func:`apply_rotary` says."""
    if not x_BTNH.is_floating_point():
        raise TypeError(f"x must be a floating-point tensor, got {x_BTNH.dtype}")
    fits = x_BTNH.dim() == 4 and cos_BTP.dim() == 3 and cos_BTP.shape == sin_BTP.shape
    if fits:
        (B, T, _, H), (rows, steps, P) = x_BTNH.shape, cos_BTP.shape
        fits = rows in (1, B) and steps == T and 2 * P == H
    if not fits:
        raise ValueError(f"x {tuple(x_BTNH.shape)} and tables {tuple(cos_BTP.shape)}: wanted [B, T, N, 2P], [B, T, P]")


def require_pairs(x_H: Tensor, inverse_frequencies_P: Tensor) -> None:
    """Refuse a head vector whose pairs have not one frequency each."""
    if x_H.dim() != 1 or inverse_frequencies_P.dim() != 1 or len(x_H) != 2 * len(inverse_frequencies_P):
        shapes = f"x {tuple(x_H.shape)} and frequencies {tuple(inverse_frequencies_P.shape)}"
        raise ValueError(f"{shapes}: wanted [2P] and [P]")


def apply_rotary(x_BTNH: Tensor, cos_BTP: Tensor, sin_BTP: Tensor) -> Tensor:
    """Turn every pair (i, i + H/2) of every head by its angle; the result has the dtype of ``x``.

    Raises:
        TypeError: ``x`` is not of a floating dtype.
        ValueError: ``x`` is not [B, T, N, 2P] for tables [B, T, P], or [1, T, P] where positions are those of all rows.
    """
    require_rotary_fit(x_BTNH, cos_BTP, sin_BTP)
    cos, sin = cos_BTP[:, :, None].to(x_BTNH.dtype), sin_BTP[:, :, None].to(x_BTNH.dtype)
    first, second = x_BTNH.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def apply_rotary_loop(x_H: Tensor, position: int, inverse_frequencies_P: Tensor) -> Tensor:
    """Reference: one head vector [H] at one position, each pair turned as one 2-D rotation matrix says.

    The angle is a double here and a float32 in the fast path, so the two drift apart with the position: by about
    2e-8 of it.

    Raises:
        ValueError: there is not one frequency for each pair of the head.
    """
    require_pairs(x_H, inverse_frequencies_P)
    pairs = len(x_H) // 2
    turned = list(x_H)
    for i in range(pairs):
        angle = position * float(inverse_frequencies_P[i])
        a, b = x_H[i], x_H[i + pairs]
        turned[i] = math.cos(angle) * a - math.sin(angle) * b
        turned[i + pairs] = math.sin(angle) * a + math.cos(angle) * b
    return torch.stack(turned)
