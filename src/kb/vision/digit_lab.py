"""A vision transformer and a convolutional network of as many parameters on real handwritten digits.

Unusual: nothing else differs, neither pictures nor batches, steps, rate or schedule.

Source: Dosovitskiy et al. 2021, sections 3.1 and 4.3 (inductive bias, and what data does about it).
Shapes: N pictures of 8 x 8.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb import training
from kb.arguments import require_count
from kb.vision.convnet import Classifier, ConvNet
from kb.vision.vit import VisionTransformer, ViTConfig

KINDS = ("ViT", "CNN")
RATE = 1e-2
TESTED = 400


def digits() -> tuple[Tensor, Tensor]:
    """The 1,797 digits of scikit-learn, [N, 1, 8, 8], and their labels, shuffled once; the last 400 are for tests."""
    from sklearn.datasets import load_digits

    pictures, labels = (torch.tensor(part) for part in load_digits(return_X_y=True))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return (pictures.float().reshape(-1, 1, 8, 8) / 16 - 0.3)[order], labels[order]


def classifier(kind: str, seed: int) -> nn.Module:
    """A fresh "ViT" (2 x 2 patches, two blocks, mean) or "CNN" (three convolutions), both below 20,000 parameters.

    Raises:
        ValueError: the kind is neither.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "ViT":
            return Classifier(VisionTransformer(ViTConfig(8, 2, 32, 2, 4, 64, 1, pool="mean", eps=1e-5)), 32, 10)
        return Classifier(ConvNet((16, 32, 48), 1), 48, 10)


def train_and_test(kind: str, examples: int, seed: int, steps: int, batch: int = 32) -> tuple[float, float]:
    """Accuracy on the examples that were trained on, and on the 400 that never are.

    Args:
        kind: As of :func:`classifier`.
        examples: How many digits are trained on, drawn by the seed.
        seed: Of the weights, the examples and the batches.
        steps: Of training.
        batch: Examples of a step, drawn with replacement.

    Raises:
        ValueError: the kind is not known, or there are not so many examples.
    """
    require_count("examples", examples)
    pictures, labels = digits()
    if examples > len(labels) - TESTED:
        raise ValueError(f"examples must be at most {len(labels) - TESTED}, got {examples}")
    model, generator = classifier(kind, seed), torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(labels) - TESTED, generator=generator)[:examples]

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            rows = chosen[torch.randint(examples, (batch,), generator=generator)]
            yield pictures[rows], labels[rows]

    plan = training.TrainConfig(steps, learning_rate=RATE, warmup=max(1, steps // 10) if steps > 1 else 0)
    training.train(model, batches(), lambda net, pair: F.cross_entropy(net(pair[0]), pair[1]), plan)
    with torch.no_grad():
        right = model(pictures).argmax(1) == labels
    return float(right[chosen].float().mean()), float(right[-TESTED:].float().mean())
