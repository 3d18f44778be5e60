"""Layers of affine maps, and those that only pass on: linear, identity, flatten.

Source: torch's documentation of ``torch.nn``, for names, shapes and initial values.
"""

import math
from typing import Any

from kb.arguments import is_integer, require_count
from kb.autograd import functional as F
from kb.autograd import ops
from kb.autograd.nn import init
from kb.autograd.nn.module import Module
from kb.autograd.nn.new import new_parameter
from kb.autograd.ops.shaping import one_axis


class Linear(Module):
    """x W^T + b, [..., in_features] to [..., out_features].

    Args:
        in_features: Size of the last axis of the input.
        out_features: Size of the last axis of the output.
        bias: Whether there is a b.
        dtype: Floating, of NumPy; float32 if not given.
        generator: Where the initial values come from: uniform, up to 1 / sqrt(in_features) in size.

    Attributes:
        weight: W, [out_features, in_features].
        bias: b, [out_features], or None.

    Raises:
        TypeError: the dtype is not floating, or the generator none of NumPy.
        ValueError: a size is not a positive integer.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: Any = None,
        generator: init.Generator = None,
    ) -> None:
        super().__init__()
        require_count("in_features", in_features)
        require_count("out_features", out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = new_parameter((out_features, in_features), dtype)
        self.bias = new_parameter((out_features,), dtype) if bias else None
        self.reset_parameters(generator)

    def reset_parameters(self, generator: init.Generator = None) -> None:
        """Draw the initial values anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5), generator=generator)
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            init.uniform_(self.bias, -bound, bound, generator)

    def forward(self, input: Any) -> Any:  # noqa: A002 - torch's name
        """[..., in_features] to [..., out_features]."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Sizes, and whether there is a bias."""
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}"


class Identity(Module):
    """The input; it takes any arguments and ignores them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:  # noqa: A002
        """The input itself."""
        return input


class Flatten(Module):
    """The axes from one to another made one.

    Args:
        start_dim: The first of them.
        end_dim: The last of them.

    Raises:
        ValueError: one is no integer.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        for name, value in (("start_dim", start_dim), ("end_dim", end_dim)):
            if not is_integer(value):
                raise ValueError(f"{name} must be an integer, got {value!r}")
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Any) -> Any:  # noqa: A002
        """Any shape with these axes."""
        shape = tuple(input.shape)
        start, end = one_axis(self.start_dim, len(shape)), one_axis(self.end_dim, len(shape))
        if start > end:
            raise ValueError(f"start_dim {self.start_dim} comes after end_dim {self.end_dim} in shape {shape}")
        return ops.reshape(input, to=(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))

    def extra_repr(self) -> str:
        """The axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
