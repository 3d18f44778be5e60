"""A decoder of the lab as a ``kb.cot.LanguageModel``: text in, texts out, so that whatever probes one probes the other.

Unusual: prompts of one length run together and others do not, as nothing here is padded on the left; and each sample
draws from a generator of its own, named by seed, prompt and sample, so that it is the same in any company.

Shapes: B prompts of one length, T tokens.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import torch

from kb.cot.lab.vocabulary import END, VOCABULARY_SIZE, decode, encode
from kb.cot.language_model import Completion, Sampling
from kb.lm import DecoderLM, SamplingParams, generate
from kb.training import in_mode

_TOGETHER = 512


class LabModel:
    """A trained decoder with the lab's vocabulary.

    Args:
        model: With ``VOCABULARY_SIZE`` tokens.
        name: For tables.

    Raises:
        TypeError: ``model`` is no decoder.
        ValueError: it has another number of tokens.
    """

    def __init__(self, model: DecoderLM, name: str = "lab model") -> None:
        if not isinstance(model, DecoderLM):
            raise TypeError(f"model must be a kb.lm.DecoderLM, got {type(model).__name__}")
        if model.config.vocab_size != VOCABULARY_SIZE:
            raise ValueError(f"model must have {VOCABULARY_SIZE} tokens, got {model.config.vocab_size}")
        self.model, self._name = model, name

    @property
    def name(self) -> str:
        """What to call the model in a table."""
        return self._name

    @property
    def context_length(self) -> int:
        """How many tokens a prompt and its continuation may have together."""
        return self.model.config.context_length

    def count_tokens(self, text: str) -> int:
        """One a character."""
        return len(encode(text))

    def chat(self, message: str, system: str | None = None) -> str:
        """The message as it is: this model has no template, and no system prompt."""
        return message

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> list[list[Completion]]:
        """``sampling.n`` continuations of each prompt, in order; ln p is not given.

        Raises:
            TypeError: ``prompts`` is one text, or holds what is none.
            ValueError: a prompt is empty, has a character outside the vocabulary, or does not fit into the context
                together with ``max_tokens``.
        """
        if isinstance(prompts, str):
            raise TypeError("prompts must be a sequence of str, got a str")
        encoded = [encode(prompt) for prompt in prompts]
        for prompt, ids in zip(prompts, encoded, strict=True):
            if not ids:
                raise ValueError("prompts must not be empty, got an empty one")
            if len(ids) + sampling.max_tokens > self.context_length:
                raise ValueError(
                    f"a prompt of {len(ids)} tokens and max_tokens {sampling.max_tokens} do not fit into the context "
                    f"of {self.context_length}: {prompt!r}"
                )
        samples = 1 if sampling.temperature == 0 else sampling.n
        by_length: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for place, ids in enumerate(encoded):
            by_length[len(ids)] += [(place, sample) for sample in range(samples)]
        found: dict[tuple[int, int], Completion] = {}
        for places in by_length.values():
            for begin in range(0, len(places), _TOGETHER):
                part = places[begin : begin + _TOGETHER]
                written = self._continued([encoded[place] for place, _ in part], part, prompts, sampling)
                found.update(zip(part, written, strict=True))
        return [[found[place, min(n, samples - 1)] for n in range(sampling.n)] for place in range(len(prompts))]

    def _continued(
        self, ids: list[list[int]], places: list[tuple[int, int]], prompts: Sequence[str], sampling: Sampling
    ) -> list[Completion]:
        generators = None
        if sampling.temperature:
            generators = [_generator(f"{sampling.seed}, {n}, {prompts[place]}") for place, n in places]
        params = SamplingParams(temperature=sampling.temperature, top_p=sampling.top_p)
        with in_mode(self.model, training=False):
            out_BT = generate(
                self.model, ids, sampling.max_tokens, sampling=params, generator=generators, stop_ids=(END,)
            )
        return [_completion(row, sampling) for row in out_BT[:, len(ids[0]) :].tolist()]


def _generator(name: str) -> torch.Generator:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(seed)


def _completion(ids: list[int], sampling: Sampling) -> Completion:
    text, ended = decode(ids), END in ids
    count = ids.index(END) + 1 if ended else len(ids)
    cuts = [text.index(stop) for stop in sampling.stop if stop in text]
    if cuts:
        return Completion(text[: min(cuts)], count, "stop")
    return Completion(text, count, "stop" if ended else "length")
