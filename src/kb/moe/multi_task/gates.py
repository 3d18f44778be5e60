"""Several gates over one bank of experts: every expert that any gate wants is run once, and weighed once per gate.

The bank and the routings are those of language models' layers. What a recommender adds is that one row has several
tasks, each with its gate. Unusual: an expert has its own input, as the layers of PLE want it; in MMoE all are the same
tensor. Dense gates (K = E) run every expert on every row; sparse ones leave out the rows that no gate sends there.

Source: Ma et al. 2018, Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts,
equations 6 and 7.
Shapes: T rows, S gates, E experts, K experts of a row, M experts that a gate sees, D width, O outputs.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kb.moe.banks import ExpertBank
from kb.moe.routing import Routing

WAYS = ("shared", "loop")


def run_gates(
    inputs: Sequence[Tensor], bank: ExpertBank, routings: Sequence[Routing], *, implementation: str = "shared"
) -> tuple[Tensor, ...]:
    """For each gate, the weighted sum of the experts' outputs.

    Args:
        inputs: What each expert reads, E tensors [T, D]; in MMoE the same one.
        bank: E experts.
        routings: Of the same T rows, one a gate.
        implementation: "shared": each expert once, for all gates. "loop": gate by gate, row by row, expert by expert,
            as the equations read: the oracle.

    Returns:
        S tensors [T, O].

    Raises:
        ValueError: the implementation is not known, there is no gate, or inputs, experts and routings do not fit.
    """
    if implementation not in WAYS:
        raise ValueError(f"implementation {implementation!r} is not known; wanted one of {', '.join(WAYS)}")
    if not routings:
        raise ValueError("routings must hold at least one, got none")
    if len(inputs) != len(bank):
        raise ValueError(f"inputs must be one for each of the {len(bank)} experts, got {len(inputs)}")
    rows = len(routings[0].experts_TK)
    for x_TD in inputs:
        if x_TD.ndim != 2 or len(x_TD) != rows:
            raise ValueError(f"inputs must be [{rows}, D] as the routings have it, got {tuple(x_TD.shape)}")
    for routing in routings:
        if routing.num_experts != len(bank) or len(routing.experts_TK) != rows:
            wanted, got = (rows, len(bank)), (len(routing.experts_TK), routing.num_experts)
            raise ValueError(f"routings must be of {wanted[0]} rows to {wanted[1]} experts, got {got[0]} to {got[1]}")
    return _run_loop(inputs, bank, routings) if implementation == "loop" else _run_shared(inputs, bank, routings)


def expert_weights(routing: Routing) -> Tensor:
    """[T, E]: the weight of every expert for every row, 0 for those that the row does not use."""
    return torch.zeros_like(routing.scores_TE).scatter_add(1, routing.experts_TK, routing.weights_TK)


def widened(routing: Routing, members_M: Tensor, num_experts: int) -> Routing:
    """The routing of a gate that sees only some experts of a bank, as a routing to the whole bank.

    Args:
        routing: To M experts.
        members_M: int64, which of the bank's experts these are, each at most once.
        num_experts: E of the bank.

    Returns:
        A routing whose scores are 0, and whose logits are minus infinity, at the experts that the gate does not see.

    Raises:
        ValueError: the members are not as many different experts of the bank as the routing has.
    """
    seen = members_M.tolist()
    if len(seen) != routing.num_experts or len(set(seen)) != len(seen) or not set(seen) <= set(range(num_experts)):
        raise ValueError(f"members must be {routing.num_experts} different experts of {num_experts}, got {seen}")
    rows = len(routing.scores_TE)
    scores_TE = routing.scores_TE.new_zeros(rows, num_experts).index_copy(1, members_M, routing.scores_TE)
    logits_TE = routing.logits_TE.new_full((rows, num_experts), -torch.inf)
    logits_TE = logits_TE.index_copy(1, members_M, routing.logits_TE)
    return replace(routing, experts_TK=members_M[routing.experts_TK], scores_TE=scores_TE, logits_TE=logits_TE)


def _run_shared(inputs: Sequence[Tensor], bank: ExpertBank, routings: Sequence[Routing]) -> tuple[Tensor, ...]:
    weights = [expert_weights(routing) for routing in routings]
    served = [_served(routing) for routing in routings]
    wanted_TE = torch.stack(served).any(0)
    # One answer for all experts, so that dense gates, the recommender's case, ask the device once.
    everything = bool(wanted_TE.all())
    outs: list[Tensor | None] = [None] * len(routings)
    for e, (expert, x_TD) in enumerate(zip(bank.functions(), inputs, strict=True)):
        rows_R = None if everything else wanted_TE[:, e].nonzero()[:, 0]
        y_RO = expert(x_TD if rows_R is None else x_TD[rows_R])
        for s, (weights_TE, served_TE) in enumerate(zip(weights, served, strict=True)):
            weight_R1, served_R1 = weights_TE[:, e : e + 1].to(y_RO.dtype), served_TE[:, e : e + 1]
            if rows_R is not None:
                weight_R1, served_R1 = weight_R1[rows_R], served_R1[rows_R]
            # Chosen, not multiplied: what an expert gives a row of another gate may be infinite, and 0 times that NaN.
            part_RO = weight_R1 * torch.where(served_R1, y_RO, 0)
            if rows_R is None:
                part_TO = part_RO
            else:
                part_TO = part_RO.new_zeros(len(x_TD), part_RO.shape[1]).index_add(0, rows_R, part_RO)
            before = outs[s]
            outs[s] = part_TO if before is None else before + part_TO
    return tuple(out for out in outs if out is not None)


def _served(routing: Routing) -> Tensor:
    """[T, E], whether a row is served by an expert."""
    kept_TK = torch.ones_like(routing.experts_TK) if routing.kept_TK is None else routing.kept_TK.to(torch.int64)
    counts_TE = torch.zeros_like(routing.scores_TE, dtype=torch.int64)
    return counts_TE.scatter_add(1, routing.experts_TK, kept_TK) > 0


def _run_loop(inputs: Sequence[Tensor], bank: ExpertBank, routings: Sequence[Routing]) -> tuple[Tensor, ...]:
    functions = bank.functions()
    outs = []
    for routing in routings:
        out_TO = []
        for t, experts_K in enumerate(routing.experts_TK.tolist()):
            out_1O = 0 * functions[0](inputs[0][t : t + 1])
            for k, e in enumerate(experts_K):
                if routing.kept_TK is None or routing.kept_TK[t, k]:
                    y_1O = functions[e](inputs[e][t : t + 1])
                    out_1O = out_1O + routing.weights_TK[t, k].to(y_1O.dtype) * y_1O
            out_TO.append(out_1O)
        outs.append(torch.cat(out_TO) if out_TO else functions[0](inputs[0]))
    return tuple(outs)
