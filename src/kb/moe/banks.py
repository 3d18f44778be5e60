"""Banks of experts: sequences of functions from rows [N, D] to rows [N, O], all of one kind.

:class:`SwiGLUExperts` are the feed-forward networks of language models, all weights in two parameters.
:class:`ModuleExperts` are any modules: towers of a recommender, convolutions, whole models.

Unusual: a bank hands out its experts as functions with their weights bound, taken out of the fused parameter by one
``unbind``. Indexing would do forwards, but its backward makes a gradient of the size of all experts for each of them;
that of ``unbind`` makes one.

Shapes: E experts, D width, F inner width, N rows, O outputs.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.arguments import require_count
from kb.nn import ACTIVATIONS

Expert = Callable[[Tensor], Tensor]


class ExpertBank(Protocol):
    """What a layer needs of its experts."""

    def __len__(self) -> int: ...

    def functions(self) -> Sequence[Expert]:
        """Each expert, from rows [N, D] to [N, O]."""


class ModuleExperts(nn.Module):
    """Experts that are modules of any kind, with equal inputs and outputs.

    Args:
        modules: The experts, E of them.

    Raises:
        ValueError: there are none.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        super().__init__()
        self.experts = nn.ModuleList(modules)
        if not len(self.experts):
            raise ValueError("modules must hold at least one expert, got none")

    def __len__(self) -> int:
        return len(self.experts)

    def functions(self) -> Sequence[Expert]:
        """Each expert, from rows [N, D] to [N, O]."""
        return list(self.experts)


class SwiGLUExperts(nn.Module):
    """E gated feed-forward networks without biases, fused as in transformers 5.

    Args:
        num_experts: E.
        width: D.
        inner: F.
        activation: A key of ``kb.nn.ACTIVATIONS``; "silu" is SwiGLU proper.

    Raises:
        ValueError: a size is not a positive integer, or the activation is not known.
    """

    def __init__(self, num_experts: int, width: int, inner: int, *, activation: str = "silu") -> None:
        super().__init__()
        for name, size in (("num_experts", num_experts), ("width", width), ("inner", inner)):
            require_count(name, size)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation {activation!r} is not known; wanted one of {', '.join(ACTIVATIONS)}")
        self.activation = ACTIVATIONS[activation]
        # [E, 2F, D], the gate above the up projection, and [E, D, F]; each expert as nn.Linear would start it.
        self.gate_up_proj = nn.Parameter(torch.empty(num_experts, 2 * inner, width))
        self.down_proj = nn.Parameter(torch.empty(num_experts, width, inner))
        nn.init.uniform_(self.gate_up_proj, -(width**-0.5), width**-0.5)
        nn.init.uniform_(self.down_proj, -(inner**-0.5), inner**-0.5)

    def __len__(self) -> int:
        return len(self.gate_up_proj)

    def functions(self) -> Sequence[Expert]:
        """Each expert, from rows [N, D] to [N, D]."""
        weights = zip(self.gate_up_proj.unbind(), self.down_proj.unbind(), strict=True)
        return [partial(self._expert, gate_up, down) for gate_up, down in weights]

    def _expert(self, gate_up_2FD: Tensor, down_DF: Tensor, x_ND: Tensor) -> Tensor:
        # Two products, as a dense network makes them: one of twice the width would round otherwise.
        gate_FD, up_FD = gate_up_2FD.chunk(2)
        return F.linear(self.activation(F.linear(x_ND, gate_FD)) * F.linear(x_ND, up_FD), down_DF)
