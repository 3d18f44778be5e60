"""A small CLIP trained with batches of several sizes on as many pairs each, over seeds, and one that meets mirrors.

Pictures and names are those of ``kb.vision.emojis``. The last kind of run has batches of the first size in which a
picture of two people comes together with the one whose name has the same words in the other order. Unusual: the rate
grows with the root of the batch, so that no size is judged at another's rate.

Source: Radford et al. 2021, section 2.3; Yuksekgonul et al. 2023, When and why vision-language models behave like
bags-of-words (negatives that share their words).
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from benchmarks import one_thread
from benchmarks.measurement import Measurement, Samples
from kb import training, vision
from kb.vision import emojis, picture_lab

DEVICES = ("cpu",)
MIRRORS = "32, mirrors together"
QUANTITIES = {"role": "share", "name": "share", "order": "share", "gap": "distance", "scale": "factor"}


@dataclass(frozen=True)
class Setting:
    """What all runs share.

    Attributes:
        batches: Sizes; the last kind of run uses the first.
        pairs: Pairs seen in each training.
        rate: Highest learning rate at a batch of 128.
        seeds: Of weights and batches, from 0; what is held out is the same for all.
    """

    batches: tuple[int, ...] = (32, 256)
    pairs: int = 38_400
    rate: float = 2e-3
    seeds: int = 3

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the kinds of run."""
        return (*map(str, self.batches), MIRRORS)


@dataclass(frozen=True)
class Run:
    """One training."""

    kind: str
    seed: int
    setting: Setting


def mirrored_batches(
    data: picture_lab.Pairs, names: list[str], size: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """As ``Pairs.batches``, but a picture and its mirror stand next to each other."""
    place = {name: k for k, name in enumerate(names)}
    others = [place.get(emojis.swapped(name) or "") for name in names]
    units = [[k] if other is None else [k, other] for k, other in enumerate(others) if other is None or k < other]
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(units), generator=generator).tolist()
        rows = torch.tensor([k for unit in order for k in units[unit]])
        drawn = torch.randint(data.tokens.shape[1], (len(rows),), generator=generator)
        for part, template in zip(rows.split(size), drawn.split(size), strict=True):
            if len(part) == size:
                yield data.images[part], data.tokens[part, template]


def judged(model: vision.CLIP, drawn: emojis.Emojis, held: list[int], words: vision.Words) -> dict[str, float]:
    """What a trained model gets right of the combinations held out, whether it knows an order, and its space."""
    names, own = list(drawn.names), torch.arange(len(drawn.names))
    images = picture_lab.embed_images(model, drawn.inputs())
    texts = picture_lab.embed_texts(model, words, names)
    roles = list(emojis.families(drawn.names))
    prompts = [template.format(role) for role in roles for template in picture_lab.TEMPLATES]
    classes = vision.class_vectors(picture_lab.embed_texts(model, words, prompts).unflatten(0, (len(roles), -1)))
    labels = torch.tensor([roles.index(emojis.parts(names[place]).role) for place in held])
    mirrors = [(k, names.index(other)) for k, name in enumerate(names) if (other := emojis.swapped(name)) in names]
    first, second = torch.tensor(mirrors).T
    right = (images[first] * texts[first]).sum(1) > (images[first] * texts[second]).sum(1)
    return {
        "role": float(vision.hits(images[held], classes, labels).float().mean()),
        "name": float(vision.hits(images[held], texts, own[held]).float().mean()),
        "order": float(right.float().mean()),
        "gap": vision.modality_gap(images, texts),
        "scale": float(model.logit_scale.detach().exp()),
    }


def outcome(run: Run) -> dict[str, float]:
    """One training, judged."""
    setting, drawn = run.setting, emojis.load()
    train, held = picture_lab.hold_out(drawn)
    words = picture_lab.vocabulary(drawn.names)
    names = [drawn.names[place] for place in train]
    data = picture_lab.pairs(drawn.inputs()[train], names, words)
    model = picture_lab.small_clip(words, length=data.tokens.shape[2], seed=run.seed)
    size = setting.batches[0] if run.kind == MIRRORS else int(run.kind)
    steps, rate = max(2, setting.pairs // size), setting.rate * (size / 128) ** 0.5
    if run.kind == MIRRORS:
        plan = training.TrainConfig(steps, learning_rate=rate, warmup=max(1, steps // 10), betas=(0.9, 0.98))
        training.train(
            model,
            mirrored_batches(data, names, size, run.seed),
            lambda clip, pair: vision.clip_loss(clip(*pair)),
            plan,
            after_step=lambda _: model.limit_scale(),
        )
    else:
        picture_lab.train_clip(model, data, steps=steps, batch=size, seed=run.seed, rate=rate)
    found = judged(model, drawn, held, words)
    print(run.kind, run.seed, {key: round(value, 3) for key, value in found.items()}, file=sys.stderr, flush=True)
    return found


def measure(device: torch.device, setting: Setting | None = None) -> Measurement:
    """Train all, two at a time; the bound is that every run beats chance on roles twofold at least."""
    setting = setting or Setting()
    jobs = [Run(kind, seed, setting) for kind, seed in product(setting.kinds, range(setting.seeds))]
    found = dict(zip(jobs, one_thread.each(outcome, jobs), strict=True))
    assert all(one["role"] > 2 / 75 for one in found.values()), found
    samples = {
        f"batch {kind}: {quantity}": Samples(
            unit, [round(found[Run(kind, seed, setting)][quantity], 4) for seed in range(setting.seeds)]
        )
        for kind in setting.kinds
        for quantity, unit in QUANTITIES.items()
    }
    return Measurement(
        title="A small CLIP on 3,944 pictures with names, batches of several sizes, the same number of pairs seen",
        method=f"{setting.seeds} seeds of weights and batches; AdamW, warm-up and cosine, rate {setting.rate} at 128, "
        "with the root of the batch; role: zero-shot among 75 on held-out combinations, all prompts; name: among all "
        "names; order: which of two names with the same words is nearer",
        samples=samples,
        facts={"pairs seen": setting.pairs, "seeds": setting.seeds},
    )
