"""A Q-Former between a frozen image encoder and a frozen small language model: two stages, or the second one alone.

The encoder is the small CLIP's of ``kb.vision.picture_lab``, trained on all pictures; the rest on 75 roles of
all genders and tones, but for the combinations held out, whose words the language model knows from others.
Arms: stage 1 then stage 2; stage 2 alone for its own steps, for those of both, and for the operations of both; and, as
most models since LLaVA have it, no Q-Former but a small MLP on merged patches. Unusual: the language model was trained
with words of the name, or blanks, in the four places before the text that an image will take: like a large one it uses
what it finds in its context, and its positions, which are absolute, fit.

Sources: Li et al. 2023, BLIP-2, section 3 and figure 5; Liu et al. 2023, LLaVA-1.5 (MLP).
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import one_thread
from benchmarks.measurement import Measurement, Samples
from kb import counting, training, vision
from kb.vision import emojis, picture_lab
from kb.vision.words import END, PAD

DEVICES = ("cpu",)
ARMS = (
    "two stages",
    "stage 2 alone, its own steps",
    "stage 2 alone, steps of both",
    "stage 2 alone, operations of both",
    "MLP on patches, steps of both",
)
QUERIES = 4  # and 2 x 2 merged patches


@dataclass(frozen=True)
class Setting:
    """What all runs share.

    Attributes:
        clip_steps: Of the image encoder's training, 128 pairs each.
        text_steps: Of the language model's training, 64 names each.
        first: Steps of stage 1.
        second: Steps of stage 2 after it.
        batch: Pairs of a step of either stage.
        width: Of Q-Former and language model.
        rate: Highest learning rate of every arm.
        seeds: Of the parts that are trained; the frozen ones are the same for all.
    """

    clip_steps: int = 150
    text_steps: int = 800
    first: int = 150
    second: int = 100
    batch: int = 64
    width: int = 64
    rate: float = 2e-3
    seeds: int = 3


@dataclass(frozen=True)
class Frozen:
    """What is made once: patches and captions of the roles, the language model."""

    patches: Tensor
    tokens: Tensor
    train: list[int]
    held: list[int]
    language: dict[str, Tensor]
    vocab: int


@dataclass(frozen=True)
class Run:
    """One training."""

    arm: str
    seed: int
    setting: Setting
    frozen: Frozen


class MergedPatches(nn.Module):
    """2 x 2 patches as one, through an MLP: the soft prompt without a Q-Former."""

    def __init__(self, patch_width: int, width: int, model: vision.TextTransformer) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(4 * patch_width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self._model = (model,)

    def logits(self, patches_BTE: Tensor, tokens_BT: Tensor) -> Tensor:
        """Of the token after each, [B, T, V]."""
        model, side = self._model[0], int((patches_BTE.shape[1] - 1) ** 0.5)
        square = patches_BTE[:, 1:].unflatten(1, (side, side))
        prompt = self.mlp(vision.merge_tokens(square, side // 2)).flatten(1, 2)
        x = torch.cat((prompt, model.embed_tokens(tokens_BT)), dim=1)
        return model.logits(x)[:, prompt.shape[1] :]

    def forward(self, patches_BTE: Tensor, tokens_BT: Tensor) -> Tensor:
        """The language model's loss on the text, given the image."""
        return vision.caption_loss(self.logits(patches_BTE, tokens_BT), tokens_BT)


def language_model(frozen_vocab: int, length: int, width: int) -> vision.TextTransformer:
    """Two blocks over words."""
    config = vision.TextConfig(frozen_vocab, length, width, 2, 4, 4 * width, end=END, activation="gelu")
    return vision.TextTransformer(config)


