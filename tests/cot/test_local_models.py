"""The engine and transformers on the same weights: the same texts, greedy and drawn, and the same likelihoods."""

import math
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

from kb import checkpoints
from kb.cot import Completion, EngineModel, LanguageModel, Sampling, TransformersModel
from kb.lm import DecoderLM
from tests.cot.tiny_llama import save_llama

PROMPTS = ["Q: 3 + 4?\nA:", "today", "one two three four five six seven eight", "今天天气"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> EngineModel:
    return EngineModel(folder, block_size=4, num_gpu_blocks_override=400, max_num_seqs=6, device="cpu")


@pytest.fixture(scope="module")
def other(folder: Path) -> TransformersModel:
    return TransformersModel.from_pretrained(folder, batch_size=3)


@pytest.fixture(params=["engine", "other"])
def model(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def rounded(found: list[list[Completion]]) -> list[list[tuple[str, int, str, float]]]:
    return [
        [(c.text, c.num_tokens, c.finish_reason, round(c.log_probability or math.nan, 2)) for c in one] for one in found
    ]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_tokens=12),
        Sampling(max_tokens=12, temperature=1.5, n=4, seed=3),
        Sampling(max_tokens=8, temperature=1.0, top_p=0.8, n=7, seed=-4),  # more than the engine runs at once
    ],
)
def test_both_write_the_same(engine: EngineModel, other: TransformersModel, sampling: Sampling) -> None:
    first, second = engine.generate(PROMPTS, sampling), other.generate(PROMPTS, sampling)
    assert [[c.text for c in one] for one in first] == [[c.text for c in one] for one in second]
    for a, b in zip(chain(*first), chain(*second), strict=True):
        assert (a.num_tokens, a.finish_reason) == (b.num_tokens, b.finish_reason)
        assert a.log_probability == pytest.approx(b.log_probability, abs=1e-3)
    if sampling.n > 1:
        assert len({c.text for c in first[0]}) > 1


def test_both_are_language_models(model: Any, folder: Path) -> None:
    assert isinstance(model, LanguageModel)
    assert model.context_length == 160
    assert model.name == folder.name
    assert model.generate([], Sampling()) == []


def test_a_seed_gives_the_same_samples_whatever_shares_the_call(model: Any) -> None:
    sampling = Sampling(max_tokens=8, temperature=1.3, n=3, seed=7)
    together = model.generate(PROMPTS, sampling)
    assert rounded(model.generate(PROMPTS, sampling)) == rounded(together)
    assert rounded(model.generate([PROMPTS[1]], sampling)) == rounded([together[1]])
    assert rounded(model.generate([PROMPTS[1]] * 2, Sampling(8, 1.3, n=2, seed=7)))[0] == rounded([together[1][:2]])[0]


def test_neighbouring_seeds_share_no_sample(model: Any) -> None:
    texts = [[c.text for c in model.generate(["today"], Sampling(10, 1.5, n=3, seed=seed))[0]] for seed in (0, 1, 2)]
    assert len({text for one in texts for text in one}) == 9


def test_a_prompt_asked_for_twice_is_one_with_twice_the_samples(model: Any) -> None:
    twice = model.generate(["today", "today"], Sampling(10, 1.5, n=2, seed=1))
    assert [c.text for c in chain(*twice)] == [
        c.text for c in model.generate(["today"], Sampling(10, 1.5, n=4, seed=1))[0]
    ]


def test_greedy_samples_are_all_the_same(model: Any) -> None:
    (found,) = model.generate(["today"], Sampling(max_tokens=5, n=3))
    assert len(found) == 3
    assert len(set(found)) == 1


def test_a_stop_string_cuts_exactly(model: Any) -> None:
    (whole,) = model.generate(["today"], Sampling(max_tokens=12))[0]
    assert whole.finish_reason == "length"
    assert whole.num_tokens == 12
    stop = next(whole.text[i : i + 2] for i in range(3, 9) if "\ufffd" not in whole.text[: i + 2])
    (cut,) = model.generate(["today"], Sampling(max_tokens=12, stop=("never", stop)))[0]
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish_reason == "stop"
    assert cut.num_tokens < 12


