"""A small convolutional network, to be held against a vision transformer of as many parameters.

Unusual: no pooling but the last, over all places; strides make it coarser, and group norms need no batch.

Sources: LeCun et al. 1998 (weight sharing); He et al. 2016 (3 x 3 convolutions, pooling over all places at the end).
Shapes: B images, C channels, D the last width.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from kb.arguments import require_count


class ConvNet(nn.Module):
    """Images [B, C, H, W] to one vector each, [B, D]: 3 x 3 convolutions, all but the first with stride 2.

    Args:
        widths: Channels after each convolution, multiples of 4; the last is D.
        channels: C.

    Raises:
        ValueError: a width is no positive multiple of 4, or there is none.
    """

    def __init__(self, widths: Sequence[int], channels: int = 3) -> None:
        super().__init__()
        require_count("channels", channels)
        if not widths or any(width < 4 or width % 4 for width in widths):
            raise ValueError(f"widths must be positive multiples of 4, got {list(widths)}")
        layers: list[nn.Module] = []
        for place, (before, after) in enumerate(zip([channels, *widths], widths, strict=False)):
            layers += [
                nn.Conv2d(before, after, 3, stride=1 + (place > 0), padding=1),
                nn.GroupNorm(4, after),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """[B, D]."""
        features_BDHW: Tensor = self.layers(images_BCHW)
        return features_BDHW.mean((2, 3))


class Classifier(nn.Module):
    """An encoder [B, C, H, W] to [B, D] and a linear head: logits [B, K]."""

    def __init__(self, encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(width, classes)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Logits, [B, K]."""
        out: Tensor = self.head(self.encoder(images_BCHW))
        return out