def plan(steps: int, rate: float) -> training.TrainConfig:
    """AdamW, a tenth of the steps as warm-up, cosine."""
    return training.TrainConfig(steps, learning_rate=rate, warmup=max(1, steps // 10) if steps > 1 else 0)


def rows(places: list[int], size: int, seed: int) -> Iterator[Tensor]:
    """Batches without end, each pass in a new order."""
    generator, pool = torch.Generator().manual_seed(seed), torch.tensor(places)
    while True:
        for part in pool[torch.randperm(len(pool), generator=generator)].split(size):
            if len(part) == size:
                yield part


def hints(tokens_BT: Tensor, generator: torch.Generator) -> Tensor:
    """What stands before a text in the language model's training: words of its name, or, for every third, blanks."""
    found = torch.full((len(tokens_BT), QUERIES), PAD)
    for hint, row in zip(found, tokens_BT, strict=True):
        if float(torch.rand(1, generator=generator)) > 1 / 3:
            name = row[4 : int((row == END).int().argmax())]  # behind the start and "a picture of"
            hint.copy_(name[torch.randint(len(name), (QUERIES,), generator=generator)])
    return found


def freeze(setting: Setting) -> Frozen:
    """Train the image encoder and the language model, each on its own."""
    drawn = emojis.load()
    train, held = picture_lab.hold_out(drawn)
    all_words = picture_lab.vocabulary(drawn.names)
    seen = picture_lab.pairs(drawn.inputs()[train], [drawn.names[place] for place in train], all_words)
    clip = picture_lab.small_clip(all_words, length=seen.tokens.shape[2], seed=0)
    picture_lab.train_clip(clip, seen, steps=setting.clip_steps, batch=128, seed=0)
    places = sorted(place for members in emojis.families(drawn.names).values() for place in members.values())
    captions = [picture_lab.TEMPLATES[1].format(drawn.names[place]) for place in places]
    words, outside = vision.Words(captions), set(held)
    tokens = words.encode(captions)
    train = [k for k, place in enumerate(places) if place not in outside]
    held = [k for k, place in enumerate(places) if place in outside]
    torch.manual_seed(0)
    model = language_model(len(words), tokens.shape[1] + QUERIES, setting.width)

    generator = torch.Generator().manual_seed(0)

    def loss(language: vision.TextTransformer, part: Tensor) -> Tensor:
        x = language.embed_tokens(torch.cat((hints(tokens[part], generator), tokens[part]), dim=1))
        return vision.caption_loss(language.logits(x)[:, QUERIES:], tokens[part])

    training.train(model, rows(train, 64, 0), loss, plan(setting.text_steps, 3e-3))
    with torch.no_grad():
        patches = torch.cat([clip.vision.tokens(part) for part in drawn.inputs()[places].split(256)])
    return Frozen(patches, tokens, train, held, dict(model.state_dict()), len(words))


def stage_one(setting: Setting, frozen: Frozen, seed: int) -> vision.StageOne:
    """A fresh Q-Former with the heads of stage 1."""
    torch.manual_seed(seed)
    width, length = setting.width, frozen.tokens.shape[1]
    config = vision.QFormerConfig(
        frozen.vocab, QUERIES, width, 2, 4, 4 * width, frozen.patches.shape[2], every=1, length=length
    )
    return vision.StageOne(config, start_caption=PAD, joint=width)


def operations(setting: Setting, frozen: Frozen) -> tuple[int, int]:
    """Multiplications and additions of one step of stage 1 and of stage 2, backward passes included."""
    first, part = stage_one(setting, frozen, 0), torch.tensor(frozen.train[: setting.batch])
    patches, tokens, generator = frozen.patches[part], frozen.tokens[part], torch.Generator().manual_seed(0)
    second = vision.StageTwo(first.qformer, frozen_language(setting, frozen))
    counts = [
        counting.count(lambda: first(patches, tokens, generator).total.backward()),
        counting.count(lambda: second(patches, tokens).backward()),
    ]
    return counts[0].flops, counts[1].flops


def frozen_language(setting: Setting, frozen: Frozen) -> vision.TextTransformer:
    """The language model, with no gradient of its own."""
    model = language_model(frozen.vocab, frozen.tokens.shape[1] + QUERIES, setting.width)
    model.load_state_dict(frozen.language)
    return model.requires_grad_(False)


@torch.no_grad()
def captions_right(model: Any, frozen: Frozen) -> float:
    """The share of held-out pictures whose whole name the model writes, taking the likeliest word each time."""
    wanted = frozen.tokens[frozen.held]
    written, patches = wanted[:, :4].clone(), frozen.patches[frozen.held]  # start, "a picture of"
    for _ in range(wanted.shape[1] - 4):
        written = torch.cat((written, model.logits(patches, written)[:, -1:].argmax(-1)), dim=1)
    until_end = (wanted == PAD) | (written == wanted)
    return float(until_end.all(1).float().mean())


def outcome(run: Run) -> tuple[float, float]:
    """Held-out loss in nats a token, and the share of captions that are right to the last word."""
    torch.set_num_threads(1)
    setting, frozen = run.setting, run.frozen
    first = stage_one(setting, frozen, run.seed)
    generator = torch.Generator().manual_seed(run.seed)
    steps = setting.first + setting.second
    if run.arm == ARMS[0]:
        steps = setting.second

        def three(model: vision.StageOne, part: Tensor) -> Tensor:
            return model(frozen.patches[part], frozen.tokens[part], generator).total

        training.train(first, rows(frozen.train, setting.batch, run.seed), three, plan(setting.first, setting.rate))
    elif run.arm == ARMS[1]:
        steps = setting.second
    elif run.arm == ARMS[3]:
        one, two = operations(setting, frozen)
        steps = setting.second + round(setting.first * one / two)
    language = frozen_language(setting, frozen)
    model: Any = vision.StageTwo(first.qformer, language)
    if run.arm == ARMS[4]:
        torch.manual_seed(run.seed)
        model = MergedPatches(frozen.patches.shape[2], setting.width, language)
    batches = rows(frozen.train, setting.batch, 1000 + run.seed)
    training.train(
        model, batches, lambda m, part: m(frozen.patches[part], frozen.tokens[part]), plan(steps, setting.rate)
    )
    with torch.no_grad():
        loss = float(model(frozen.patches[frozen.held], frozen.tokens[frozen.held]))
    found = loss, captions_right(model, frozen)
    print(f"{run.arm} seed {run.seed}: {steps} steps, {found[0]:.3f} nats, {found[1]:.3f}", file=sys.stderr, flush=True)
    return found


def measure(device: torch.device, setting: Setting | None = None) -> Measurement:
    """Train all; the bound is that every arm uses the picture, so that its loss is below the language model's own."""
    setting = setting or Setting()
    frozen = freeze(setting)
    language = frozen_language(setting, frozen)
    tokens = frozen.tokens[frozen.held]
    with torch.no_grad():
        x = language.embed_tokens(torch.cat((torch.full((len(tokens), QUERIES), PAD), tokens), dim=1))
        blind = float(vision.caption_loss(language.logits(x)[:, QUERIES:], tokens))
    jobs = [Run(arm, seed, setting, frozen) for arm, seed in product(ARMS, range(setting.seeds))]
    found = dict(zip(((job.arm, job.seed) for job in jobs), one_thread.each(outcome, jobs), strict=True))
    assert all(loss < blind for loss, _ in found.values()), (blind, found)
    one, two = operations(setting, frozen)
    samples = {}
    for place, (quantity, unit) in enumerate((("held-out loss", "nats a token"), ("captions right", "share"))):
        for arm in ARMS:
            values = [round(found[arm, seed][place], 4) for seed in range(setting.seeds)]
            samples[f"{arm}: {quantity}"] = Samples(unit, values)
    return Measurement(
        title="A small Q-Former between a frozen CLIP encoder and a frozen language model on names of pictures",
        method=f"{setting.seeds} seeds, the frozen parts the same for all; {setting.first} steps of stage 1 and "
        f"{setting.second} of stage 2, or stage 2 alone; {setting.batch} pairs a step, "
        f"rate {setting.rate}, AdamW, warm-up and cosine for each training; judged on combinations held out",
        samples=samples,
        facts={
            "loss without a picture": round(blind, 4),
            "operations of a step": {"stage 1": one, "stage 2": two},
            "steps of stage 2 alone with the operations of both": setting.second + round(setting.first * one / two),
            "seeds": setting.seeds,
        },
    )