def test_an_end_token_ends_and_has_no_text(folder: Path, tmp_path: Path) -> None:
    """The first greedy token is made the end token."""
    import json
    import shutil

    plain = TransformersModel.from_pretrained(folder)
    ids = torch.tensor([plain._ids("today")])
    first = int(plain._model(ids).logits[0, -1].argmax())
    copy = shutil.copytree(folder, tmp_path / "ending")
    for name in ("config.json", "generation_config.json"):
        entries = json.loads((copy / name).read_text())
        (copy / name).write_text(json.dumps({**entries, "eos_token_id": [1, first]}))
    for ending in (EngineModel(copy, num_gpu_blocks_override=50), TransformersModel.from_pretrained(copy)):
        (found,) = ending.generate(["today"], Sampling(max_tokens=5))[0]
        assert (found.text, found.num_tokens, found.finish_reason) == ("", 1, "stop")


def test_likelihoods_are_those_of_the_model(engine: EngineModel, other: TransformersModel) -> None:
    """Against a plain forward and a loop; and a greedy text's own log-probability."""
    prompt, continuation = "Q: 3 + 4?\nA:", " 7"
    ids = torch.tensor([other._ids(prompt + continuation)])
    logits = other._model(ids).logits[0].detach().double()
    wanted = sum(
        float(logits[at - 1].log_softmax(-1)[ids[0, at]]) for at in range(len(prompt), len(prompt + continuation))
    )
    assert other.log_likelihood(prompt, continuation) == pytest.approx(wanted, abs=1e-4)
    assert engine.log_likelihood(prompt, continuation) == pytest.approx(wanted, abs=1e-4)
    (greedy,) = engine.generate(["today"], Sampling(max_tokens=3))[0]
    if "\ufffd" not in greedy.text:
        assert engine.log_likelihood("today", greedy.text) == pytest.approx(greedy.log_probability, abs=1e-4)


def test_likelihoods_follow_the_chain_rule(model: Any) -> None:
    parts = model.log_likelihood("ab", "c") + model.log_likelihood("abc", "de")
    assert model.log_likelihood("ab", "cde") == pytest.approx(parts, abs=1e-4)
    assert parts < 0


def test_the_template_is_the_checkpoints(model: Any) -> None:
    assert model.chat("hi") == "<s>[user]hi</s>[assistant]"
    assert model.chat("hi", "be short") == "<s>[system]be short</s>[user]hi</s>[assistant]"


def test_no_template_and_no_second_beginning(tmp_path: Path) -> None:
    folder = save_llama(tmp_path, begins=True, template=None)
    for model in (EngineModel(folder, num_gpu_blocks_override=50), TransformersModel.from_pretrained(folder)):
        assert model.chat("hi") == "hi"
        assert model.chat("hi", "be short") == "be short\n\nhi"
        assert model.count_tokens("hi") == 3
        assert model.count_tokens("<s>hi") == 3


