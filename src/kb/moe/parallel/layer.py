"""A mixture-of-experts layer whose experts are spread over ranks, each of which has tokens of its own.

It gives what :class:`~kb.moe.MoELayer` gives for the tokens of all ranks together, cut as they were: outputs,
routings, gradients. Routing is each rank's own affair, so capacity, and tokens that experts choose, are counted rank by
rank. Rows travel twice, to the experts and home; what needs no rows (the shared network) and the experts of one chunk
of tokens are computed while rows of another are under way.

Sources: Lepikhin et al. 2020, GShard (experts sharded, tokens by all-to-all); Rajbhandari et al. 2022, DeepSpeed-MoE,
section 5.3 (hierarchical all-to-all); DeepSeek-V3, section 3.2 (communication hidden behind computation).
Shapes: T tokens of this rank, K choices, E experts of which each rank has L, C chunks, R rows, D width, O outputs.
"""

import math
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kb.arguments import is_integer, require_count
from kb.moe.banks import ModuleExperts, SwiGLUExperts
from kb.moe.experts import IMPLEMENTATIONS, run_rows
from kb.moe.layer import MoELayer
from kb.moe.parallel.agreement import DTYPES, Counts, Header, exchange_counts, require_agreement
from kb.moe.parallel.groups import Groups, check_nodes
from kb.moe.parallel.pipeline import Chunk, chunks_of, travel
from kb.moe.parallel.plan import Route, by_node, direct
from kb.moe.parallel.shards import shard_experts
from kb.moe.routing import Router, Routing


