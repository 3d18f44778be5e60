"""A small CLIP on drawn pictures: which names are held out, captions around names, the model, its training.

Unusual: what is held out is a *combination*. Every role, gender and tone is seen in training, but of each role some
pairs of gender and tone are not, so that a right answer has to be put together.

Sources: Radford et al. 2021, section 2.3 to 2.5; the sentences of :data:`TEMPLATES` are ours.
Shapes: B pairs, T tokens.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kb import training
from kb.arguments import require_count
from kb.vision.clip import CLIP, CLIPConfig, clip_loss
from kb.vision.emojis import Emojis, families
from kb.vision.text import TextConfig
from kb.vision.vit import ViTConfig
from kb.vision.words import END, Words

TEMPLATES = ("{}", "a picture of {}", "a drawing of a {}", "this is a small {}", "an icon that shows {}")


def twins(pictures: Tensor) -> list[list[int]]:
    """Places of pictures that are the same to the last pixel, in groups of at least two."""
    found: dict[bytes, list[int]] = defaultdict(list)
    for place, picture in enumerate(pictures):
        found[picture.numpy().tobytes()].append(place)
    return [group for group in found.values() if len(group) > 1]


def hold_out(drawn: Emojis, per_role: int = 3, seed: int = 0) -> tuple[list[int], list[int]]:
    """Places to train on, and those held out: ``per_role`` of the 15 combinations of each complete role.

    A combination whose picture is drawn a second time, under another name, is never held out.

    Raises:
        ValueError: ``per_role`` is not from 1 to 10: every gender and tone of a role must remain possible.
    """
    require_count("per_role", per_role)
    if per_role > 10:
        raise ValueError(f"per_role must be at most 10, got {per_role}")
    generator = torch.Generator().manual_seed(seed)
    doubled = {place for group in twins(drawn.pictures) for place in group}
    held: set[int] = set()
    for members in families(drawn.names).values():
        places = list(members.values())
        order = torch.randperm(len(places), generator=generator).tolist()
        held.update([places[k] for k in order if places[k] not in doubled][:per_role])
    return [place for place in range(len(drawn.names)) if place not in held], sorted(held)


def vocabulary(names: Sequence[str]) -> Words:
    """All words of the names and of the templates."""
    return Words([*names, *TEMPLATES])


def small_clip(words: Words, *, length: int, seed: int, side: int = 32, width: int = 64) -> CLIP:
    """A ViT of 8 x 8 patches with three blocks, and a text transformer with two."""
    vision = ViTConfig(side, 8, width, 3, 4, 4 * width, eps=1e-5, clip=True)
    text = TextConfig(len(words), length, width, 2, 4, 4 * width, end=END, activation="gelu")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CLIP(CLIPConfig(vision, text, joint=width))


@dataclass(frozen=True)
class Pairs:
    """Pictures, and for each the tokens of its name under every template.

    Args:
        images: [N, 3, side, side].
        tokens: [N, templates, T].
    """

    images: Tensor
    tokens: Tensor

    def batches(self, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Without end: each pass over all pairs in a new order, a template drawn for each; the rest is dropped.

        Raises:
            ValueError: the size is not a positive integer, or more than there are pairs.
        """
        require_count("size", size)
        if size > len(self.images):
            raise ValueError(f"size must be at most the {len(self.images)} pairs, got {size}")
        generator = torch.Generator().manual_seed(seed)
        while True:
            order = torch.randperm(len(self.images), generator=generator)
            drawn = torch.randint(self.tokens.shape[1], (len(order),), generator=generator)
            for rows in order[: len(order) // size * size].split(size):
                tokens = self.tokens[rows, drawn[rows]]
                yield self.images[rows], tokens[:, : int((tokens > 0).sum(1).max())]


def pairs(images: Tensor, names: Sequence[str], words: Words) -> Pairs:
    """Each picture with its captions."""
    texts = [template.format(name) for name in names for template in TEMPLATES]
    return Pairs(images, words.encode(texts).unflatten(0, (len(names), len(TEMPLATES))))


def train_clip(model: CLIP, data: Pairs, *, steps: int, batch: int, seed: int, rate: float = 2e-3) -> list[float]:
    """Train in place; the loss of each step, in nats."""

    def loss(clip: CLIP, pair: tuple[Tensor, Tensor]) -> Tensor:
        return clip_loss(clip(*pair))

    plan = training.TrainConfig(steps, learning_rate=rate, warmup=max(1, steps // 10), betas=(0.9, 0.98))
    made = training.train(model, data.batches(batch, seed), loss, plan, after_step=lambda _: model.limit_scale())
    return [step.loss for step in made]


@torch.no_grad()
def embed_texts(model: CLIP, words: Words, texts: Sequence[str]) -> Tensor:
    """Unit vectors [B, E] of texts."""
    rows = words.encode(texts, model.config.text.length).split(256)
    return torch.cat([model.encode_texts(row[:, : int((row > 0).sum(1).max())]) for row in rows])


@torch.no_grad()
def embed_images(model: CLIP, images: Tensor) -> Tensor:
    """Unit vectors [B, E] of images."""
    return torch.cat([model.encode_images(rows) for rows in images.split(256)])
