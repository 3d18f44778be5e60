"""What attention moves between a large slow memory and a small fast one: by formula, and by running it and counting.

On a GPU the slow memory is HBM and the fast one the SRAM of the chip. Standard attention writes all N × N scores to the
slow one and reads them again; tiled attention keeps a tile of them in the fast one and reads keys and values more than
once instead. Unusual: the simulation computes real attention through a memory that counts what passes and refuses what
does not fit, so that the formula is held against a run whose result is checked.

Source: Dao et al. 2022, FlashAttention, algorithms 0 and 1, theorem 2: Θ(N d + N²) against Θ(N² d² / M). Queries
outside is the order of Dao 2023, FlashAttention-2, algorithm 1. One head, no mask; counts are numbers, not bytes.
Shapes: N queries and keys, d head width, M numbers of fast memory, I and J the queries and keys of a tile.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from kb.arguments import require_count

Outer = Literal["queries", "keys"]


@dataclass(frozen=True)
class AttentionTraffic:
    """Numbers read from and written to the slow memory, and the most that the fast one held."""

    read: int
    written: int
    peak: int

    @property
    def total(self) -> int:
        """Both directions."""
        return self.read + self.written


class FastMemory:
    """Counts what is moved, and holds no more than its capacity of numbers.

    Raises:
        ValueError: the capacity is no positive integer.
    """

    def __init__(self, capacity: int) -> None:
        require_count("capacity", capacity)
        self.capacity, self.read, self.written, self.held, self.peak = capacity, 0, 0, 0, 0

    def load(self, tensor: Tensor) -> Tensor:
        """A copy on the chip."""
        self.read += tensor.numel()
        return self.keep(tensor.clone())

    def keep(self, tensor: Tensor) -> Tensor:
        """Room for what was computed on the chip.

        Raises:
            MemoryError: it does not fit.
        """
        self.held += tensor.numel()
        if self.held > self.capacity:
            raise MemoryError(f"{self.held} numbers in a fast memory of {self.capacity}")
        self.peak = max(self.peak, self.held)
        return tensor

    def store(self, tensor: Tensor, destination: Tensor) -> None:
        """Write to the slow memory; what is on the chip stays."""
        self.written += tensor.numel()
        destination.copy_(tensor)

    def drop(self, *tensors: Tensor) -> None:
        """Make room."""
        self.held -= sum(tensor.numel() for tensor in tensors)

    @property
    def traffic(self) -> AttentionTraffic:
        """What was counted."""
        return AttentionTraffic(self.read, self.written, self.peak)


def largest_tile(memory: int, width: int) -> int:
    """The largest b for which b queries, their output, b keys and values, b² scores and 2 b statistics fit.

    4 b d + b² + 2 b ≤ M, so that b is close to M / 4 d where d² is far above M, and to the root of M far below.

    Raises:
        ValueError: a count is no positive integer, or not even tiles of one row fit.
    """
    require_count("memory", memory)
    require_count("width", width)
    half = 2 * width + 1
    tile = math.isqrt(half * half + memory) - half
    if tile < 1:
        raise ValueError(f"memory must hold at least {4 * width + 3} numbers for width {width}, got {memory}")
    return tile


def standard_traffic(length: int, width: int) -> int:
    """4 N d + 4 N²: scores written, read by the softmax, written as weights, read by the product with the values.

    Raises:
        ValueError: a count is no positive integer.
    """
    require_count("length", length)
    require_count("width", width)
    return 4 * length * width + 4 * length * length


def tiled_traffic(length: int, width: int, tile: int, *, outer: Outer = "queries") -> int:
    """Numbers moved with square tiles.

    Queries outside: queries and output once and one statistic of each row, all keys and values for each of the N / b
    tiles of queries. Keys outside, as in the first paper: keys and values once; for each tile of keys, all queries,
    the unfinished output in both directions, and two statistics of each row in both directions.

    Raises:
        ValueError: a count is no positive integer, or there is no such order.
    """
    for name, value in (("length", length), ("width", width), ("tile", tile)):
        require_count(name, value)
    N, d, passes = length, width, -(-length // tile)
    if outer == "queries":
        return 2 * N * d + N + passes * 2 * N * d
    if outer == "keys":
        return 2 * N * d + passes * (3 * N * d + 4 * N)
    raise ValueError(f"outer must be 'queries' or 'keys', got {outer!r}")


def simulate_tiled(
    q_Nd: Tensor, k_Nd: Tensor, v_Nd: Tensor, memory: int, *, outer: Outer = "queries"
) -> tuple[Tensor, AttentionTraffic]:
    """Attention of one head through a fast memory of so many numbers: output [N, d], and what was moved.

    Raises:
        TypeError: not of a floating dtype.
        ValueError: not three [N, d] alike, tiles of one row do not fit, or there is no such order.
    """
    if not all(x.is_floating_point() for x in (q_Nd, k_Nd, v_Nd)):
        raise TypeError(f"wanted floating numbers, got {[x.dtype for x in (q_Nd, k_Nd, v_Nd)]}")
    if q_Nd.dim() != 2 or not q_Nd.shape == k_Nd.shape == v_Nd.shape:
        raise ValueError(f"wanted three [N, d], got {[tuple(x.shape) for x in (q_Nd, k_Nd, v_Nd)]}")
    tile, chip = largest_tile(memory, q_Nd.shape[1]), FastMemory(memory)
    if outer == "queries":
        return _queries_outside(q_Nd, k_Nd, v_Nd, tile, chip), chip.traffic
    if outer == "keys":
        return _keys_outside(q_Nd, k_Nd, v_Nd, tile, chip), chip.traffic
    raise ValueError(f"outer must be 'queries' or 'keys', got {outer!r}")


def _update(
    q_Id: Tensor, k_Jd: Tensor, v_Jd: Tensor, sum_Id: Tensor, largest_I: Tensor, total_I: Tensor, chip: FastMemory
) -> None:
    """One tile of keys joins what was summed so far, in place."""
    scores_IJ = chip.keep(q_Id @ k_Jd.T / math.sqrt(q_Id.shape[1]))
    new_I = torch.maximum(largest_I, scores_IJ.amax(1))
    shrink_I = (largest_I - new_I).exp()
    scores_IJ.sub_(new_I[:, None]).exp_()
    total_I.mul_(shrink_I).add_(scores_IJ.sum(1))
    sum_Id.mul_(shrink_I[:, None]).add_(scores_IJ @ v_Jd)
    largest_I.copy_(new_I)
    chip.drop(scores_IJ)


def _queries_outside(q_Nd: Tensor, k_Nd: Tensor, v_Nd: Tensor, tile: int, chip: FastMemory) -> Tensor:
    out_Nd, lse_N = torch.empty_like(q_Nd), q_Nd.new_empty(len(q_Nd))
    for first in range(0, len(q_Nd), tile):
        q_Id = chip.load(q_Nd[first : first + tile])
        sum_Id = chip.keep(torch.zeros_like(q_Id))
        total_I = chip.keep(q_Id.new_zeros(len(q_Id)))
        largest_I = chip.keep(q_Id.new_full((len(q_Id),), -math.inf))
        for start in range(0, len(k_Nd), tile):
            k_Jd, v_Jd = chip.load(k_Nd[start : start + tile]), chip.load(v_Nd[start : start + tile])
            _update(q_Id, k_Jd, v_Jd, sum_Id, largest_I, total_I, chip)
            chip.drop(k_Jd, v_Jd)
        chip.store(sum_Id / total_I[:, None], out_Nd[first : first + tile])
        chip.store(largest_I + total_I.log(), lse_N[first : first + tile])
        chip.drop(q_Id, sum_Id, total_I, largest_I)
    return out_Nd


def _keys_outside(q_Nd: Tensor, k_Nd: Tensor, v_Nd: Tensor, tile: int, chip: FastMemory) -> Tensor:
    sum_Nd, total_N = torch.zeros_like(q_Nd), q_Nd.new_zeros(len(q_Nd))
    largest_N = q_Nd.new_full((len(q_Nd),), -math.inf)
    for start in range(0, len(k_Nd), tile):
        k_Jd, v_Jd = chip.load(k_Nd[start : start + tile]), chip.load(v_Nd[start : start + tile])
        last = start + tile >= len(k_Nd)
        for first in range(0, len(q_Nd), tile):
            rows = slice(first, first + tile)
            loaded = [chip.load(x[rows]) for x in (q_Nd, sum_Nd, largest_N, total_N)]
            q_Id, sum_Id, largest_I, total_I = loaded
            _update(q_Id, k_Jd, v_Jd, sum_Id, largest_I, total_I, chip)
            # The paper's algorithm 1 divides at every step and undoes it at the next; once at the end is the same.
            chip.store(sum_Id / total_I[:, None] if last else sum_Id, sum_Nd[rows])
            chip.store(largest_I, largest_N[rows])
            chip.store(total_I, total_N[rows])
            chip.drop(*loaded)
        chip.drop(k_Jd, v_Jd)
    return sum_Nd
