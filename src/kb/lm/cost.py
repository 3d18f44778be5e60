"""What one forward pass costs: floating-point operations and bytes, by formula.

A matrix of P numbers costs 2P operations per token and P numbers of memory traffic per pass, however many tokens share
the pass; that difference is the whole story of prefill and decode. Attention adds 4·N·H operations per pair of query
and key, and reads every key and value once. The count follows the convention of ``kb.counting``: T × S pairs, causal or
not, and no elementwise work.

Sources: Kaplan et al. 2020, section 2.1 and table 1 (operations per token, with half of this attention term); Pope et
al. 2023, section 2 (memory traffic); Williams et al. 2009 (arithmetic intensity).
Shapes: T new tokens, S tokens with the cached ones, D model width, F inner width, N and G heads, H head width.
"""

from dataclasses import dataclass

from kb.arguments import is_integer, require_count
from kb.counting import Work
from kb.lm.config import ModelConfig


@dataclass(frozen=True)
class Traffic:
    """Numbers (not bytes) that one pass reads and writes."""

    weights: int
    cache: int
    activations: int

    @property
    def total(self) -> int:
        """All three."""
        return self.weights + self.cache + self.activations


def matrices(config: ModelConfig) -> list[tuple[int, int]]:
    """(inputs, outputs) of every matrix of one layer: q, k, v, o, gate, up, down."""
    D, F = config.hidden_size, config.intermediate_size
    NH, GH = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    return [(D, NH), (D, GH), (D, GH), (NH, D), (D, F), (D, F), (F, D)]


def matrix_parameters(config: ModelConfig, *, head: bool = True) -> int:
    """Numbers in all matrices that a token passes through: every layer's, and the output head's D × V.

    The embedding table is not among them, as one row is looked up and nothing is multiplied; a tied head is the same
    table used as a matrix, and counts.
    """
    per_layer = sum(inputs * outputs for inputs, outputs in matrices(config))
    return config.num_layers * per_layer + (config.hidden_size * config.vocab_size if head else 0)


def forward_flops(config: ModelConfig, *, new: int, total: int, batch: int = 1) -> int:
    """Operations of one pass over ``new`` tokens of a context of ``total``, logits of the last token alone.

    Raises:
        TypeError: one of them is not an integer.
        ValueError: not 1 ≤ new ≤ total, or batch under 1.
    """
    _check(new, total, batch)
    layers = 2 * new * matrix_parameters(config, head=False)
    attention = 4 * new * total * config.num_layers * config.num_heads * config.head_dim
    head = 2 * config.hidden_size * config.vocab_size
    return batch * (layers + attention + head)


def forward_traffic(config: ModelConfig, *, new: int, total: int, batch: int = 1) -> Traffic:
    """Numbers moved by the same pass: weights once, the cache once per sequence, activations of each product.

    Raises:
        TypeError: one of them is not an integer.
        ValueError: not 1 ≤ new ≤ total, or batch under 1.
    """
    _check(new, total, batch)
    ends = sum(inputs + outputs for inputs, outputs in matrices(config))  # of each product: its input and its output
    queries_and_results = 2 * config.num_heads * config.head_dim
    activations = config.num_layers * new * (ends + queries_and_results) + config.hidden_size + config.vocab_size
    return Traffic(
        weights=matrix_parameters(config),
        cache=batch * total * config.kv_elements_per_token,
        activations=batch * activations,
    )


def forward_work(config: ModelConfig, *, new: int, total: int, batch: int = 1, itemsize: int = 4) -> Work:
    """Operations and bytes of one pass, every number ``itemsize`` bytes wide.

    Raises:
        TypeError: a count is not an integer.
        ValueError: not 1 ≤ new ≤ total, or batch or itemsize under 1.
    """
    require_count("itemsize", itemsize)
    traffic = forward_traffic(config, new=new, total=total, batch=batch)
    return Work(forward_flops(config, new=new, total=total, batch=batch), itemsize * traffic.total)


def _check(new: int, total: int, batch: int) -> None:
    for name, value in (("new", new), ("total", total), ("batch", batch)):
        if not is_integer(value):
            raise TypeError(f"{name} must be an integer, got {value!r}")
    if not 1 <= new <= total or batch < 1:
        raise ValueError(f"wanted 1 <= new <= total and batch >= 1, got new {new}, total {total}, batch {batch}")