@pytest.mark.parametrize(
    ("prompts", "sampling", "error", "message"),
    [
        ("one", Sampling(), TypeError, "prompts must be a sequence of strings, got str"),
        (["a", 3], Sampling(), TypeError, r"prompts\[1\] must be a string, got int"),
        (["a", ""], Sampling(), ValueError, r"prompts\[1\] must not be empty"),
        (["a\ud800"], Sampling(), ValueError, r"prompts\[0\] must be valid Unicode"),
        (
            ["a", "b" * 155],
            Sampling(max_tokens=6),
            ValueError,
            r"prompts\[1\] has 155 tokens.*161.*context_length = 160",
        ),
        (["a"], Sampling(max_tokens=0), ValueError, "max_tokens must be an integer of at least 1, got 0"),
        (["a"], Sampling(n=True), ValueError, "n must be an integer of at least 1, got True"),
        (["a"], Sampling(temperature=-1.0), ValueError, "temperature must be 0"),
        (["a"], Sampling(temperature=math.nan), ValueError, "temperature must be 0"),
        (["a"], Sampling(top_p=0.0), ValueError, "top_p must be above 0"),
        (["a"], Sampling(stop="ab"), TypeError, "stop must be a sequence of strings, got str"),  # type: ignore[arg-type]
        (["a"], Sampling(stop=("",)), ValueError, r"stop\[0\] must not be empty"),
        (["a"], Sampling(seed=1.5), TypeError, "seed must be an integer"),  # type: ignore[arg-type]
        (["a"], {"n": 1}, TypeError, "sampling must be a Sampling, got dict"),
    ],
)
def test_what_cannot_be_is_refused(model: Any, prompts: Any, sampling: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        model.generate(prompts, sampling)


def test_the_last_token_of_the_context_is_used(model: Any) -> None:
    (found,) = model.generate(["b" * 150], Sampling(max_tokens=10))[0]
    assert found.num_tokens == 10


def test_likelihoods_refuse_what_has_no_token_or_no_room(model: Any) -> None:
    with pytest.raises(ValueError, match="continuation must have at least one token"):
        model.log_likelihood("a", "")
    with pytest.raises(ValueError, match=r"prompts\[0\] must not be empty"):
        model.log_likelihood("", "a")
    with pytest.raises(ValueError, match="context_length = 160"):
        model.log_likelihood("a" * 100, "b" * 61)


def test_what_is_no_model_is_refused(engine: EngineModel, other: TransformersModel) -> None:
    with pytest.raises(TypeError, match="max_model_len is for an LLM that is to be made"):
        EngineModel(engine._llm, max_model_len=10)
    with pytest.raises(TypeError, match="model must be a causal language model of transformers, got str"):
        TransformersModel("gpt2", other._tokenizer)
    with pytest.raises(TypeError, match="tokenizer must be one of transformers, got NoneType"):
        TransformersModel(other._model, None)
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1"):
        TransformersModel(other._model, other._tokenizer, batch_size=0)


def test_a_model_that_takes_neither_cache_nor_positions_gives_the_same(other: TransformersModel) -> None:
    class Bare(torch.nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner, self.config = inner, inner.config

        def get_input_embeddings(self) -> Any:
            return self.inner.get_input_embeddings()

        def forward(self, input_ids: Any, attention_mask: Any = None) -> Any:
            positions = (attention_mask.cumsum(-1) - 1).clamp_min(0)
            output = self.inner(input_ids, attention_mask=attention_mask, position_ids=positions, use_cache=False)
            output.past_key_values = None
            return output

    bare = TransformersModel(Bare(other._model), other._tokenizer, name="bare")
    sampling = Sampling(max_tokens=6)
    assert rounded(bare.generate(PROMPTS, sampling)) == rounded(other.generate(PROMPTS, sampling))


def test_real_weights_give_the_same_text_in_both() -> None:
    prompt = "Q: There are 3 cars and 2 more arrive. How many cars are there?\nA: Let's think step by step."
    sampling = Sampling(max_tokens=8, stop=("\n\n",))
    checkpoint = checkpoints.load("smollm2-135m")
    model = DecoderLM.from_checkpoint(checkpoint, share=True)
    engine = EngineModel(model, tokenizer=checkpoint.tokenizer, name="SmolLM2", num_gpu_blocks_override=20)
    other = TransformersModel.from_pretrained(checkpoint.folder, name="SmolLM2")
    ((found,),) = engine.generate([prompt], sampling)
    ((wanted,),) = other.generate([prompt], sampling)
    assert (found.text, found.num_tokens, found.finish_reason) == (wanted.text, wanted.num_tokens, wanted.finish_reason)
    assert found.log_probability == pytest.approx(wanted.log_probability, abs=1e-2)
    assert engine.chat("Hi", "Be brief.") == other.chat("Hi", "Be brief.")
    assert engine.log_likelihood("Paris is in", " France") == pytest.approx(
        other.log_likelihood("Paris is in", " France"), abs=1e-3
    )


def test_loading_warns_of_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    TransformersModel.from_pretrained(folder, dtype=torch.float32)
    assert "deprecated" not in capfd.readouterr().err
