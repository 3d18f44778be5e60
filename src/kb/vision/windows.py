"""Attention inside windows, shifted in every second block: the hierarchical encoder in three functions.

Unusual: no Swin model, only what makes it cheap and what keeps shifted windows apart.

Source: Liu et al. 2021, Swin Transformer, section 3.1 (equations 1 and 2) and 3.2 (cyclic shift, masked windows).
Shapes: B images, H x W tokens, C channels, M side of a window, K windows of an image.
"""

import torch
from torch import Tensor

from kb.arguments import require_count


def _require_windows(height: int, width: int, window: int) -> None:
    for name, value in (("height", height), ("width", width), ("window", window)):
        require_count(name, value)
    if height % window or width % window:
        raise ValueError(f"window must divide both sides, got {window} for {height} x {width}")


def to_windows(x_BHWC: Tensor, window: int) -> Tensor:
    """[B, H, W, C] to [B K, M, M, C], windows row by row.

    Raises:
        ValueError: there are not four axes, or the window does not divide both sides.
    """
    if x_BHWC.dim() != 4:
        raise ValueError(f"x must be [B, H, W, C], got {tuple(x_BHWC.shape)}")
    B, H, W, C = x_BHWC.shape
    _require_windows(H, W, window)
    cut = x_BHWC.reshape(B, H // window, window, W // window, window, C)
    return cut.transpose(2, 3).reshape(-1, window, window, C)


def from_windows(windows: Tensor, height: int, width: int) -> Tensor:
    """The inverse of :func:`to_windows`: [B K, M, M, C] to [B, H, W, C].

    Raises:
        ValueError: the windows are no squares, do not divide both sides, or are not so many that images are whole.
    """
    if windows.dim() != 4 or windows.shape[1] != windows.shape[2]:
        raise ValueError(f"windows must be [B K, M, M, C], got {tuple(windows.shape)}")
    M, C = windows.shape[1], windows.shape[3]
    _require_windows(height, width, M)
    if len(windows) % (height // M * (width // M)):
        raise ValueError(f"windows must be a multiple of {height // M * (width // M)}, got {len(windows)}")
    grid = windows.reshape(-1, height // M, width // M, M, M, C)
    return grid.transpose(2, 3).reshape(-1, height, width, C)


def shift_mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """Which tokens of a window may not look at each other once the image was rolled by ``shift``, [K, M M, M M].

    Raises:
        ValueError: the window does not divide both sides, or the shift is not from 0 to below the window.
    """
    _require_windows(height, width, window)
    require_count("shift", shift, least=0)
    if shift >= window:
        raise ValueError(f"shift must be below the window of {window}, got {shift}")
    rows, columns = torch.arange(height), torch.arange(width)
    # After the roll the last `shift` rows came from the other edge of the image.
    region = 2 * (rows >= height - shift).long()[:, None] + (columns >= width - shift).long()
    parts = to_windows(region[None, :, :, None], window).flatten(1)
    return parts[:, :, None] != parts[:, None, :]


def shift_mask_loop(height: int, width: int, window: int, shift: int) -> Tensor:
    """Reference: two tokens see each other if they were less than a window apart in the image before it was rolled.

    With a single window across an image opposite edges are that near, and the two differ; Swin shifts no single window.
    """
    _require_windows(height, width, window)
    per_row, size = width // window, window * window
    mask = torch.zeros(height // window * per_row, size, size, dtype=torch.bool)
    for k in range(len(mask)):
        top, left = k // per_row * window, k % per_row * window
        at = [((top + i // window + shift) % height, (left + i % window + shift) % width) for i in range(size)]
        for i, (row, column) in enumerate(at):
            for j, (other_row, other_column) in enumerate(at):
                near = abs(row - other_row) < window and abs(column - other_column) < window
                mask[k, i, j] = not near
    return mask


def attention_multiplications(height: int, width: int, channels: int, window: int | None = None) -> int:
    """Multiplications of one attention, projections included; over the whole image, or in windows.

    4 h w C² + 2 (h w)² C, and 4 h w C² + 2 M² h w C (equations 1 and 2).
    """
    for name, value in (("height", height), ("width", width), ("channels", channels)):
        require_count(name, value)
    tokens = height * width
    if window is not None:
        _require_windows(height, width, window)
    seen = tokens if window is None else window * window
    return 4 * tokens * channels**2 + 2 * tokens * seen * channels
