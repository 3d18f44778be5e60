"""Words, names, the split that holds out combinations, batches and the small trainings."""

import math

import pytest
import torch

from kb.vision import Words, digit_lab, emojis, picture_lab
from kb.vision.words import split


def drawn() -> emojis.Emojis:
    """Two roles in all genders and tones, and three things; two pictures are the same."""
    roles = [
        f"{g} {r} {t} skin tone" for r in ("cook", "pilot") for g in ("man", "woman", "person") for t in emojis.TONES
    ]
    names = [*roles, "cat", "kiss man light skin tone dark skin tone", "kiss man dark skin tone light skin tone"]
    pictures = torch.arange(len(names), dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32).clone()
    pictures[1] = pictures[0]
    return emojis.Emojis(tuple(names), pictures)


def test_words_are_encoded_and_decoded() -> None:
    words = Words(["medium-dark skin_tone", "A (blood type) button!", "twelve o’clock"])
    assert split("Medium-dark, o’clock_7") == ["medium-dark", "o’clock", "7"]
    row = words.encode(["a button", "medium-dark blood type"], 7)
    assert row.shape == (2, 7)
    assert [words.decode(one.tolist()) for one in row] == ["a button", "medium-dark blood type"]
    assert words.encode(["a"]).tolist() == [[1, words.ids["a"], 2]]
    for texts, length, told in (
        (["a cat"], None, "'cat'"),
        ("a", None, "sequence"),
        ([], None, "sequence"),
        (["a"], 2, "most 2"),
    ):
        with pytest.raises(ValueError, match=told):
            words.encode(texts, length)
    for number in (-1, len(words)):
        with pytest.raises(ValueError, match="ids must"):
            words.decode([1, number])
    for texts, told in ((["!"], "at least one word"), ("cat", "several texts")):
        with pytest.raises(ValueError, match=told):
            Words(texts)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("woman firefighter dark skin tone", ("firefighter", "woman", ("dark",))),
        ("firefighter", ("firefighter", "person", ())),
        ("man", ("man", "person", ())),
        ("person medium-light skin tone red hair", ("red hair", "person", ("medium-light",))),
        ("kiss man dark skin tone light skin tone", ("kiss man", "person", ("dark", "light"))),
    ],
)
def test_parts_of_a_name(name: str, parts: tuple[str, str, tuple[str, ...]]) -> None:
    found = emojis.parts(name)
    assert (found.role, found.gender, found.tones) == parts


def test_swapped_names() -> None:
    assert emojis.swapped("kiss man dark skin tone light skin tone") == "kiss man light skin tone dark skin tone"
    for name in ("cat", "cook dark skin tone", "kiss dark skin tone dark skin tone"):
        assert emojis.swapped(name) is None


def test_what_is_held_out_is_never_drawn_twice_and_all_words_stay() -> None:
    data = drawn()
    assert picture_lab.twins(data.pictures) == [[0, 1]]
    assert set(emojis.families(data.names)) == {"cook", "pilot"}
    train, held = picture_lab.hold_out(data, per_role=4)
    assert len(held) == 8
    assert sorted(train + held) == list(range(len(data.names)))
    assert not {0, 1} & set(held)
    for per_role in (0, 11):
        with pytest.raises(ValueError, match="per_role"):
            picture_lab.hold_out(data, per_role)


def test_batches_hold_every_pair_once_and_any_caption() -> None:
    data = drawn()
    words = picture_lab.vocabulary(data.names)
    pairs = picture_lab.pairs(data.inputs(), data.names, words)
    stream = pairs.batches(11, seed=0)
    seen = [next(stream) for _ in range(3)]
    values = torch.cat([images[:, 0, 0, 0] for images, _ in seen])
    assert len(values.unique()) >= 32 - 2  # 33 pictures, two of them alike
    for images, tokens in seen:
        for image, row in zip(images, tokens, strict=True):
            place = round(float((image[0, 0, 0] + 1) * 127.5))
            assert data.names[place].replace("_", " ").split()[0] in words.decode(row.tolist()) or place == 0
    with pytest.raises(ValueError, match="size must"):
        next(pairs.batches(34, seed=0))


def test_a_small_clip_learns_and_repeats_itself() -> None:
    data = drawn()
    words = picture_lab.vocabulary(data.names)
    pairs = picture_lab.pairs(data.inputs(), data.names, words)
    runs = []
    for _ in range(2):
        model = picture_lab.small_clip(words, length=pairs.tokens.shape[2], seed=0, width=16)
        runs.append(picture_lab.train_clip(model, pairs, steps=6, batch=8, seed=0, rate=1e-2))
    assert runs[0] == runs[1]
    assert abs(runs[0][0] - math.log(8)) < 1
    images, texts = picture_lab.embed_images(model, data.inputs()), picture_lab.embed_texts(model, words, data.names)
    assert images.shape == texts.shape == (33, 16)
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(33))


def test_digits_are_split_and_learnt() -> None:
    pictures, _ = digit_lab.digits()
    assert pictures.shape == (1797, 1, 8, 8)
    seen, unseen = digit_lab.train_and_test("CNN", 20, seed=0, steps=25, batch=8)
    assert seen > 0.3
    assert unseen > 0.15
    for kind, examples, told in (("MLP", 5, "kind must"), ("ViT", 1398, "examples must"), ("ViT", 0, "examples must")):
        with pytest.raises(ValueError, match=told):
            digit_lab.train_and_test(kind, examples, 0, 1)
    counts = [sum(p.numel() for p in digit_lab.classifier(kind, 0).parameters()) for kind in digit_lab.KINDS]
    assert abs(counts[0] / counts[1] - 1) < 0.1


def test_emojis_are_drawn_in_colour_with_their_names() -> None:
    found = emojis.load()
    assert len(found.names) == len(set(found.names)) == len(found.pictures) == 3944
    assert len(emojis.families(found.names)) == 75
    centre = found.pictures[found.names.index("red heart")][:, 12:20, 12:20].float().mean((1, 2))
    assert centre[0] > 2 * centre[1]
    assert 3 * found.pictures[found.names.index("blue circle"), 2].float().mean() > 0
    with pytest.raises(ValueError, match="side must"):
        emojis.load(0)
