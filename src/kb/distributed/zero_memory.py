"""What training holds and sends on each rank, on paper: model states under ZeRO, activations of a Transformer layer.

Mixed precision with Adam holds 16 bytes a parameter: 2 for the weight and 2 for the gradient in 16 bits, and K = 12 for
the optimizer: the weight in float32, momentum and variance.

Sources: Rajbhandari et al. 2020, ZeRO, section 3.1 (16 Ψ bytes), figure 1 (the table for 7.5 billion), section 7
(communication); Korthikanti et al. 2022, Reducing Activation Recomputation in Large Transformer Models, table 2.
Letters: Ψ parameters, R ranks (the paper's N_d), K bytes of the optimizer a parameter; s tokens of a sequence, b
sequences of a micro-batch, h width, a heads, t ranks of tensor parallelism. GB are 10⁹ bytes.
"""

from dataclasses import dataclass

from kb.arguments import is_integer, is_number, require_count

RECOMPUTE = ("none", "selective", "full")


@dataclass(frozen=True)
class StateBytes:
    """Bytes of one rank."""

    parameters: float
    gradients: float
    optimizer: float

    @property
    def total(self) -> float:
        """Of all three."""
        return self.parameters + self.gradients + self.optimizer


def zero_bytes(
    parameters: float, ranks: int, stage: int, *, weight: float = 2, gradient: float = 2, optimizer: float = 12
) -> StateBytes:
    """Model states of one rank.

    Args:
        parameters: Ψ.
        ranks: R.
        stage: 0 to 3.
        weight: Bytes of a parameter in the passes.
        gradient: Of a gradient.
        optimizer: K.

    Raises:
        ValueError: a number is out of its range.
    """
    _check(parameters, ranks, stage)
    for name, size in {"weight": weight, "gradient": gradient, "optimizer": optimizer}.items():
        if not is_number(size) or size < 0:
            raise ValueError(f"{name} must be a number of bytes that is not negative, got {size!r}")
    return StateBytes(
        weight * parameters / (ranks if stage >= 3 else 1),
        gradient * parameters / (ranks if stage >= 2 else 1),
        optimizer * parameters / (ranks if stage >= 1 else 1),
    )


def zero_traffic(parameters: float, ranks: int, stage: int) -> float:
    """Numbers that one rank sends in a step of one micro-batch: 2 Ψ or 3 Ψ, times (R - 1) / R.

    Raises:
        ValueError: a number is out of its range.
    """
    _check(parameters, ranks, stage)
    return (3 if stage == 3 else 2) * parameters * (ranks - 1) / ranks


def activation_bytes(
    sequence: int,
    sequences: int,
    width: int,
    heads: int,
    *,
    tensor_ranks: int = 1,
    sequence_parallel: bool = False,
    recompute: str = "none",
) -> float:
    """Activations that one layer keeps for the backward pass, on one rank, in 16 bits.

    The layer is GPT-3's: 4 h inner units, dropout, attention weights kept. Gated units, grouped queries and fused
    attention change the constants; "selective" recomputes attention's s × s part, as FlashAttention does anyway.

    Args:
        sequence: s.
        sequences: b.
        width: h.
        heads: a.
        tensor_ranks: t.
        sequence_parallel: Whether what tensor parallelism leaves whole is cut by tokens.
        recompute: One of :data:`RECOMPUTE`; "full" keeps the layer's input alone.

    Raises:
        ValueError: a number is not a positive integer, or ``recompute`` not known.
    """
    sizes = {"sequence": sequence, "sequences": sequences, "width": width, "heads": heads, "tensor_ranks": tensor_ranks}
    for name, value in sizes.items():
        require_count(name, value)
    if recompute not in RECOMPUTE:
        raise ValueError(f"recompute must be one of {', '.join(RECOMPUTE)}, got {recompute!r}")
    token_bytes = sequence * sequences * width
    if recompute == "full":
        return 2 * token_bytes
    t = tensor_ranks
    whole = 10 / (t if sequence_parallel else 1)
    scores = 0 if recompute == "selective" else 5 * heads * sequence / width
    return token_bytes * (whole + (24 + scores) / t)


def _check(parameters: float, ranks: int, stage: int) -> None:
    require_count("ranks", ranks)
    if not is_number(parameters) or parameters <= 0:
        raise ValueError(f"parameters must be a positive number, got {parameters!r}")
    if not is_integer(stage) or not 0 <= stage <= 3:
        raise ValueError(f"stage must be 0, 1, 2 or 3, got {stage!r}")
