"""How many tokens an image costs a language model: one square, tiles with a thumbnail, or its own resolution.

Unusual: integers only, no pixel is touched; each rule is held against the processor of transformers.

Sources: Liu et al. 2024, LLaVA-NeXT (AnyRes) and ``LlavaNextProcessor``; Chen et al. 2024, InternVL 1.5, section 3.3
(tiles, thumbnail, pixel shuffle); Wang et al. 2024, Qwen2-VL, section 2.1 (dynamic resolution, 2 x 2 merge).
Shapes: B images, H x W grid of tokens, C channels, r side of the merged square.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from kb.arguments import require_count

LLAVA_NEXT_GRIDS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))


def _require_size(height: int, width: int) -> None:
    require_count("height", height)
    require_count("width", width)


def square_tokens(side: int, patch: int, *, merge: int = 1) -> int:
    """Tokens of one square image, without a class token.

    Raises:
        ValueError: the side is no multiple of patch times merge.
    """
    for name, value in (("side", side), ("patch", patch), ("merge", merge)):
        require_count(name, value)
    if side % (patch * merge):
        raise ValueError(f"side must be a multiple of {patch * merge}, got {side}")
    return (side // patch // merge) ** 2


def best_grid(height: int, width: int, grids: Sequence[tuple[int, int]] = LLAVA_NEXT_GRIDS) -> tuple[int, int]:
    """The resolution (height, width) that keeps most of the image's pixels, and of these the one that wastes least."""
    _require_size(height, width)
    if not grids:
        raise ValueError("grids must hold at least one resolution, got none")

    def merit(grid: tuple[int, int]) -> tuple[int, int]:
        scale = min(grid[1] / width, grid[0] / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        return kept, kept - grid[0] * grid[1]

    return max(grids, key=merit)


def llava_next_tokens(height: int, width: int, *, side: int = 336, patch: int = 14) -> int:
    """Tokens of LLaVA-NeXT: a thumbnail, and the tiles less what was padding, a newline token after each row.

    Raises:
        ValueError: a size is not a positive integer, the side is no multiple of the patch, or the grids are not of it.
    """
    thumbnail, grid = square_tokens(side, patch), best_grid(height, width)
    if any(length % side for length in grid):
        raise ValueError(f"side must divide the grids of LLaVA-NeXT, which are of 336, got {side}")
    rows, columns = (length // side * (side // patch) for length in grid)
    if width / height > columns / rows:
        inner = int(round(height * (columns / width), 7))
        rows -= (rows - inner) // 2 * 2
    else:
        inner = int(round(width * (rows / height), 7))
        columns -= (columns - inner) // 2 * 2
    return thumbnail + rows * columns + rows


def internvl_tiles(height: int, width: int, *, side: int = 448, least: int = 1, most: int = 12) -> tuple[int, int]:
    """Columns and rows of tiles whose shape is nearest the image's; of equal shapes the larger one if the image is.

    Raises:
        ValueError: a size is not a positive integer, or ``least`` is more than ``most``.
    """
    _require_size(height, width)
    for name, value in (("side", side), ("least", least), ("most", most)):
        require_count(name, value)
    if least > most:
        raise ValueError(f"least must be at most most, got {least} and {most}")
    sizes = range(1, most + 1)
    grids = sorted(((c, r) for c in sizes for r in sizes if least <= c * r <= most), key=lambda grid: grid[0] * grid[1])
    best, nearest = (1, 1), math.inf
    for columns, rows in grids:
        apart = abs(width / height - columns / rows)
        fills = 2 * width * height > side * side * columns * rows
        if apart < nearest or (apart == nearest and fills):
            best, nearest = (columns, rows), apart
    return best


def internvl_tokens(
    height: int, width: int, *, side: int = 448, patch: int = 14, merge: int = 2, most: int = 12
) -> int:
    """Tokens of InternVL: ``square_tokens`` a tile, and a thumbnail where there is more than one tile."""
    columns, rows = internvl_tiles(height, width, side=side, most=most)
    tiles = columns * rows
    return (tiles + (tiles > 1)) * square_tokens(side, patch, merge=merge)


def qwen2_vl_size(
    height: int, width: int, *, factor: int = 28, least: int = 56 * 56, most: int = 28 * 28 * 1280
) -> tuple[int, int]:
    """The height and width to which Qwen2-VL resizes: multiples of ``factor``, pixels from ``least`` to ``most``.

    Raises:
        ValueError: a size is not a positive integer, or one side is over 200 times the other.
    """
    _require_size(height, width)
    for name, value in (("factor", factor), ("least", least), ("most", most)):
        require_count(name, value)
    if max(height, width) > 200 * min(height, width):
        raise ValueError(f"height and width must be within a factor of 200, got {height} and {width}")
    rows, columns = round(height / factor) * factor, round(width / factor) * factor
    if rows * columns > most:
        shrink = math.sqrt(height * width / most)
        rows, columns = (max(factor, math.floor(x / shrink / factor) * factor) for x in (height, width))
    elif rows * columns < least:
        grow = math.sqrt(least / (height * width))
        rows, columns = (math.ceil(x * grow / factor) * factor for x in (height, width))
    return rows, columns


def qwen2_vl_tokens(height: int, width: int, *, factor: int = 28, most: int = 28 * 28 * 1280) -> int:
    """Tokens of Qwen2-VL: one for each square of ``factor`` pixels, 2 x 2 patches of 14."""
    rows, columns = qwen2_vl_size(height, width, factor=factor, most=most)
    return rows * columns // factor**2


def merge_tokens(x_BHWC: Tensor, side: int = 2) -> Tensor:
    """Each square of r x r tokens as one, [B, H/r, W/r, r r C]: nothing is lost, the channels of four lie in one.

    Raises:
        ValueError: there are not four axes, or a side that r does not divide.
    """
    require_count("side", side)
    if x_BHWC.dim() != 4 or x_BHWC.shape[1] % side or x_BHWC.shape[2] % side:
        raise ValueError(f"x must be [B, H, W, C] with H and W multiples of {side}, got {tuple(x_BHWC.shape)}")
    B, H, W, C = x_BHWC.shape
    cut = x_BHWC.reshape(B, H // side, side, W // side, side, C)
    return cut.permute(0, 1, 3, 2, 4, 5).reshape(B, H // side, W // side, side * side * C)
