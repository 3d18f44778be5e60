"""Texts as vectors whose distance says how alike they are: a small trained encoder, or counts of words.

``MiniLM`` is all-MiniLM-L6-v2, the encoder that Auto-CoT clusters its questions with. Unusual: it is read straight out
of its pinned package into a transformers model; nothing is unpacked, and no hub is asked. ``Tfidf`` needs no weights
and no transformers. It is no stand-in that is taken silently: its name says what it is, and whoever uses it chose it.

Sources: Reimers and Gurevych 2019, Sentence-BERT, section 3 (mean pooling); Wang et al. 2020, MiniLM; the model card's
recipe (mean over the attention mask, unit length) and ``sentence_bert_config.json`` (256 tokens). Shapes: N texts, B of
a batch, T tokens, D width.
"""

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from kb import datasets
from kb.arguments import require_count
from kb.cot.request_checks import require_texts

if TYPE_CHECKING:
    from torch import Tensor

_PACKAGE = "minilm"
_MOST_TOKENS = 256  # where sentence-transformers cuts, [CLS] and [SEP] included; it was trained with 128
_WIDTH = 384


@runtime_checkable
class SentenceEmbedding(Protocol):
    """What the tools of this package ask of an embedding."""

    @property
    def name(self) -> str:
        """What to call it in a table."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts as rows [N, D]."""
        ...


class MiniLM:
    """all-MiniLM-L6-v2: 22.7 million parameters, English, rows of unit length.

    Args:
        batch_size: Texts that run together; texts of like length share a batch.
        device: Where it runs.

    Raises:
        ValueError: ``batch_size`` is no positive integer.
    """

    def __init__(self, *, batch_size: int = 16, device: str = "cpu") -> None:
        require_count("batch_size", batch_size)
        self._batch_size, self._device = batch_size, device

    @property
    def name(self) -> str:
        """What to call it in a table."""
        return "all-MiniLM-L6-v2"

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, [CLS] and [SEP] included, before anything is cut."""
        texts = require_texts("texts", texts)
        return [len(one.ids) for one in self._tokenizer.encode_batch(texts)]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts as rows [N, 384] of unit length, float32.

        Of a text of more than 256 tokens only the first 256 count, as in sentence-transformers; a warning says of how
        many. An empty text has a vector too, that of [CLS] and [SEP] alone.

        Raises:
            TypeError: ``texts`` are not strings.
            ValueError: one of them is no valid Unicode.
            DatasetError: the weights could not be had.
        """
        import torch

        texts = require_texts("texts", texts)
        ids = [one.ids for one in self._tokenizer.encode_batch(texts)]
        if cut := sum(len(one) > _MOST_TOKENS for one in ids):
            warnings.warn(f"{cut} of {len(ids)} texts are longer than {_MOST_TOKENS} tokens, and cut", stacklevel=2)
        last = self._tokenizer.token_to_id("[SEP]")
        ids = [one if len(one) <= _MOST_TOKENS else [*one[: _MOST_TOKENS - 1], last] for one in ids]
        found = np.empty((len(ids), _WIDTH), dtype=np.float32)
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        with torch.inference_mode():
            for first in range(0, len(order), self._batch_size):
                places = order[first : first + self._batch_size]
                found[places] = self._batch([ids[place] for place in places]).cpu().numpy()
        return found

    def _batch(self, ids: list[list[int]]) -> "Tensor":
        import torch

        longest = max(map(len, ids))
        tokens_BT = torch.tensor([one + [0] * (longest - len(one)) for one in ids], device=self._device)
        lengths_B = torch.tensor([len(one) for one in ids], device=self._device)
        mask_BT = (torch.arange(longest, device=self._device) < lengths_B[:, None]).long()
        states_BTD = self._encoder(input_ids=tokens_BT, attention_mask=mask_BT).last_hidden_state
        return mean_pooled(states_BTD, mask_BT)

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        found = Tokenizer.from_str(datasets.read(_PACKAGE, "model/tokenizer.json").decode("utf-8"))
        found.no_truncation()  # its file asks for 128 tokens, filled up; the model's own settings for 256
        found.no_padding()
        return found

    @cached_property
    def _encoder(self) -> Any:
        import json

        from safetensors.torch import load
        from transformers import AutoConfig, AutoModel

        entries = json.loads(datasets.read(_PACKAGE, "model/config.json"))
        config = AutoConfig.for_model(**entries)
        model: Any = AutoModel.from_config(config)
        weights = load(datasets.read(_PACKAGE, "model/model.safetensors"))
        missing, unknown = model.load_state_dict(weights, strict=False)
        # Releases differ in whether the positions 0, 1, 2, ... are stored; everything that was trained must be there.
        if wrong := [name for name in (*missing, *unknown) if not name.endswith("position_ids")]:
            raise ValueError(f"the weights of {self.name} do not fit transformers' model: {wrong[0]}")
        return model.eval().to(self._device)


class Tfidf:
    """Words weighted by how rare they are, and pairs of neighbouring words: rows of unit length.

    Args:
        corpus: Texts from which the words and their weights are taken.
        most_words: Width at most; the most frequent stay.

    A text that shares no word with the corpus is a row of zeros. Chinese is cut into characters.

    Raises:
        TypeError: ``corpus`` does not hold strings.
        ValueError: it holds no word, or ``most_words`` is no positive integer.
    """

    def __init__(self, corpus: Sequence[str], *, most_words: int = 4096) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        corpus = require_texts("corpus", corpus)
        require_count("most_words", most_words)
        pattern = r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+"
        self._vectorizer = TfidfVectorizer(
            token_pattern=pattern, ngram_range=(1, 2), max_features=most_words, sublinear_tf=True, dtype=np.float32
        )
        try:
            self._vectorizer.fit(corpus)
        except ValueError:
            raise ValueError(f"corpus must hold at least one word, got {len(corpus)} texts without any") from None

    @property
    def name(self) -> str:
        """What to call it in a table."""
        return "TF-IDF"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts as rows [N, D]; D is the number of words that the corpus gave.

        Raises:
            TypeError: ``texts`` are not strings.
        """
        texts = require_texts("texts", texts)
        if not texts:
            return np.empty((0, len(self._vectorizer.vocabulary_)), dtype=np.float32)
        rows: NDArray[np.float32] = self._vectorizer.transform(texts).toarray()
        return rows


def mean_pooled(states_BTD: "Tensor", mask_BT: "Tensor") -> "Tensor":
    """Means of the states where the mask is 1, at unit length, [B, D]."""
    import torch.nn.functional as F

    weights_BT1 = mask_BT[..., None].to(states_BTD.dtype)
    means_BD = (states_BTD * weights_BT1).sum(dim=1) / weights_BT1.sum(dim=1).clamp_min(1)
    return F.normalize(means_BD, dim=-1)
