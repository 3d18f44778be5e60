"""The layer that leaves out numbers by chance."""

from typing import Any

import numpy as np

from kb.autograd import functional as F
from kb.autograd.arguments import require_real
from kb.autograd.nn.module import Module


class Dropout(Module):
    """In training, each number left out with probability ``p`` and the others divided by 1 - p.

    Args:
        p: From 0 to 1.
        inplace: Whether to write over the input.
        generator: As of :func:`kb.autograd.functional.dropout`; if not given, one of NumPy that the operating system
            seeds.

    Attributes:
        generator: The one in use; its state belongs into a checkpoint from which training is to go on.

    Raises:
        ValueError: ``p`` is not from 0 to 1.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, *, generator: Any = None) -> None:
        super().__init__()
        require_real("p", p, least=0, most=1)
        self.p, self.inplace = p, inplace
        self.generator = np.random.default_rng() if generator is None else generator

    def forward(self, input: Any) -> Any:  # noqa: A002 - torch's name
        """Any shape."""
        return F.dropout(input, self.p, self.training, self.inplace, generator=self.generator)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"p={self.p}, inplace={self.inplace}"
