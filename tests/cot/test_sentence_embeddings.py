"""MiniLM against the model card's recipe, one text at a time; TF-IDF against counts by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from kb.cot import MiniLM, SentenceEmbedding, Tfidf
from kb.cot.sentence_embeddings import mean_pooled

TEXTS = ["This is an example sentence", "Each sentence is converted", "Tom has 3 apples and buys 4 more. How many?"]


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    return MiniLM(batch_size=2)


def test_the_recipe_of_the_model_card_gives_the_same(minilm: MiniLM) -> None:
    """Each text alone and without padding, means by a loop over its tokens."""
    found = minilm.embed(TEXTS)
    for text, row in zip(TEXTS, found, strict=True):
        ids = minilm._tokenizer.encode(text).ids
        assert (ids[0], ids[-1]) == (101, 102)
        with torch.no_grad():
            states = minilm._encoder(input_ids=torch.tensor([ids])).last_hidden_state[0].double().numpy()
        mean = sum(states[t] for t in range(len(ids))) / len(ids)
        np.testing.assert_allclose(row, mean / math.sqrt(sum(x * x for x in mean)), atol=1e-6)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_the_published_similarities_are_met(minilm: MiniLM) -> None:
    """Near paraphrases lie closer than other subjects; the order of the texts and the batches change nothing."""
    texts = ["A man is eating food.", "A man is eating a piece of bread.", "The girl is carrying a baby."]
    rows = minilm.embed(texts)
    similarity = rows @ rows.T
    assert similarity[0, 1] > 0.6
    assert similarity[0, 2] < 0.3
    np.testing.assert_allclose(minilm.embed(texts[::-1])[::-1], rows, atol=1e-6)


def test_a_long_text_is_cut_at_256_tokens_and_said_so(minilm: MiniLM) -> None:
    long = "apple " * 400
    assert minilm.count_tokens([long, "apple"]) == [402, 3]
    with pytest.warns(UserWarning, match="1 of 2 texts are longer than 256 tokens"):
        cut = minilm.embed([long, "apple"])
    np.testing.assert_allclose(cut[0], minilm.embed(["apple " * 254])[0], atol=1e-6)


def test_empty_and_nothing(minilm: MiniLM) -> None:
    assert minilm.embed([]).shape == (0, 384)
    assert np.linalg.norm(minilm.embed([""])) == pytest.approx(1, abs=1e-6)
    assert Tfidf(["a b"]).embed([]).shape == (0, 3)


def test_pooling_by_hand() -> None:
    states = torch.tensor([[[1.0, 0.0], [3.0, 4.0], [100.0, 100.0]]])
    found = mean_pooled(states, torch.tensor([[1, 1, 0]]))
    torch.testing.assert_close(found, torch.tensor([[2.0, 2.0]]) / math.sqrt(8))


def test_words_by_hand() -> None:
    """Two texts share "red"; its weight is ln(3/3) + 1 = 1, that of the others ln(3/2) + 1."""
    rare = math.log(3 / 2) + 1
    tfidf = Tfidf(["red car", "red 车"])
    rows = tfidf.embed(["red car", "red 车", "green"])
    weights = {"red": 1.0, "car": rare, "red car": rare}
    length = math.sqrt(sum(weight**2 for weight in weights.values()))
    assert sorted(rows[0][rows[0] > 0]) == pytest.approx(sorted(weight / length for weight in weights.values()))
    assert rows[0] @ rows[1] == pytest.approx(1 / length**2)
    assert (rows[2] == 0).all()
    assert rows.dtype == np.float32


def test_names_say_what_it_is(minilm: MiniLM) -> None:
    assert isinstance(minilm, SentenceEmbedding)
    assert isinstance(Tfidf(["a"]), SentenceEmbedding)
    assert (minilm.name, Tfidf(["a"]).name) == ("all-MiniLM-L6-v2", "TF-IDF")


@pytest.mark.parametrize("texts", ["one", 3, ["a", None], None])
def test_what_is_no_text_is_refused(minilm: MiniLM, texts: Any) -> None:
    for one in (minilm, Tfidf(["a"])):
        with pytest.raises(TypeError, match="texts"):
            one.embed(texts)


def test_sizes_and_corpora_are_checked() -> None:
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1, got 0"):
        MiniLM(batch_size=0)
    with pytest.raises(ValueError, match="corpus must hold at least one word"):
        Tfidf(["", "?!"])
    with pytest.raises(ValueError, match="most_words"):
        Tfidf(["a"], most_words=0)
    assert Tfidf(["a b c d"], most_words=2).embed(["a"]).shape == (1, 2)
