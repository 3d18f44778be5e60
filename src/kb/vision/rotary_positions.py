"""Positions of text and images in one sequence, as Qwen2-VL's M-RoPE has them: time, row and column.

Text has the same number three times; an image starts where the text before it ended, and the text behind it goes on
after the largest number that the image used.

Source: Wang et al. 2024, Qwen2-VL, section 2.1 and figure 3.
Shapes: T tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kb.arguments import require_count


def mrope_positions(parts: Sequence[int | tuple[int, int]]) -> Tensor:
    """Time, row and column of every token, [3, T].

    Args:
        parts: In order: an integer for so many text tokens, (rows, columns) for an image's grid of merged tokens.

    Raises:
        ValueError: there are no parts, or a size is not a positive integer.
    """
    if not parts:
        raise ValueError("parts must hold at least one part, got none")
    start, found = 0, []
    for part in parts:
        if isinstance(part, tuple):
            rows, columns = part
            require_count("rows", rows)
            require_count("columns", columns)
            row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            found.append(torch.stack((torch.zeros_like(row), row, column)).flatten(1) + start)
            start += max(rows, columns)
        else:
            require_count("parts", part)
            found.append((torch.arange(part) + start).expand(3, -1))
            start += part
    return torch.cat(found, dim=1)
