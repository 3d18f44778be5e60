"""BLIP (2022): one training, three losses at once, and the filter that cleans its own data.

Contrast aligns two encoders, matching judges a pair seen together, and captioning writes. Nothing is frozen and there
are no two stages. Unusual: no momentum encoder and no queue (the paper has both, from ALBEF); the negatives of the
contrast are the batch's, and only the rule for soft targets stands here.

Source: Li et al. 2022, BLIP, section 3.2 (the three objectives) and 3.3 (CapFilt); Li et al. 2021, ALBEF, section 3.2
(hard negatives by similarity, soft targets).
Shapes: B pairs, T tokens, P patches, D text width, E image width.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.arguments import is_number, require_count
from kb.vision.clip import clip_loss
from kb.vision.med import MED, MEDConfig
from kb.vision.vit import VisionTransformer, ViTConfig


def soft_targets(momentum_BB: Tensor, share: float) -> Tensor:
    """ALBEF's targets of a row: ``share`` of the momentum model's softmax, the rest on the pair itself.

    Raises:
        ValueError: the share is not from 0 to 1, or the similarities are no square.
    """
    if momentum_BB.dim() != 2 or momentum_BB.shape[0] != momentum_BB.shape[1]:
        raise ValueError(f"momentum must be a square, got {tuple(momentum_BB.shape)}")
    if not (is_number(share) and 0 <= share <= 1):
        raise ValueError(f"share must be a number from 0 to 1, got {share!r}")
    own = torch.eye(len(momentum_BB), device=momentum_BB.device, dtype=momentum_BB.dtype)
    return share * momentum_BB.softmax(-1) + (1 - share) * own


def hard_negatives(logits_BB: Tensor, generator: torch.Generator) -> Tensor:
    """For each row another column, drawn by the softmax of the similarities: the likelier the mistake, the oftener.

    Raises:
        ValueError: the logits are no square of at least two, or a row of them gives no probabilities (NaN, infinity).
    """
    if logits_BB.dim() != 2 or logits_BB.shape[0] != logits_BB.shape[1] or len(logits_BB) < 2:
        raise ValueError(f"logits must be a square of at least two pairs, got {tuple(logits_BB.shape)}")
    own = torch.eye(len(logits_BB), device=logits_BB.device, dtype=torch.bool)
    weights_BB = logits_BB.detach().masked_fill(own, -math.inf).softmax(-1)
    if not bool(weights_BB.isfinite().all()):
        raise ValueError("logits must be finite, got a row that gives no probabilities")
    return torch.multinomial(weights_BB, 1, generator=generator)[:, 0]


def caption_loss(logits_BTV: Tensor, tokens_BT: Tensor, pad: int = 0) -> Tensor:
    """Mean cross-entropy of each token but the first, given those before it; padding does not count.

    NaN, as in torch, where all that is to be predicted is padding.

    Raises:
        ValueError: the tokens are not [B, T] as the logits are [B, T, V], or T is below 2.
    """
    if logits_BTV.dim() != 3 or tokens_BT.shape != logits_BTV.shape[:2] or tokens_BT.shape[1] < 2:
        raise ValueError(
            f"tokens must be [B, T], T from 2, of logits [B, T, V], got {[*tokens_BT.shape]}, {[*logits_BTV.shape]}"
        )
    return F.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), tokens_BT[:, 1:].flatten(), ignore_index=pad)


@dataclass(frozen=True)
class BlipLosses:
    """The three, each a mean in nats."""

    contrast: Tensor
    matching: Tensor
    caption: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum, unweighted as in the paper."""
        return self.contrast + self.matching + self.caption


def matching_loss(
    match_logits: Callable[[Tensor, Tensor, Tensor], Tensor],
    logits_BB: Tensor,
    image_BPE: Tensor,
    tokens_BT: Tensor,
    pad_BT: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Cross-entropy of telling B pairs from 2B wrong ones: each image with a hard text, each text with a hard image.

    Args:
        match_logits: From images, texts and what is padding to [pairs, 2], the second for *belong together*.
        logits_BB: Contrast logits, [images, texts], from which the wrong ones are drawn.
        image_BPE: Vectors of the images' patches.
        tokens_BT: Of the texts.
        pad_BT: True where a text has ended.
        generator: Draws the wrong ones.
    """
    texts, images = hard_negatives(logits_BB, generator), hard_negatives(logits_BB.T, generator)
    matched = match_logits(
        torch.cat((image_BPE, image_BPE, image_BPE[images])),
        torch.cat((tokens_BT, tokens_BT[texts], tokens_BT)),
        torch.cat((pad_BT, pad_BT[texts], pad_BT)),
    )
    labels = (torch.arange(len(matched), device=matched.device) < len(tokens_BT)).long()
    return F.cross_entropy(matched, labels)


class Blip(nn.Module):
    """An image encoder and a :class:`MED`, trained together.

    Args:
        vision: Of the image encoder.
        text: Of the text layers; its ``image_width`` is the image encoder's width.
        joint: Width of the space of the contrast.

    Raises:
        ValueError: the widths do not fit, or the image encoder has no class token, which the contrast reads.
    """

    def __init__(self, vision: ViTConfig, text: MEDConfig, joint: int = 256) -> None:
        super().__init__()
        if text.image_width != vision.width:
            raise ValueError(f"text.image_width must be the vision width {vision.width}, got {text.image_width}")
        if vision.pool != "class":
            raise ValueError(f"vision.pool must be class, as the contrast reads that token, got {vision.pool!r}")
        require_count("joint", joint)
        self.vision, self.text = VisionTransformer(vision), MED(text)
        self.vision_projection, self.text_projection = nn.Linear(vision.width, joint), nn.Linear(text.width, joint)
        self.match_head = nn.Linear(text.width, 2)
        self.temperature = nn.Parameter(torch.tensor(0.07))

    def contrast_logits(self, patches_BTE: Tensor, tokens_BT: Tensor, pad_BT: Tensor) -> Tensor:
        """Cosines of the first tokens over the temperature, [B, B]; the text is read without the image."""
        image_BJ = F.normalize(self.vision_projection(patches_BTE[:, 0]), dim=-1)
        text_BJ = F.normalize(self.text_projection(self.text(tokens_BT, pad_BT=pad_BT)[:, 0]), dim=-1)
        return image_BJ @ text_BJ.T / self.temperature

    def match_logits(self, patches_BTE: Tensor, tokens_BT: Tensor, pad_BT: Tensor) -> Tensor:
        """Whether text and image belong together, [B, 2]: the text is read with the image."""
        pair_BTD = self.text(tokens_BT, patches_BTE, mode="pair", pad_BT=pad_BT)
        out: Tensor = self.match_head(pair_BTD[:, 0])
        return out

    def forward(self, images_BCHW: Tensor, tokens_BT: Tensor, generator: torch.Generator) -> BlipLosses:
        """One pass of the image encoder, three of the text layers."""
        pad_BT = tokens_BT == 0
        patches = self.vision.tokens(images_BCHW)
        logits_BB = self.contrast_logits(patches, tokens_BT, pad_BT)
        return BlipLosses(
            clip_loss(logits_BB),
            matching_loss(self.match_logits, logits_BB, patches, tokens_BT, pad_BT, generator),
            caption_loss(self.text.logits(tokens_BT, patches, pad_BT), tokens_BT),
        )
