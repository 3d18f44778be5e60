"""Mixing, packing and byte pairs: by hand, by property, and with the losses of the documents alone."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from kb.corpus import (
    BytePairs,
    Packed,
    best_fit,
    capped_weights,
    concatenate,
    draw_sources,
    epochs,
    pad,
    temperature_weights,
)

DOCUMENTS = [[1, 2, 3, 4, 5], [6, 7], [8, 9, 10], [11, 12, 13, 14]]


def test_temperature_by_hand() -> None:
    sizes = {"web": 900, "books": 100}
    assert temperature_weights(sizes) == pytest.approx({"web": 0.9, "books": 0.1})
    assert temperature_weights(sizes, 2) == pytest.approx({"web": 0.75, "books": 0.25})
    assert temperature_weights(sizes, math.inf) == pytest.approx({"web": 0.5, "books": 0.5})
    assert epochs(sizes, temperature_weights(sizes, 2), 1000) == pytest.approx({"web": 750 / 900, "books": 2.5})


@settings(max_examples=40)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6), st.floats(0.1, 1.0))
def test_caps_hold(numbers: list[int], share: float) -> None:
    sizes = {f"s{i}": float(n) for i, n in enumerate(numbers)}
    budget = share * 4 * sum(numbers)
    weights = capped_weights(sizes, budget, 4)
    assert sum(weights.values()) == pytest.approx(1)
    assert max(epochs(sizes, weights, budget).values()) <= 4 + 1e-9


def test_draws_follow_the_weights() -> None:
    places = draw_sources({"a": 0.75, "b": 0.25}, 4000, seed=0)
    assert np.mean(places == 0) == pytest.approx(0.75, abs=0.03)


def test_packing_by_hand() -> None:
    padded = pad(DOCUMENTS, 5)
    assert padded.tokens_RT.shape == (4, 5)
    assert padded.waste == pytest.approx(6 / 20)
    stream = concatenate(DOCUMENTS, 5)
    assert stream.tokens_RT.tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 12, 13, 14, 0]]
    packed = best_fit(DOCUMENTS, 7)
    assert packed.tokens_RT.tolist() == [[1, 2, 3, 4, 5, 6, 7], [11, 12, 13, 14, 8, 9, 10]]
    assert packed.documents_RT.tolist() == [[0, 0, 0, 0, 0, 1, 1], [3, 3, 3, 3, 2, 2, 2]]
    assert packed.positions_RT.tolist() == [[0, 1, 2, 3, 4, 0, 1], [0, 1, 2, 3, 0, 1, 2]]
    assert (packed.waste, packed.cuts) == (0, 0)
    assert concatenate(DOCUMENTS, 4).cuts == 3
    assert concatenate([[1], [2]], 4, separator=9).tokens_RT.tolist() == [[1, 9, 2, 9]]
    assert pad(DOCUMENTS, 3).cuts == 2
    assert packed.mask()[1, 5].tolist() == [False] * 4 + [True, True, False]
    assert packed.targets()[0].tolist() == [2, 3, 4, 5, -100, 7, -100]


@settings(max_examples=40)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=12), st.integers(2, 8))
def test_nothing_is_lost(lengths: list[int], length: int) -> None:
    documents = [[n + 1] * size for n, size in enumerate(lengths)]
    for packed in (concatenate(documents, length), best_fit(documents, length)):
        real = packed.documents_RT >= 0
        assert int(real.sum()) == sum(lengths)
        assert torch.equal(packed.tokens_RT[real], packed.documents_RT[real] + 1)
    assert best_fit(documents, length).cuts == sum(size > length for size in lengths)
    fewest = math.ceil(sum(lengths) / length)
    assert len(concatenate(documents, length).tokens_RT) == fewest
    assert len(best_fit(documents, length).tokens_RT) >= fewest


def test_packed_losses_are_those_of_the_documents_alone() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=20, **sizes)).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3)
    draw = np.random.default_rng(0)
    documents = [draw.integers(1, 20, size=n).tolist() for n in (5, 3, 6, 2, 7)]

    def nats(packed: Packed, mask: torch.Tensor | None) -> torch.Tensor:
        with torch.inference_mode():
            bias = None if mask is None else torch.where(mask, 0.0, -torch.inf).double()[:, None]
            logits = model(packed.tokens_RT, attention_mask=bias, position_ids=packed.positions_RT).logits
        return F.cross_entropy(logits.transpose(1, 2), packed.targets(), reduction="sum")

    alone = sum(nats(pad([document], len(document)), None) for document in documents)
    packed = best_fit(documents, 12)
    assert len(packed.tokens_RT) == 2
    assert float(nats(packed, packed.mask())) == pytest.approx(float(alone), rel=1e-9)
    assert abs(float(nats(packed, None)) - float(alone)) > 0.05  # without the mask, documents see each other


def test_byte_pairs_by_hand() -> None:
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"ab": 256, b"abc": 257, b"bc": 258}
    tokens = BytePairs(ranks)
    assert tokens.encode("abc") == [257]
    assert tokens.encode("abbc") == [256, 258]
    assert tokens.encode("é") == [0xC3, 0xA9]
    assert tokens.encode("") == []
    with pytest.raises(ValueError, match="single byte"):
        BytePairs({b"a": 0})
    with pytest.raises(TypeError, match="text"):
        tokens.encode(3)  # type: ignore[arg-type]


def test_byte_pairs_equal_the_tokenizers_library() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    theirs = Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    text = "the cat sat on the mat, the cat sat on the hat; 小猫坐在垫子上，小猫坐在帽子上"
    theirs.train_from_iterator([text] * 5, trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet))
    letters = dict(zip(_bytes_in_unicode(), range(256), strict=True))
    names = sorted(theirs.get_vocab().items(), key=lambda one: one[1])
    ranks = {bytes(letters[c] for c in name): place for name, place in names}
    ours = BytePairs(ranks, pattern=r"(?s).+")
    for piece in ("the cat", "小猫坐在", "hat mat, ", "unseen words"):
        assert ours.encode(piece) == theirs.encode(piece).ids


def _bytes_in_unicode() -> list[str]:
    """The character that byte-level BPE writes for each byte (Radford et al. 2019)."""
    kept = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    found, extra = [], 0
    for byte in range(256):
        found.append(chr(byte) if byte in kept else chr(256 + extra))
        extra += byte not in kept
    return found


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="sizes"):
        temperature_weights({"a": 0})
    with pytest.raises(ValueError, match="temperature"):
        temperature_weights({"a": 1}, 0)
    with pytest.raises(ValueError, match="budget"):
        capped_weights({"a": 1}, 5, 4)
    with pytest.raises(ValueError, match="add up"):
        draw_sources({"a": 0.5}, 2, seed=0)
    with pytest.raises(ValueError, match="same sources"):
        epochs({"a": 1}, {"b": 1.0}, 1)
    for call in (pad, concatenate, best_fit):
        with pytest.raises(ValueError, match=r"documents\[1\]"):
            call([[1], []], 4)
        with pytest.raises(ValueError, match="length"):
            call([[1]], 1)
