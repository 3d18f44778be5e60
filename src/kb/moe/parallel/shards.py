"""Each rank's share: of the experts, of a batch that all ranks hold, of the gradients of what all ranks hold."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kb.distributed.lost import lost_ranks_named
from kb.moe.banks import ModuleExperts, SwiGLUExperts
from kb.moe.parallel.groups import Groups


def shard_experts(
    bank: SwiGLUExperts | ModuleExperts, group: dist.ProcessGroup | None = None
) -> SwiGLUExperts | ModuleExperts:
    """This rank's run of a bank that it holds whole: rank r of R has experts r E / R to (r + 1) E / R.

    Args:
        bank: All E experts. Weights of SwiGLU networks are copied; modules are shared.
        group: The ranks; None for every process there is.

    Raises:
        RuntimeError: torch.distributed is not initialised.
        ValueError: the ranks do not divide the experts.
    """
    groups = Groups.of(group)
    mine = _share("experts", len(bank), groups)
    if isinstance(bank, ModuleExperts):
        return ModuleExperts(list(bank.experts)[mine])
    width, inner = bank.down_proj.shape[1:]
    weight = bank.gate_up_proj
    part = SwiGLUExperts(mine.stop - mine.start, width, inner).to(weight.device, weight.dtype)
    part.activation = bank.activation
    for name, parameter in part.named_parameters():
        whole = bank.get_parameter(name)
        parameter.requires_grad_(whole.requires_grad)
        with torch.no_grad():
            parameter.copy_(whole[mine])
    return part


def rank_slice(x_TD: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """This rank's run of the tokens of a batch that all ranks hold: T / R of them, the first ones on rank 0.

    Args:
        x_TD: Tokens along the first axis, equal on all ranks.
        group: The ranks; None for every process there is.

    Raises:
        RuntimeError: torch.distributed is not initialised.
        ValueError: the ranks do not divide the tokens: pad the batch, or give each rank tokens of its own.
    """
    if not x_TD.ndim:
        raise ValueError("x must have an axis of tokens, got a single number")
    return x_TD[_share("tokens", len(x_TD), Groups.of(group))]


def _share(what: str, number: int, groups: Groups) -> slice:
    size, left_over = divmod(number, groups.ranks)
    if left_over:
        raise ValueError(f"{number} {what} cannot be divided evenly among {groups.ranks} ranks: {left_over} left over")
    return slice(groups.rank * size, (groups.rank + 1) * size)


def sum_replicated_gradients(module: nn.Module, group: dist.ProcessGroup | None = None) -> None:
    """Replace the gradient of every parameter that all ranks hold by the sum over ranks, in one message a dtype.

    Experts are left alone: theirs are the sums already, since the rows of all ranks came to them. Both are gradients
    of the sum of the ranks' losses. For the mean over all tokens, divide each rank's sum of losses by the number of
    tokens of all ranks before going backwards; scaling gradients afterwards would have to scale both kinds.

    Args:
        module: A model, in which layers are :class:`~kb.moe.parallel.ExpertParallel`. A parameter without a gradient
            here and with one elsewhere counts as 0; one without a gradient anywhere stays without.
        group: The ranks; None for every process there is.

    Raises:
        RuntimeError: torch.distributed is not initialised.
        LostRankError: a rank died, or did not answer within the timeout of its group.
    """
    from kb.moe.parallel.layer import ExpertParallel

    whole = Groups.of(group).groups[0]
    own = {id(p) for part in module.modules() if isinstance(part, ExpertParallel) for p in part.experts.parameters()}
    replicated = [p for p in module.parameters() if id(p) not in own and p.requires_grad]
    kinds = dict.fromkeys((p.device, p.dtype) for p in replicated)
    for kind in kinds:
        same = [p for p in replicated if (p.device, p.dtype) == kind]
        present = torch.tensor([float(p.grad is not None) for p in same], device=kind[0], dtype=kind[1])
        parts = [p.new_zeros(p.numel()) if p.grad is None else p.grad.reshape(-1) for p in same]
        total = torch.cat([present, *parts])
        with lost_ranks_named():
            dist.all_reduce(total, group=whole)
        somewhere = total[: len(same)].tolist()
        sums = total[len(same) :].split([p.numel() for p in same])
        for parameter, ranks, gradient in zip(same, somewhere, sums, strict=True):
            if ranks:
                parameter.grad = gradient.view_as(parameter).clone()
