"""A laboratory of seconds: scikit-learn's digits, two views of each image, and a small network to train.

Unusual: retrieval is judged by MAP@R, as the nearest neighbour alone is right nearly always and tells no two losses
apart.

Sources: Chen et al. 2020, SimCLR, arXiv 2002.05709, section 2 (two views); Musgrave et al. 2020, A Metric Learning
Reality Check, arXiv 2003.08505 (MAP@R); Chen and He 2020, SimSiam, arXiv 2011.10566, sections 3 and 4 (predictor,
stopped gradient, the standard deviation that shows a collapse).
Shapes: N images, P = 64 pixels, D width.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.contrastive.geometry import cosines, unit_rows
from kb.contrastive.inputs import classes
from kb.contrastive.without_negatives import byol_loss, follow
from kb.training import Step, TrainConfig, in_mode, train

Digits = tuple[Tensor, Tensor]  # images from 0 to 1, [N, P], and what they show, [N]
Views = tuple[Tensor, Tensor, Tensor]  # two views of each image, and what it shows
SIDE = 8


def digits() -> tuple[Digits, Digits]:
    """1,297 images to train with and the last 500, which are to test with."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images_NP, labels_N = torch.from_numpy(images).float() / 16, torch.from_numpy(labels).long()
    return (images_NP[:-500], labels_N[:-500]), (images_NP[-500:], labels_N[-500:])


def view(images_NP: Tensor, generator: torch.Generator, *, noise: float = 0.2) -> Tensor:
    """Each image moved by up to one pixel each way, made lighter or darker by up to a quarter, and with noise."""
    count = len(images_NP)
    framed = F.pad(images_NP.view(count, SIDE, SIDE), (1, 1, 1, 1))
    down_N, right_N = torch.randint(0, 3, (2, count), generator=generator)
    rows = down_N[:, None, None] + torch.arange(SIDE)[None, :, None]
    columns = right_N[:, None, None] + torch.arange(SIDE)[None, None, :]
    moved = framed[torch.arange(count)[:, None, None], rows, columns].flatten(1)
    light = 0.75 + 0.5 * torch.rand(count, 1, generator=generator)
    return moved * light + noise * torch.randn(moved.shape, generator=generator)


def layers(*widths: int, seed: int) -> nn.Sequential:
    """Linear layers, with batch norm and a ReLU between them, from a start that the seed gives."""
    made = list[nn.Module]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for fan_in, fan_out in pairwise(widths[:-1]):
            made += [nn.Linear(fan_in, fan_out), nn.BatchNorm1d(fan_out), nn.ReLU()]
        return nn.Sequential(*made, nn.Linear(widths[-2], widths[-1]))


def network(width: int = 32, *, seed: int) -> nn.Sequential:
    """Pixels to an embedding: two hidden layers of 128."""
    return layers(SIDE * SIDE, 128, 128, width, seed=seed)


def view_batches(data: Digits, *, batch: int = 128, seed: int) -> Iterator[Views]:
    """Two views of random images, no image twice in a batch, and their labels; without end."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        chosen = torch.randperm(len(data[0]), generator=generator)[:batch]
        yield view(data[0][chosen], generator), view(data[0][chosen], generator), data[1][chosen]


def fit(
    model: nn.Module,
    data: Digits,
    loss: Callable[[nn.Module, Views], Tensor],
    *,
    steps: int = 150,
    seed: int = 0,
    after_step: Callable[[Step], None] | None = None,
) -> list[Step]:
    """Train on views, 128 images a step, with the book's loop: AdamW at 0.003, a cosine, no weight decay."""
    recipe = TrainConfig(steps, learning_rate=3e-3, warmup=10, weight_decay=0.0, clip=None)
    return train(model, view_batches(data, seed=seed), loss, recipe, after_step=after_step)


class SelfDistillation(nn.Module):
    """BYOL and SimSiam in one: what of predictor, stopped gradient and slow target is there can be chosen.

    Args:
        width: Of the embedding.
        seed: Of the start.
        predictor: Whether the one side goes through another network.
        stop: Whether the other side gets no gradient.
        momentum: Of the slow target, as in BYOL; None for the network itself as the target, as in SimSiam.
    """

    def __init__(
        self, width: int = 32, *, seed: int, predictor: bool = True, stop: bool = True, momentum: float | None = None
    ) -> None:
        super().__init__()
        self.encoder, self.stop, self.momentum = network(width, seed=seed), stop, momentum
        self.target = network(width, seed=seed).requires_grad_(False) if momentum is not None else self.encoder
        self.predictor = layers(width, 64, width, seed=seed + 1) if predictor else nn.Identity()

    def loss(self, views: Views) -> Tensor:
        """Both views predict each other's target."""
        return (self._one(views[0], views[1]) + self._one(views[1], views[0])) / 2

    def _one(self, seen: Tensor, other: Tensor) -> Tensor:
        prediction, target = self.predictor(self.encoder(seen)), self.target(other)
        if self.stop:
            return byol_loss(prediction, target)
        return (2 - 2 * (unit_rows(prediction) * unit_rows(target)).sum(1)).mean()

    def follow(self, _: Step) -> None:
        """Move the slow target, where there is one; what ``fit`` calls after each step."""
        if self.momentum is not None:
            follow(self.target, self.encoder, momentum=self.momentum)


@torch.no_grad()
def embed_images(model: nn.Module, images_NP: Tensor) -> Tensor:
    """Embeddings [N, D] in evaluation mode."""
    with in_mode(model, training=False):
        return model(images_NP)


def spread(x_ND: Tensor) -> float:
    """The columns' mean standard deviation at length 1, times √D: near 1 on a whole sphere, 0 in one point."""
    return float(unit_rows(x_ND).std(0).mean() * x_ND.shape[1] ** 0.5)


def map_at_r(x_ND: Tensor, labels_N: Tensor) -> float:
    """Mean over rows of the average precision at R, R being how many others are of the row's class; by cosine.

    Rows without another of their class are left out.

    Raises:
        ValueError: shapes do not fit, something is not finite, or no two rows are of one class.
    """
    if not torch.isfinite(x_ND).all():
        raise ValueError("x_ND must be finite, got NaN or an infinity, which have no order")
    same_NN, _ = classes(labels_N, len(x_ND))
    wanted_N = same_NN.sum(1)
    if not wanted_N.any():
        raise ValueError("labels_N must hold two rows of one class, got none")
    order_NN = cosines(x_ND, x_ND).fill_diagonal_(-torch.inf).argsort(dim=1, descending=True, stable=True)
    right_NN, place_N = same_NN.gather(1, order_NN).double(), torch.arange(1, len(x_ND) + 1)
    found_NN = right_NN * (place_N <= wanted_N[:, None])
    each_N = (found_NN * right_NN.cumsum(1) / place_N).sum(1) / wanted_N.clamp_min(1)
    return float(each_N[wanted_N > 0].mean())
