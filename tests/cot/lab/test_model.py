"""A decoder as a language model: greedy and sampled text, one at a time and in company, and what it refuses."""

import dataclasses

import pytest
import torch

from kb.cot import LanguageModel, Sampling
from kb.cot.lab.model import LabModel
from kb.cot.lab.training import Recipe
from kb.cot.lab.vocabulary import END, VOCABULARY_SIZE, encode
from kb.lm import DecoderLM, generate

RECIPE = Recipe(1e9, width=16, layers=1, heads=2, max_positions=40, std=0.5)
PROMPTS = ["101?", "1", "ab cd:a2?", "111?", "1"]


def lab() -> LabModel:
    return LabModel(RECIPE.model(0), "tiny")


class Scripted(DecoderLM):
    """Writes a text, whatever it is asked, and then ends."""

    def __init__(self, text: str) -> None:
        super().__init__(RECIPE.config)
        self.text, self.place = [*encode(text), END], 0

    def forward(self, tokens_BT: torch.Tensor, **options: object) -> torch.Tensor:
        logits_B1V = torch.zeros(len(tokens_BT), 1, VOCABULARY_SIZE)
        logits_B1V[:, :, self.text[self.place]] = 1
        self.place += 1
        return logits_B1V


def test_it_is_a_language_model() -> None:
    model = lab()
    assert isinstance(model, LanguageModel)
    assert (model.name, model.context_length, model.count_tokens("1+1#")) == ("tiny", 40, 4)
    assert model.chat("1+1#", "system") == "1+1#"


def test_greedy_text_is_that_of_the_decoder_alone() -> None:
    model = lab()
    found = model.generate(PROMPTS, Sampling(max_tokens=9))
    for prompt, (completion,) in zip(PROMPTS, found, strict=True):
        out = generate(model.model, encode(prompt), 9, stop_ids=(END,))[len(prompt) :].tolist()
        count = out.index(END) + 1 if END in out else len(out)
        assert completion.num_tokens == count
        assert completion.finish_reason == ("stop" if END in out else "length")
        assert encode(completion.text) == [token for token in out[:count] if token > END]
    assert found[1] == found[4]


def test_samples_repeat_differ_and_do_not_depend_on_their_company() -> None:
    model = lab()
    sampling = Sampling(max_tokens=8, temperature=1.0, n=3, seed=1)
    found = model.generate(PROMPTS, sampling)
    assert [len(of) for of in found] == [3] * 5
    assert len({one.text for one in found[0]}) > 1
    assert model.generate(PROMPTS[2:3], sampling) == found[2:3]
    assert model.generate(PROMPTS[::-1], sampling) == found[::-1]
    again = Sampling(max_tokens=8, temperature=1.0, n=3, seed=2)
    assert model.generate(PROMPTS, again) != found


def test_greedy_samples_are_one_text_n_times() -> None:
    found = lab().generate(["10?"], Sampling(max_tokens=5, n=3))
    assert len(found[0]) == 3
    assert len(set(found[0])) == 1


def test_a_text_ends_at_its_end_token_or_before_a_stop_string() -> None:
    def written(max_tokens: int, *stop: str) -> tuple[str, int, str]:
        (one,) = LabModel(Scripted("1 0#1")).generate(["10?"], Sampling(max_tokens=max_tokens, stop=stop))[0]
        return one.text, one.num_tokens, one.finish_reason

    assert written(20) == ("1 0#1", 6, "stop")
    assert written(6) == ("1 0#1", 6, "stop")
    assert written(5) == ("1 0#1", 5, "length")
    assert written(20, "#", "0") == ("1 ", 6, "stop")


def test_the_mode_comes_back() -> None:
    model = lab()
    model.model.train()
    model.generate(["1"], Sampling(max_tokens=1))
    assert model.model.training
    assert model.generate([], Sampling()) == []


def test_what_does_not_fit_is_refused_before_any_work() -> None:
    model = lab()
    with pytest.raises(ValueError, match=r"a prompt of 4 tokens and max_tokens 37 do not fit into the context of 40"):
        model.generate(["1", "101?"], Sampling(max_tokens=37))
    with pytest.raises(ValueError, match="prompts must not be empty"):
        model.generate(["1", ""], Sampling(max_tokens=4))
    with pytest.raises(ValueError, match="text has 'Q' at 0"):
        model.generate(["Q"], Sampling(max_tokens=4))
    with pytest.raises(TypeError, match=r"model must be a kb\.lm\.DecoderLM, got NoneType"):
        LabModel(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="model must have 46 tokens, got 9"):
        LabModel(DecoderLM(dataclasses.replace(RECIPE.config, vocab_size=9)))
    with pytest.raises(TypeError, match="prompts must be a sequence of str, got a str"):
        model.generate("101?", Sampling())
