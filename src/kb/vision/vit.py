"""The vision transformer, with the class token, the mean or attention as its pooling, and at any resolution.

Unusual: one class holds the ViT of 2021 and CLIP's (a norm before the blocks, no bias in the patches, the last norm
on the pooled vector alone), and takes the tensors of transformers' ViTModel and CLIPVisionModel.

Sources: Dosovitskiy et al. 2021, section 3.1, and appendix D.3 and D.4 (pooling, positions); Radford et al. 2021,
section 2.4; Zhai et al. 2022, Scaling Vision Transformers, section 3 (attention pooling, MAP).
Shapes: B images, C channels, P patches, T = P + class token, D width, N heads.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.arguments import require_count
from kb.nn import MultiHeadAttention
from kb.vision.blocks import activation_of, encoder_layer, load_renamed
from kb.vision.patches import PatchEmbedding

POOLS = ("class", "mean", "attention")


@dataclass(frozen=True)
class ViTConfig:
    """Sizes of a vision transformer; the defaults are ViT-B/16's at 224 pixels.

    Args:
        image: Side of the square images of training.
        patch: Side of a patch.
        width: D.
        layers: Blocks.
        heads: N.
        inner: Width inside the feed-forward networks.
        channels: C.
        pool: "class" (a token of its own), "mean" (of the patches) or "attention" (a learned query).
        activation: As in Hugging Face configurations.
        eps: Of the norms.
        clip: Whether it is CLIP's variant.

    Raises:
        ValueError: a size is not a positive integer, the image no multiple of the patch, or a name is not known.
    """

    image: int = 224
    patch: int = 16
    width: int = 768
    layers: int = 12
    heads: int = 12
    inner: int = 3072
    channels: int = 3
    pool: str = "class"
    activation: str = "gelu"
    eps: float = 1e-12
    clip: bool = False

    def __post_init__(self) -> None:
        for name in ("image", "patch", "width", "layers", "heads", "inner", "channels"):
            require_count(name, getattr(self, name))
        if self.image % self.patch:
            raise ValueError(f"image must be a multiple of patch, got {self.image} and {self.patch}")
        if self.pool not in POOLS:
            raise ValueError(f"pool must be one of {', '.join(POOLS)}, got {self.pool!r}")
        if self.clip and self.pool != "class":
            raise ValueError(f"pool must be class in CLIP's variant, got {self.pool!r}")
        activation_of(self.activation)

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image // self.patch

    def parameters(self) -> int:
        """How many numbers are learned, by hand."""
        D, F_ = self.width, self.inner
        patches = self.channels * self.patch**2 * D + (0 if self.clip else D)
        tokens = self.grid**2 + (self.pool == "class")
        block = 4 * (D * D + D) + (D * F_ + F_) + (F_ * D + D) + 2 * 2 * D
        pooling = {"class": D, "mean": 0, "attention": D + block - 2 * D}[self.pool]
        return patches + tokens * D + self.layers * block + 2 * D * (1 + self.clip) + pooling


def resize_positions(table_TD: Tensor, grid: tuple[int, int], *, extra: int = 1) -> Tensor:
    """Learned positions of a square grid for another grid, by bicubic interpolation; what is no patch stays.

    Args:
        table_TD: Positions of training, ``extra`` first and then a square number of patches.
        grid: Rows and columns wanted.
        extra: Tokens that are no patches.

    Returns:
        [extra + rows · columns, D].

    Raises:
        ValueError: the patches are no square, or a size is not a positive integer.
    """
    require_count("extra", extra, least=0)
    for size in grid:
        require_count("grid", size)
    side = round(max(0, len(table_TD) - extra) ** 0.5)
    if side < 1 or side * side != len(table_TD) - extra:
        raise ValueError(f"table must hold {extra} tokens and a square of patches, got {len(table_TD)} rows")
    kept, patches = table_TD[:extra], table_TD[extra:]
    if grid == (side, side):
        return table_TD
    square_1DHW = patches.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized_1DHW = F.interpolate(square_1DHW, size=grid, mode="bicubic", align_corners=False)
    return torch.cat((kept, resized_1DHW[0].flatten(1).T))


class AttentionPool(nn.Module):
    """A learned query attends to all tokens, then a feed-forward network: [B, T, D] to [B, D] (MAP, SigLIP's head)."""

    def __init__(self, width: int, heads: int, inner: int, activation: str = "gelu", eps: float = 1e-6) -> None:
        super().__init__()
        self.probe = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.attn = MultiHeadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.activation = activation_of(activation)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """[B, D]."""
        probe_B1D = self.probe.expand(len(x_BTD), -1, -1)
        mixed_B1D, _ = self.attn(probe_B1D, x_BTD, x_BTD, need_weights=False)
        out: Tensor = mixed_B1D + self.down(self.activation(self.up(self.norm(mixed_B1D))))
        return out[:, 0]


class VisionTransformer(nn.Module):
    """Images [B, C, H, W] to one vector each, [B, D]; :meth:`tokens` gives all of them."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        D, extra = config.width, int(config.pool == "class")
        self.patches = PatchEmbedding(config.patch, D, config.channels, bias=not config.clip)
        self.class_token = nn.Parameter(torch.zeros(1, 1, D)) if extra else None
        self.positions = nn.Parameter(0.02 * torch.randn(config.grid**2 + extra, D))
        self.pre_norm = nn.LayerNorm(D, eps=config.eps) if config.clip else None
        self.layers = nn.ModuleList(
            encoder_layer(D, config.heads, config.inner, config.activation, config.eps) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(D, eps=config.eps)
        attends = config.pool == "attention"
        self.pool = AttentionPool(D, config.heads, config.inner, config.activation, config.eps) if attends else None

    def tokens(self, images_BCHW: Tensor) -> Tensor:
        """All tokens after the last block, [B, T, D], normed unless the variant is CLIP's; any multiple of the patch.

        Raises:
            ValueError: the images are not [B, C, H, W] with the model's channels and sides that patches fill.
        """
        config = self.config
        if images_BCHW.dim() != 4 or images_BCHW.shape[1] != config.channels:
            raise ValueError(f"images must be [B, {config.channels}, H, W], got {tuple(images_BCHW.shape)}")
        x_BTD = self.patches(images_BCHW)
        extra = 0
        if self.class_token is not None:
            x_BTD, extra = torch.cat((self.class_token.expand(len(x_BTD), -1, -1), x_BTD), dim=1), 1
        height, width = (side // config.patch for side in images_BCHW.shape[2:])
        x_BTD = x_BTD + resize_positions(self.positions, (height, width), extra=extra)
        if self.pre_norm is not None:
            x_BTD = self.pre_norm(x_BTD)
        for layer in self.layers:
            x_BTD = layer(x_BTD)
        return x_BTD if config.clip else self.norm(x_BTD)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """One vector an image, [B, D]; errors as of :meth:`tokens`."""
        x_BTD = self.tokens(images_BCHW)
        if self.pool is not None:
            pooled: Tensor = self.pool(x_BTD)
            return pooled
        if self.class_token is None:
            return x_BTD.mean(1)
        return self.norm(x_BTD[:, 0]) if self.config.clip else x_BTD[:, 0]

    def load_transformers(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the tensors of transformers' ViTModel or CLIPVisionModel; errors as of :func:`load_renamed`."""
        load_renamed(self, tensors, _RULES)


BLOCK_RULES = [
    (r"^(.*\.)?layers\.(\d+)\.(?:self_attn|attention)\.(?:o_proj|out_proj)", r"layers.\2.self_attn.out_proj"),
    (r"^(.*\.)?layers\.(\d+)\.(?:self_attn|attention)\.([qkv])_proj", r"layers.\2.self_attn.\3_proj"),
    (r"^(.*\.)?layers\.(\d+)\.(?:layernorm_before|layer_norm1)", r"layers.\2.norm1"),
    (r"^(.*\.)?layers\.(\d+)\.(?:layernorm_after|layer_norm2)", r"layers.\2.norm2"),
    (r"^(.*\.)?layers\.(\d+)\.mlp\.fc([12])", r"layers.\2.linear\3"),
]
_RULES = [
    *BLOCK_RULES,
    (r"^(.*\.)?embeddings\.(?:cls_token|class_embedding)", "class_token"),
    (r"^(.*\.)?embeddings\.position_embeddings?(?:\.weight)?", "positions"),
    (r"^(.*\.)?embeddings\.patch_embeddings?(?:\.projection)?", "patches.projection"),
    (r"^(.*\.)?pre_layrnorm", "pre_norm"),
    (r"^(.*\.)?(?:layernorm|post_layernorm)", "norm"),
]
