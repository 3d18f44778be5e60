"""How long a pass must take at least: its operations over the machine's speed, its bytes over the memory's.

A pass is bound by the larger of the two times. Weights are read once for all sequences of a batch, the cache once for
each, so that a larger batch makes decoding cheaper per token until one of two things happens: arithmetic becomes the
limit, or the caches outweigh the weights. Unusual: the second often comes first. Past some length the cache of one more
sequence costs more bytes than its arithmetic is worth, and no batch at all makes decoding compute-bound.

Counts are those of ``kb.lm.cost``. Weights, cache and activations may have different widths, as in a quantised model.
These are bounds for ideal kernels: no launches, no waiting for other machines, peak rates throughout.

Sources: Williams et al. 2009 (roofline); Pope et al. 2023, section 2 (costs of inference).
"""

import math
from dataclasses import dataclass

import torch

from kb import timing
from kb.arguments import is_number, require_count
from kb.lm.config import ModelConfig
from kb.lm.cost import forward_flops, forward_traffic, matrix_parameters


@dataclass(frozen=True)
class Machine:
    """What a processor can do at its best.

    Args:
        name: Its name.
        flops_per_second: Of matrix products in the precision that is used.
        bytes_per_second: Of its memory.
        memory_bytes: How much there is; 0 where it does not matter.

    Raises:
        ValueError: a rate is not positive, or the memory negative.
    """

    name: str
    flops_per_second: float
    bytes_per_second: float
    memory_bytes: float = 0

    def __post_init__(self) -> None:
        for field in ("flops_per_second", "bytes_per_second"):
            value = getattr(self, field)
            if not is_number(value) or value <= 0:
                raise ValueError(f"{field} must be a positive number, got {value!r}")
        if not is_number(self.memory_bytes) or self.memory_bytes < 0:
            raise ValueError(f"memory_bytes must be a number of at least 0, got {self.memory_bytes!r}")

    @property
    def ridge(self) -> float:
        """FLOPs per byte at which both limits meet."""
        return self.flops_per_second / self.bytes_per_second


@dataclass(frozen=True)
class Widths:
    """Bytes of one number: of the weights, of the cache, of activations."""

    weights: float = 2
    cache: float = 2
    activations: float = 2

    def __post_init__(self) -> None:
        for field in ("weights", "cache", "activations"):
            value = getattr(self, field)
            if not is_number(value) or value <= 0:
                raise ValueError(f"{field} must be a positive number of bytes, got {value!r}")


BFLOAT16 = Widths()
FLOAT32 = Widths(4, 4, 4)


@dataclass(frozen=True)
class PassTime:
    """Seconds that a pass needs for its arithmetic, and for its bytes."""

    compute: float
    memory: float

    @property
    def seconds(self) -> float:
        """The larger: the other hides behind it at best."""
        return max(self.compute, self.memory)

    @property
    def bound(self) -> str:
        """'compute' or 'memory'."""
        return "compute" if self.compute >= self.memory else "memory"


def pass_time(
    machine: Machine, config: ModelConfig, *, new: int, total: int, batch: int = 1, widths: Widths = BFLOAT16
) -> PassTime:
    """Least time of a pass over ``new`` tokens of a context of ``total``, for ``batch`` sequences.

    Raises:
        TypeError: a count is no integer.
        ValueError: not 1 ≤ new ≤ total, or batch under 1.
    """
    flops = forward_flops(config, new=new, total=total, batch=batch)
    traffic = forward_traffic(config, new=new, total=total, batch=batch)
    moved = traffic.weights * widths.weights + traffic.cache * widths.cache + traffic.activations * widths.activations
    return PassTime(flops / machine.flops_per_second, moved / machine.bytes_per_second)


def decode_rate(
    machine: Machine, config: ModelConfig, *, total: int, batch: int = 1, widths: Widths = BFLOAT16
) -> float:
    """Most tokens per second that all sequences of a batch write together; errors as in :func:`pass_time`."""
    return batch / pass_time(machine, config, new=1, total=total, batch=batch, widths=widths).seconds


def compute_bound_batch(machine: Machine, config: ModelConfig, *, total: int, widths: Widths = BFLOAT16) -> float:
    """The smallest batch whose decoding is bound by arithmetic; infinite where no batch is.

    Both times are straight lines in the batch; bytes start higher, at the weights, and so the lines meet only if
    arithmetic grows faster.
    """
    one = pass_time(machine, config, new=1, total=total, widths=widths)
    two = pass_time(machine, config, new=1, total=total, batch=2, widths=widths)
    grows = (two.compute - one.compute) - (two.memory - one.memory)
    if grows <= 0:
        return math.inf
    return max(1, math.ceil(1 + (one.memory - one.compute) / grows))


def parameters(config: ModelConfig) -> int:
    """Weights that lie in memory: all matrices, the embedding if it is not the head, and the norms (no biases)."""
    embedding = 0 if config.tie_embeddings else config.vocab_size * config.hidden_size
    return matrix_parameters(config) + embedding + (2 * config.num_layers + 1) * config.hidden_size


def largest_batch(
    machine: Machine, config: ModelConfig, *, total: int, widths: Widths = BFLOAT16, share: float = 0.9
) -> int:
    """How many sequences of ``total`` tokens have room beside the weights; 0 where the weights alone do not fit.

    Args:
        machine: Its ``memory_bytes`` count.
        config: The model.
        total: Tokens of each sequence.
        widths: Bytes of a number.
        share: Of the memory that weights and cache may take; the rest is for activations and the system.

    Raises:
        ValueError: ``total`` is no positive integer, or ``share`` is not in (0, 1].
    """
    require_count("total", total)
    if not is_number(share) or not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share!r}")
    room = share * machine.memory_bytes - parameters(config) * widths.weights
    return max(0, math.floor(room / (total * config.kv_elements_per_token * widths.cache)))


def measured_machine(
    *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu", size: int = 2048, repeats: int = 5
) -> Machine:
    """This machine as a product of square matrices and a product of a tall matrix with a vector see it.

    Args:
        dtype: Of the numbers.
        device: Where.
        size: Rows of the square; the tall one has 8 size rows and 2 size columns, which must outgrow all caches.
        repeats: Of which the fastest counts, as other work only ever slows one down.

    Raises:
        ValueError: a count is no positive integer.
    """
    require_count("size", size)
    require_count("repeats", repeats)
    square = torch.ones(size, size, dtype=dtype, device=device)
    tall = torch.ones(8 * size, 2 * size, dtype=dtype, device=device)
    vector = torch.ones(2 * size, dtype=dtype, device=device)
    best = {}
    for name, work in (("product", lambda: square @ square), ("stream", lambda: tall @ vector)):
        work()
        best[name] = min(timing.seconds(work, where=device) for _ in range(repeats))
    flops = 2 * size**3 / best["product"]
    return Machine(f"{torch.device(device).type}, {dtype}".replace("torch.", ""), flops, tall.nbytes / best["stream"])