class ExpertParallel(nn.Module):
    """Router, shared network, and this rank's run of experts. Every rank makes one, and calls it, together.

    Args:
        router: To all E experts; equal on all ranks.
        experts: L = E / ranks of them: rank r has those from r L on.
        group: The ranks; None for every process there is.
        shared: As in :class:`~kb.moe.MoELayer`; equal on all ranks.
        shared_gate: As there.
        implementation: How experts are run: one of ``kb.moe.IMPLEMENTATIONS`` but "loop".
        overlap: C, chunks of tokens: rows of one travel while the experts work on another.
        node_size: Ranks of a node, for an exchange in two hops; None for one hop.
        timeout: Of the groups that two hops need, which do not inherit that of ``group``; needed with ``node_size``.

    Raises:
        RuntimeError: torch.distributed is not initialised.
        PeerError: another rank could not make its layer.
        ValueError: the sizes do not fit, or the ranks do not agree on them.
    """

    def __init__(
        self,
        router: Router,
        experts: SwiGLUExperts | ModuleExperts,
        group: dist.ProcessGroup | None = None,
        *,
        shared: nn.Module | None = None,
        shared_gate: nn.Linear | None = None,
        implementation: str = "auto",
        overlap: int = 1,
        node_size: int | None = None,
        timeout: timedelta | None = None,
    ) -> None:
        super().__init__()
        whole = Groups.of(group)
        self.router, self.experts, self.shared, self.shared_gate = router, experts, shared, shared_gate
        self.implementation, self.overlap = implementation, overlap
        settings = {
            "num_experts": router.config.num_experts,
            "top_k": router.config.top_k,
            "experts of a rank": len(experts),
            "width": router.weight.shape[1],
            "overlap": int(overlap) if is_integer(overlap) else 0,
            "node_size": int(node_size) if is_integer(node_size) else 0,
        }
        require_agreement(whole, settings, self._problem(whole, node_size, timeout), router.weight.device)
        self.groups = whole if node_size is None else Groups.of(group, node_size, timeout)

    @classmethod
    def shard(
        cls,
        layer: MoELayer,
        group: dist.ProcessGroup | None = None,
        *,
        overlap: int = 1,
        node_size: int | None = None,
        timeout: timedelta | None = None,
    ) -> "ExpertParallel":
        """Of a layer that every rank holds whole: its router and shared network, and a copy of this rank's experts.

        Raises:
            RuntimeError: torch.distributed is not initialised.
            ValueError: the ranks do not divide the experts, or as in the constructor.
        """
        return cls(
            layer.router,
            shard_experts(layer.experts, group),
            group,
            shared=layer.shared,
            shared_gate=layer.shared_gate,
            implementation="experts" if layer.implementation == "loop" else layer.implementation,
            overlap=overlap,
            node_size=node_size,
            timeout=timeout,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Routing]:
        """[..., D] of this rank to [..., O], and the routing of its T tokens.

        Every rank calls this as often as the others, with T of its own, 0 too; and every rank goes backwards, or none.

        Raises:
            TypeError: the tokens are no floating-point numbers of a dtype that is known.
            ValueError: the shape does not fit, the router's logits are not finite, or ranks differ in dtype or in
                whether they record for gradients.
            PeerError: another rank's input was refused.
            LostRankError: a rank died, or did not answer within the timeout of its group.
        """
        problem: Exception | None = None
        chunks: list[Chunk] = []
        header = Header()
        try:
            x_TD = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) if x.ndim else x
            header = self._header(x)
            routing = self.router(x_TD)
            chunks = chunks_of(x_TD, routing, self.overlap)
        except Exception as error:  # whatever it is: the other ranks hear of it, then it is raised
            problem = error
        routes, ends_CL, counts = self._plan(chunks, header, problem)
        if counts.rows:
            for chunk in chunks:
                _must_pass(chunk.rows_PD)

        def experts(rows_QD: Tensor, c: int) -> Tensor:
            out_QO = run_rows(rows_QD, self.experts, ends_CL[c], implementation=self.implementation)
            return _must_pass(out_QO) if counts.experts else out_QO

        out_TO, shared_TO = travel(chunks, routes, self.groups, experts, lambda: self._shared(x_TD))
        if shared_TO is not None:
            out_TO = out_TO + shared_TO
        return out_TO.view(*x.shape[:-1], out_TO.shape[-1]), routing

    def _plan(
        self, chunks: list[Chunk], header: Header, problem: Exception | None
    ) -> tuple[list[Route], Tensor, Counts]:
        """The way of each chunk's rows; [C, L] int32, where the rows of each expert here will end; and the counts."""
        device, groups = self.router.weight.device, self.groups
        sent_CRL = torch.zeros(self.overlap, groups.ranks, len(self.experts), dtype=torch.int64)
        if chunks:
            sent_CRL = torch.stack([chunk.counts_E for chunk in chunks]).view_as(sent_CRL)
        counts = exchange_counts(groups, sent_CRL.to(device), header, problem)
        received_CRL = counts.received_CRL
        if counts.between_CGN is None:
            routes = [direct(*pair, device) for pair in zip(sent_CRL, received_CRL, strict=True)]
        else:
            three = zip(sent_CRL, counts.between_CGN, received_CRL, strict=True)
            routes = [by_node(*each, device) for each in three]
        return routes, received_CRL.sum(1).cumsum(1).to(device, torch.int32), counts

    def _shared(self, x_TD: Tensor) -> Tensor | None:
        if self.shared is None:
            return None
        shared_TO: Tensor = self.shared(x_TD)
        return shared_TO if self.shared_gate is None else torch.sigmoid(self.shared_gate(x_TD)) * shared_TO

    def _header(self, x: Tensor) -> Header:
        if x.dtype not in DTYPES:
            raise TypeError(f"x must be of one of the dtypes {', '.join(map(str, DTYPES))}, got {x.dtype}")
        recording = torch.is_grad_enabled()
        experts = recording and any(parameter.requires_grad for parameter in self.experts.parameters())
        return Header(DTYPES.index(x.dtype), recording, recording and x.requires_grad, experts)

    def _problem(self, groups: Groups, node_size: object, timeout: timedelta | None) -> Exception | None:
        """What is wrong with this rank's arguments, if anything."""
        wanted, left_over = divmod(self.router.config.num_experts, groups.ranks)
        ways = [name for name in IMPLEMENTATIONS if name != "loop"]
        try:
            require_count("overlap", self.overlap)
            if node_size is not None:
                check_nodes(groups.ranks, node_size, timeout)
        except ValueError as error:
            return error
        if left_over or len(self.experts) != wanted:
            return ValueError(
                f"each of {groups.ranks} ranks must have an equal share of the router's "
                f"{self.router.config.num_experts} experts, and this one has {len(self.experts)}"
            )
        if self.implementation not in ways:
            return ValueError(f"implementation {self.implementation!r} is not known; wanted one of {', '.join(ways)}")
        if self.shared_gate is not None and self.shared is None:
            return ValueError("shared_gate needs a shared module")
        return None


def _must_pass(x_PD: Tensor) -> Tensor:
    """Let gradients through that other ranks need, though nothing here does; all ranks go the same way backwards."""
    return x_PD if x_PD.requires_grad else x_PD.requires_grad_()
