"""CLIP: two encoders, one space, and the symmetric loss over all pairs of a batch; beside it SigLIP's loss.

Unusual: the losses take embeddings, not models, and stand as loops over the definition too; how much the scale may
grow is a method that a training loop calls after each step.

Sources: Radford et al. 2021, section 2.3, figure 3 and section 2.5 (scale from 1 / 0.07, clipped to 100); Zhai et al.
2023, Sigmoid Loss for Language Image Pre-Training, section 3.2 and algorithm 1.
Shapes: B pairs, E joint width.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.arguments import require_count
from kb.vision.text import TextConfig, TextTransformer
from kb.vision.vit import VisionTransformer, ViTConfig

LARGEST_SCALE = 100.0


def _require_square(logits_BB: Tensor) -> None:
    if logits_BB.dim() != 2 or logits_BB.shape[0] != logits_BB.shape[1] or not len(logits_BB):
        raise ValueError(f"logits must be a square of at least one pair, got {tuple(logits_BB.shape)}")


def clip_loss_loop(logits_BB: Tensor) -> Tensor:
    """Reference for :func:`clip_loss`: one row, then one column at a time."""
    _require_square(logits_BB)
    total = logits_BB.new_zeros(())
    for i in range(len(logits_BB)):
        for scores in (logits_BB[i], logits_BB[:, i]):
            top = scores.max().detach()
            total = total + top + (scores - top).exp().sum().log() - scores[i]
    return total / (2 * len(logits_BB))


def clip_loss(logits_BB: Tensor) -> Tensor:
    """Mean of two cross-entropies: each image finds its text among B, each text its image.

    Args:
        logits_BB: Scale times cosine; row i is image i, and its text is column i.

    Raises:
        ValueError: the logits are no square, or empty.
    """
    _require_square(logits_BB)
    own = torch.arange(len(logits_BB), device=logits_BB.device)
    return (F.cross_entropy(logits_BB, own) + F.cross_entropy(logits_BB.T, own)) / 2


def siglip_loss_loop(logits_BB: Tensor) -> Tensor:
    """Reference for :func:`siglip_loss`: one pair at a time."""
    _require_square(logits_BB)
    total = logits_BB.new_zeros(())
    for i in range(len(logits_BB)):
        for j in range(len(logits_BB)):
            total = total - F.logsigmoid(logits_BB[i, j] if i == j else -logits_BB[i, j])
    return total / len(logits_BB)


def siglip_loss(logits_BB: Tensor) -> Tensor:
    """B² yes-or-no questions, summed and divided by B: is this text of this image? No row is normalised.

    Args:
        logits_BB: Scale times cosine plus a learned bias.

    Raises:
        ValueError: the logits are no square, or empty.
    """
    _require_square(logits_BB)
    signs = 2 * torch.eye(len(logits_BB), device=logits_BB.device, dtype=logits_BB.dtype) - 1
    return -F.logsigmoid(signs * logits_BB).sum(1).mean()  # by rows, as half precision ends at 65,504


@dataclass(frozen=True)
class CLIPConfig:
    """An image encoder, a text encoder and the width E of the space in which they meet."""

    vision: ViTConfig
    text: TextConfig
    joint: int = 512

    def __post_init__(self) -> None:
        require_count("joint", self.joint)


class CLIP(nn.Module):
    """Images and texts to logits [images, texts]: cosine times a learned scale."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        self.config = config
        self.vision, self.text = VisionTransformer(config.vision), TextTransformer(config.text)
        self.vision_projection = nn.Linear(config.vision.width, config.joint, bias=False)
        self.text_projection = nn.Linear(config.text.width, config.joint, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_images(self, images_BCHW: Tensor) -> Tensor:
        """[B, E], of length 1."""
        return F.normalize(self.vision_projection(self.vision(images_BCHW)), dim=-1)

    def encode_texts(self, tokens_BT: Tensor) -> Tensor:
        """[B, E], of length 1."""
        return F.normalize(self.text_projection(self.text(tokens_BT)), dim=-1)

    def forward(self, images_BCHW: Tensor, tokens_BT: Tensor) -> Tensor:
        """Logits, [images, texts]."""
        return self.logit_scale.exp() * self.encode_images(images_BCHW) @ self.encode_texts(tokens_BT).T

    @torch.no_grad()
    def limit_scale(self) -> None:
        """Bring the scale back to 100 where a step took it beyond: the paper found that to be needed for stability."""
        self.logit_scale.clamp_(max=math.log(LARGEST_SCALE))

    def load_transformers(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the tensors of transformers' CLIPModel; errors as of :func:`load_renamed`."""
        for module, start in ((self.vision, "vision_model."), (self.text, "text_model.")):
            module.load_transformers({name: one for name, one in tensors.items() if name.startswith(start)})
        with torch.no_grad():
            self.vision_projection.weight.copy_(tensors["visual_projection.weight"])
            self.text_projection.weight.copy_(tensors["text_projection.weight"])
            self.logit_scale.copy_(tensors["logit_scale"])
