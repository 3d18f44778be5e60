"""A start for a language model's weights: small and normal, and smaller where a layer adds to the residual stream.

Unusual: the numbers come from a generator of their own, in the order of the parameters' names, so that neither other
random numbers nor the order in which modules were made changes them.

Source: Radford et al. 2019, GPT-2, section 2.3 (the factor 1 / sqrt(N) of N residual layers; two a block).
"""

import torch
from torch import nn

from kb.arguments import is_integer, is_number

# The last matrix of attention and of a feed-forward network, of one expert or of all.
_INTO_RESIDUAL = ("o_proj.weight", "down_proj.weight", "down_proj")


@torch.no_grad()
def initialize(model: nn.Module, *, seed: int, std: float = 0.02) -> None:
    """Set every matrix to normal numbers, every bias to 0 and every other vector, a norm's scale, to 1.

    The matrix by which a router learns the size of its noise is 0, as in its paper.

    Args:
        model: With names as in ``kb.lm``, and its blocks in ``layers``, if it has any.
        seed: The same seed gives the same numbers.
        std: Standard deviation; those that add to the residual stream have ``std / sqrt(2 layers)``.

    Raises:
        ValueError: the seed is no integer, or ``std`` is not a positive number.
    """
    if not is_integer(seed):
        raise ValueError(f"seed must be an integer, got {seed!r}")
    if not is_number(std) or std <= 0:
        raise ValueError(f"std must be a positive number, got {std!r}")
    blocks = getattr(model, "layers", None)
    residual_std = std / (2 * len(blocks)) ** 0.5 if blocks is not None and len(blocks) else std
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        if name.endswith("noise_weight"):
            parameter.zero_()
        elif parameter.ndim < 2:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
        else:
            size = residual_std if name.endswith(_INTO_RESIDUAL) else std
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * size)
