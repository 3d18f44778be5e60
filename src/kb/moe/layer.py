"""A mixture-of-experts layer: the router, the experts, and those that every token goes through.

It returns the routing beside the output: balance losses are made of it by whoever trains, and nothing is stored here.

Sources: Shazeer et al. 2017, Outrageously Large Neural Networks; DeepSeekMoE, section 3.2 (shared experts); Qwen2-MoE
(their gate).
Shapes: D width, T tokens (all leading axes of an input as one), O outputs (D for SwiGLU).
"""

import math

import torch
from torch import Tensor, nn

from kb.arguments import require_count
from kb.moe.banks import ModuleExperts, SwiGLUExperts
from kb.moe.experts import IMPLEMENTATIONS, run_experts
from kb.moe.router_config import RouterConfig
from kb.moe.routing import Router, Routing
from kb.nn import SwiGLU


class MoELayer(nn.Module):
    """Router and experts, and what every token passes through beside them.

    Args:
        router: To as many experts as there are.
        experts: SwiGLU networks, or modules of any kind.
        shared: A module from [T, D] to [T, O] whose output is added; None for none.
        shared_gate: A layer from D to 1: its sigmoid is what the shared output is multiplied with; None for 1.
        implementation: How the experts are run: one of ``kb.moe.IMPLEMENTATIONS``.

    Raises:
        ValueError: the implementation is not known, there is a gate and nothing to be gated, or the numbers of
            experts differ.
    """

    def __init__(
        self,
        router: Router,
        experts: SwiGLUExperts | ModuleExperts,
        *,
        shared: nn.Module | None = None,
        shared_gate: nn.Linear | None = None,
        implementation: str = "auto",
    ) -> None:
        super().__init__()
        if implementation not in IMPLEMENTATIONS:
            wanted = ", ".join(IMPLEMENTATIONS)
            raise ValueError(f"implementation {implementation!r} is not known; wanted one of {wanted}")
        if len(experts) != router.config.num_experts:
            raise ValueError(f"the router knows {router.config.num_experts} experts, and there are {len(experts)}")
        if shared_gate is not None and shared is None:
            raise ValueError("shared_gate needs a shared module")
        self.router = router
        self.experts = experts
        self.shared = shared
        self.shared_gate = shared_gate
        self.implementation = implementation

    @classmethod
    def swiglu(
        cls,
        width: int,
        inner: int,
        config: RouterConfig,
        *,
        shared_inner: int | None = None,
        gate_shared: bool = False,
        activation: str = "silu",
        implementation: str = "auto",
    ) -> "MoELayer":
        """A layer of SwiGLU networks, as in language models.

        Args:
            width: D.
            inner: F of each expert.
            config: How tokens choose.
            shared_inner: F of the shared network; None for none.
            gate_shared: Whether the shared network has a gate.
            activation: A key of ``kb.nn.ACTIVATIONS``.
            implementation: How the experts are run.

        Raises:
            ValueError: a size is not a positive integer, or a name is not known.
        """
        if shared_inner is not None:
            require_count("shared_inner", shared_inner)
        return cls(
            Router(width, config),
            SwiGLUExperts(config.num_experts, width, inner, activation=activation),
            shared=SwiGLU(width, shared_inner, activation=activation) if shared_inner else None,
            shared_gate=nn.Linear(width, 1, bias=False) if gate_shared else None,
            implementation=implementation,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
        """[..., D] to [..., O], and the routing of the T tokens.

        Raises:
            ValueError: the shape does not fit, or the router's logits are not finite.
        """
        x_TD = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) if x.ndim else x
        routing = self.router(x_TD)
        out_TO = run_experts(x_TD, self.experts, routing, implementation=self.implementation)
        if self.shared is not None:
            shared_TO = self.shared(x_TD)
            if self.shared_gate is not None:
                shared_TO = torch.sigmoid(self.shared_gate(x_TD)) * shared_TO
            out_TO = out_TO + shared_TO
        return out_TO.view(*x.shape[:-1], out_TO.shape[-1]), routing
