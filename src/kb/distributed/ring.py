"""All-reduce by hand: 2 (R - 1) steps round a ring, in each of which every rank sends one part to the next rank.

The vector is cut into R parts. In the first R - 1 steps a part travels round and every rank adds its own: after them
rank r holds the whole sum of part (r + 1) mod R. In the second R - 1 steps the sums travel round, and every rank
copies. The first half is a reduce-scatter, the second an all-gather. Each rank sends 2 (R - 1) / R of the vector,
however many ranks there are: the time is bound by bandwidth, and the latency grows with R.

Source: Patarasuk and Yuan 2009, Bandwidth Optimal All-reduce Algorithms for Clusters of Workstations.
Letters: R ranks, N numbers.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from kb.arguments import require_count
from kb.distributed.collectives import Collectives, wait


@dataclass(frozen=True)
class RingStep:
    """What one rank does in one step.

    Args:
        send: Number of the part that goes to the next rank.
        receive: Number of the part that comes from the rank before.
        adds: Whether what comes is added; else it replaces.
    """

    send: int
    receive: int
    adds: bool


def ring_steps(rank: int, ranks: int) -> list[RingStep]:
    """The 2 (R - 1) steps of one rank.

    Raises:
        ValueError: ``ranks`` is not a positive integer, or ``rank`` not one of 0 to R - 1.
    """
    require_count("ranks", ranks)
    require_count("rank", rank, least=0)
    if rank >= ranks:
        raise ValueError(f"rank must be one of 0 to {ranks - 1}, got {rank}")
    reduce = [RingStep((rank - s) % ranks, (rank - s - 1) % ranks, True) for s in range(ranks - 1)]
    gather = [RingStep((rank + 1 - s) % ranks, (rank - s) % ranks, False) for s in range(ranks - 1)]
    return reduce + gather


def ring_on_paper(vectors_RN: list[list[float]]) -> list[list[list[float]]]:
    """Reference without processes: what every rank holds at the start and after each step.

    Args:
        vectors_RN: Of each rank; one part of a vector is one number, so that N = R.

    Returns:
        [1 + 2 (R - 1), R, R]: after which step, on which rank, which number.

    Raises:
        ValueError: there is no rank, or there are not as many numbers in each vector as there are ranks.
    """
    R = len(vectors_RN)
    if not R:
        raise ValueError("vectors must be of one rank at least, got none")
    if any(len(vector) != R for vector in vectors_RN):
        raise ValueError(f"each of {R} ranks must have {R} numbers, got {[len(vector) for vector in vectors_RN]}")
    held = [list(vector) for vector in vectors_RN]
    history = [[list(vector) for vector in held]]
    plans = [ring_steps(rank, R) for rank in range(R)]
    for step in range(2 * (R - 1)):
        sent = [held[rank][plans[rank][step].send] for rank in range(R)]
        for rank in range(R):
            plan = plans[rank][step]
            mine = held[rank][plan.receive] if plan.adds else 0.0
            held[rank][plan.receive] = mine + sent[rank - 1]
        history.append([list(vector) for vector in held])
    return history


@torch.no_grad()
def ring_all_reduce(x: Tensor, group: dist.ProcessGroup | None = None, *, comm: Collectives | None = None) -> Tensor:
    """The sum of x over all ranks, with nothing but messages to the next rank.

    All ranks get the same bits: each sum is added up once, on one rank, and copied.

    Args:
        x: Of one shape and dtype on all ranks, any N; it is left as it is.
        group: The ranks; None for every process there is.
        comm: Counts the bytes that are sent; it must be of this group.

    Returns:
        A new tensor of the shape of x, which autograd knows nothing of.

    Raises:
        LostRankError: a rank died, or did not answer within the timeout of its group.
        RuntimeError: torch.distributed is not initialised.
    """
    comm = Collectives(group) if comm is None else comm
    R, N = comm.ranks, x.numel()
    part_size = -(-N // R)  # rounded up: the last parts are padded with zeros
    padded = x.new_zeros(R * part_size)
    padded[:N] = x.reshape(-1)
    parts_RP = padded.view(R, part_size)
    incoming_P = torch.empty_like(parts_RP[0])
    for number, step in enumerate(ring_steps(comm.rank, R)):
        sending = comm.send(parts_RP[step.send].clone(), (comm.rank + 1) % R, number)
        comm.receive(incoming_P, (comm.rank - 1) % R, number)
        if step.adds:
            parts_RP[step.receive] += incoming_P
        else:
            parts_RP[step.receive] = incoming_P
        wait(sending)
    return padded[:N].view_as(x)
