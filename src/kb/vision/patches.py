"""An image as a sequence: cut into patches, each projected; a strided convolution and a matrix product are the same.

Source: Dosovitskiy et al. 2021, An Image is Worth 16x16 Words, section 3.1, equation 1.
Shapes: B images, C channels, H x W pixels, p side of a patch, P patches, D width.
"""

import torch
from torch import Tensor, nn

from kb.arguments import require_count


def _require_grid(images_BCHW: Tensor, patch: int) -> None:
    require_count("patch", patch)
    if images_BCHW.dim() != 4:
        raise ValueError(f"images must be [B, C, H, W], got {tuple(images_BCHW.shape)}")
    height, width = images_BCHW.shape[2:]
    if height < patch or width < patch or height % patch or width % patch:
        raise ValueError(f"images must have sides that are multiples of the patch, got {height} x {width} and {patch}")


def patchify_loop(images_BCHW: Tensor, patch: int) -> Tensor:
    """Reference for :func:`patchify`: one patch of one image at a time."""
    _require_grid(images_BCHW, patch)
    rows = []
    for image_CHW in images_BCHW:
        cut = [
            image_CHW[:, top : top + patch, left : left + patch].reshape(-1)
            for top in range(0, image_CHW.shape[1], patch)
            for left in range(0, image_CHW.shape[2], patch)
        ]
        rows.append(torch.stack(cut))
    return torch.stack(rows)


def patchify(images_BCHW: Tensor, patch: int) -> Tensor:
    """The pixels of each patch, [B, P, C p p], row by row of the grid; within a patch channel, row, column.

    Raises:
        ValueError: not four axes, or sides that are no multiples of the patch.
    """
    _require_grid(images_BCHW, patch)
    B, C, H, W = images_BCHW.shape
    grid = images_BCHW.reshape(B, C, H // patch, patch, W // patch, patch)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(B, (H // patch) * (W // patch), C * patch * patch)


class PatchEmbedding(nn.Module):
    """Patches to vectors by a convolution whose stride is its kernel: [B, C, H, W] to [B, P, D].

    Args:
        patch: p.
        width: D.
        channels: C.
        bias: Whether there is one; CLIP has none.
    """

    def __init__(self, patch: int, width: int, channels: int = 3, *, bias: bool = True) -> None:
        super().__init__()
        for name, value in (("patch", patch), ("width", width), ("channels", channels)):
            require_count(name, value)
        self.patch = patch
        self.projection = nn.Conv2d(channels, width, patch, stride=patch, bias=bias)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """[B, P, D]; errors as of :func:`patchify`."""
        _require_grid(images_BCHW, self.patch)
        out: Tensor = self.projection(images_BCHW).flatten(2).transpose(1, 2)
        return out

    def as_linear(self, images_BCHW: Tensor) -> Tensor:
        """The same by a matrix product over unfolded patches, [B, P, D]."""
        return nn.functional.linear(
            patchify(images_BCHW, self.patch), self.projection.weight.flatten(1), self.projection.bias
        )
