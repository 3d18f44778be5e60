"""What a LoRA is: its rank, its scale, where it sits; and the names of the linear layers of Llama's blocks.

Sources: Hu et al. 2021, LoRA, section 4.1 (alpha / r); Kalajdzievski 2023, rsLoRA (alpha / sqrt r); Liu et al. 2024,
DoRA, section 4.
"""

import math
from dataclasses import dataclass

from kb.arguments import is_number, require_count

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
ALL_LINEAR = (*ATTENTION, *FEED_FORWARD)


@dataclass(frozen=True)
class LoraConfig:
    """One adapter.

    Args:
        rank: r, columns of B and rows of A.
        alpha: The update is ``alpha / rank`` times B A, or ``alpha / sqrt(rank)`` times it.
        targets: Ends of the paths of the linear layers that get one, such as "q_proj" or "mlp.down_proj".
        dropout: Share of the inputs of A that are dropped in training.
        rank_stabilized: Whether the scale is ``alpha / sqrt(rank)``.
        dora: Whether a magnitude for each output is learned beside the direction.

    Raises:
        ValueError: a value is out of its range.
        TypeError: ``targets`` is a string, or holds something else than strings.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ALL_LINEAR
    dropout: float = 0.0
    rank_stabilized: bool = False
    dora: bool = False

    def __post_init__(self) -> None:
        require_count("rank", self.rank)
        if not is_number(self.alpha) or self.alpha <= 0:
            raise ValueError(f"alpha must be a positive number, got {self.alpha!r}")
        if not is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be a share of at least 0 and below 1, got {self.dropout!r}")
        require_targets("targets", self.targets)
        for name in ("rank_stabilized", "dora"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, got {getattr(self, name)!r}")

    @property
    def scaling(self) -> float:
        """What B A is multiplied with."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilized else self.rank)


def require_targets(name: str, targets: object) -> None:
    """Refuse what is no non-empty tuple or list of non-empty strings.

    Raises:
        TypeError: it is a single string, which would be taken for its letters, or holds something else.
        ValueError: there are none.
    """
    if isinstance(targets, str) or not isinstance(targets, tuple | list):
        raise TypeError(f"{name} must be a tuple of names of modules, got {targets!r}")
    if not all(isinstance(target, str) and target for target in targets):
        raise TypeError(f"{name} must hold names of modules, got {targets!r}")
    if not targets:
        raise ValueError(f"{name} must name at least one module, got none")
