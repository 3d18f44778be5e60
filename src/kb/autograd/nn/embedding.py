"""The layer of a table of rows."""

from typing import Any

from kb.arguments import is_integer, require_count
from kb.autograd import functional as F
from kb.autograd.nn import init
from kb.autograd.nn.module import Module
from kb.autograd.nn.new import new_parameter


class Embedding(Module):
    """A row for each number, [...] to [..., embedding_dim].

    Args:
        num_embeddings: Rows.
        embedding_dim: Width of a row.
        padding_idx: A row that is zeros at first and is not learned; counted from the end where negative.
        dtype: Floating, of NumPy; float32 if not given.
        generator: Where the initial values come from: normal, mean 0, variance 1.

    Attributes:
        weight: [num_embeddings, embedding_dim].

    Raises:
        TypeError: the dtype is not floating, or the generator none of NumPy.
        ValueError: a size is not a positive integer, or ``padding_idx`` no row.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        dtype: Any = None,
        generator: init.Generator = None,
    ) -> None:
        super().__init__()
        require_count("num_embeddings", num_embeddings)
        require_count("embedding_dim", embedding_dim)
        if padding_idx is not None and not (
            is_integer(padding_idx) and -num_embeddings <= padding_idx < num_embeddings
        ):
            raise ValueError(f"padding_idx must be one of {num_embeddings} rows, got {padding_idx!r}")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.weight = new_parameter((num_embeddings, embedding_dim), dtype)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: init.Generator = None) -> None:
        """Draw the initial values anew."""
        init.normal_(self.weight, generator=generator)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0.0
            self.weight.bump()

    def forward(self, input: Any) -> Any:  # noqa: A002 - torch's name
        """Integers [...] to [..., embedding_dim]."""
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """Sizes, and the row of the padding."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
