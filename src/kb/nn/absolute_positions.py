"""Positions that are added to the embeddings: the sines of the first Transformer, and a learned table.

Feature 2i of position p is sin(p / base^(2i/D)) and feature 2i + 1 its cosine. Unusual: the row of position p + k is
the row of p with each (sine, cosine) pair turned by the angle k / base^(2i/D), whatever p is; :func:`shift_matrix` is
that map. The rotary embedding (``kb.nn.positions``) turns queries and keys by the same angles instead of adding them.

Source: Vaswani et al. 2017, Attention Is All You Need, section 3.5; its base is 10,000.
Shapes: B sequences, T tokens, D model width.
"""

import math

import torch
from torch import Tensor, nn

from kb.arguments import is_number, require_count


def sinusoidal_positions_loop(length: int, width: int, *, base: float = 10_000.0) -> Tensor:
    """Reference: one number at a time, [T, D] float64; errors as of :func:`sinusoidal_positions`."""
    _check(length, width, base)
    table = torch.zeros(length, width, dtype=torch.float64)
    for position in range(length):
        for i in range(width // 2):
            angle = position / base ** (2 * i / width)
            table[position, 2 * i] = math.sin(angle)
            table[position, 2 * i + 1] = math.cos(angle)
    return table


def sinusoidal_positions(
    length: int,
    width: int,
    *,
    base: float = 10_000.0,
    start: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """The rows of positions ``start`` to ``start + length - 1``, [T, D].

    Args:
        length: T.
        width: D, even.
        base: The longest wavelength is nearly 2π times this, in positions; the shortest is 2π.
        start: The first position.
        dtype: Of the result. Angles are float64 always: a float32 angle of 100,000 radians is off by 0.004.
        device: Where the table is made.

    Raises:
        TypeError: ``dtype`` is not a floating one.
        ValueError: a size is not a positive integer, ``width`` is odd, ``base`` is not a number of at least 1, or
            ``start`` is not an integer of at least 0.
    """
    _check(length, width, base)
    require_count("start", start, least=0)
    if not dtype.is_floating_point:
        raise TypeError(f"dtype must be a floating one, got {dtype}")
    positions_T = torch.arange(start, start + length, dtype=torch.float64, device=device)
    angles_TP = positions_T[:, None] * _frequencies(width, base).to(positions_T.device)
    return torch.stack((angles_TP.sin(), angles_TP.cos()), dim=-1).flatten(-2).to(dtype)


def shift_matrix(offset: int, width: int, *, base: float = 10_000.0) -> Tensor:
    """The matrix [D, D] float64 that makes the row of position p + ``offset`` of the row of p, for every p at once.

    ``table[p + offset] = shift_matrix(offset, width) @ table[p]``. It is orthogonal: 2-D rotations on the diagonal.

    Raises:
        TypeError: ``offset`` is not an integer.
        ValueError: as of :func:`sinusoidal_positions`.
    """
    if not isinstance(offset, int) or isinstance(offset, bool):
        raise TypeError(f"offset must be an integer, got {offset!r}")
    _check(1, width, base)
    blocks = [
        torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]], dtype=torch.float64)
        for angle in (offset * _frequencies(width, base)).tolist()
    ]
    return torch.block_diag(*blocks)


class LearnedPositions(nn.Module):
    """One learned vector for each position, as in GPT-2 and BERT: past the last one there is nothing to add.

    Args:
        max_positions: How many positions there are.
        width: D.
        std: Of the normal initial values; 0.02 in GPT-2 and BERT.
        generator: Draws them; torch's own if not given.

    Attributes:
        weight: [max_positions, D], the name of ``torch.nn.Embedding``.

    Raises:
        ValueError: a size is not a positive integer, or ``std`` not a number of at least 0.
    """

    def __init__(
        self, max_positions: int, width: int, *, std: float = 0.02, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        require_count("max_positions", max_positions)
        require_count("width", width)
        if not is_number(std) or std < 0:
            raise ValueError(f"std must be a number of at least 0, got {std!r}")
        self.weight = nn.Parameter(std * torch.randn(max_positions, width, generator=generator))

    def forward(self, x_BTD: Tensor, *, start: int = 0) -> Tensor:
        """Add the vectors of positions ``start`` to ``start + T - 1`` to embeddings [..., T, D].

        Raises:
            ValueError: ``x`` has another width, or its last position is not in the table.
        """
        require_count("start", start, least=0)
        positions, width = self.weight.shape
        if x_BTD.dim() < 2 or x_BTD.shape[-1] != width:
            raise ValueError(f"x {tuple(x_BTD.shape)}: wanted [..., T, {width}]")
        end = start + x_BTD.shape[-2]
        if end > positions:
            raise ValueError(f"x reaches position {end - 1}, but the last learned one is {positions - 1}")
        return x_BTD + self.weight[start:end]


def _frequencies(width: int, base: float) -> Tensor:
    return base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)


def _check(length: int, width: int, base: float) -> None:
    require_count("length", length)
    require_count("width", width)
    if width % 2:
        raise ValueError(f"width must be even: features are pairs of a sine and a cosine, got {width}")
    if not is_number(base) or base < 1:
        raise ValueError(f"base must be a number of at least 1, got {base!r}")
