"""The measurements on vision and language: tiny runs have the shape of the records."""

import torch

from benchmarks.measurements import blip2_stages, clip_batches
from kb.vision import Words, picture_lab

NAMES = ["kiss light skin tone dark skin tone", "cat", "kiss dark skin tone light skin tone", "dog"]


def test_mirrors_stand_next_to_each_other() -> None:
    words = Words([*NAMES, *picture_lab.TEMPLATES])
    images = torch.arange(4.0)[:, None, None, None].expand(-1, 3, 2, 2)
    batches = clip_batches.mirrored_batches(picture_lab.pairs(images, NAMES, words), NAMES, 4, seed=0)
    for _ in range(5):
        pictures, tokens = next(batches)
        order = pictures[:, 0, 0, 0].tolist()
        assert abs(order.index(0.0) - order.index(2.0)) == 1
        assert sorted(order) == [0, 1, 2, 3]
        assert "light skin tone dark" in words.decode(tokens[order.index(0.0)].tolist())


def test_every_arm_trains_what_it_should_and_nothing_else() -> None:
    setting = blip2_stages.Setting(first=1, second=1, batch=2, width=8, rate=1e-3)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    language = blip2_stages.language_model(12, 7 + blip2_stages.QUERIES, 8)
    tokens = torch.tensor([[1, 3, 4, 5, 6 + k, 2, 0] for k in range(5)])
    patches = torch.randn(5, 17, 6, generator=generator)
    frozen = blip2_stages.Frozen(patches, tokens, [0, 1, 2], [3, 4], dict(language.state_dict()), 12)
    before = {name: one.clone() for name, one in frozen.language.items()}
    one, two = blip2_stages.operations(setting, frozen)
    assert one > two > 0
    for arm in blip2_stages.ARMS:
        run = blip2_stages.Run(arm, 0, setting, frozen)
        loss, right = blip2_stages.outcome(run)
        assert 0 < loss < 4
        assert 0 <= right <= 1
        assert blip2_stages.outcome(run) == (loss, right)
    assert all(torch.equal(before[name], one) for name, one in frozen.language.items())


def test_a_caption_is_right_up_to_its_end() -> None:
    tokens = torch.tensor([[1, 3, 4, 5, 6, 2, 0], [1, 3, 4, 5, 7, 8, 2]])

    class Knows:
        def logits(self, patches: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
            told = tokens.clone()
            told[0, 6], told[1, 5] = 9, int(patches[0])
            return torch.nn.functional.one_hot(told[:, 1 : written.shape[1] + 1], 12).float()

    for last, share in ((8, 1.0), (9, 0.5)):
        frozen = blip2_stages.Frozen(torch.tensor([last, last]), tokens, [], [0, 1], {}, 12)
        assert blip2_stages.captions_right(Knows(), frozen) == share
