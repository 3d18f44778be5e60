"""What experts and towers of recommenders are made of: linear layers with ReLU between them.

Shapes: N rows.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from kb.arguments import require_count


def perceptron(sizes: Sequence[int], *, last_relu: bool) -> nn.Sequential:
    """Linear layers from the first size to the last, ReLU between them.

    Args:
        sizes: At least two widths, input first.
        last_relu: Whether a ReLU follows the last layer too, as in an expert, or not, as in a tower.

    Raises:
        ValueError: there are fewer than two sizes, or one is not a positive integer.
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes must be at least two, got {list(sizes)}")
    for size in sizes:
        require_count("sizes", size)
    layers: list[nn.Module] = []
    for width, out in pairwise(sizes):
        layers += [nn.Linear(width, out), nn.ReLU()]
    return nn.Sequential(*(layers if last_relu else layers[:-1]))
