"""Perplexity: windows by hand and by property, scores equal to the loop's and to transformers'."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from kb.evaluation import Perplexity, Window, perplexity, token_log_likelihoods, token_log_likelihoods_loop, windows


class Bytes:
    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode()


@pytest.fixture(scope="module")
def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=256, **sizes)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3)
    return model


def test_windows_by_hand() -> None:
    assert windows(10, 6, 2) == [Window(0, 6, 1), Window(2, 8, 6), Window(4, 10, 8)]
    assert windows(3, 6, 2) == [Window(0, 3, 1)]
    assert windows(7, 6, 5)[-1] == Window(1, 7, 6)


@settings(max_examples=40)
@given(st.integers(2, 60), st.integers(2, 20), st.integers(1, 19))
def test_every_token_but_the_first_is_scored_once(length: int, context: int, stride: int) -> None:
    if stride >= context:
        with pytest.raises(ValueError, match="stride"):
            windows(length, context, stride)
        return
    found = windows(length, context, stride)
    assert [place for one in found for place in range(one.scored, one.end)] == list(range(1, length))
    assert all(one.end - one.start <= context for one in found)
    assert all(one.scored - one.start >= min(context - stride, one.scored) for one in found)


def test_one_window_equals_the_loss_of_transformers(llama: LlamaForCausalLM) -> None:
    tokens = torch.randint(0, 256, (30,), generator=torch.Generator().manual_seed(1))
    found = token_log_likelihoods(lambda ids: llama(ids).logits, tokens, context=64, stride=32)
    with torch.inference_mode():
        theirs = llama(tokens[None], labels=tokens[None]).loss
    assert float(-found.mean()) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize(("context", "stride"), [(8, 1), (8, 3), (8, 7), (5, 4)])
def test_windows_equal_the_loop(llama: LlamaForCausalLM, context: int, stride: int) -> None:
    tokens = torch.randint(0, 256, (23,), generator=torch.Generator().manual_seed(2))

    def model(ids: torch.Tensor) -> torch.Tensor:
        return llama(ids).logits

    fast = token_log_likelihoods(model, tokens, context=context, stride=stride)
    slow = token_log_likelihoods_loop(model, tokens, context=context, stride=stride)
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-4)


def test_a_uniform_model_is_as_unsure_as_its_vocabulary() -> None:
    found = perplexity(lambda ids: torch.zeros(*ids.shape, 256), Bytes(), "naïve text", context=4, stride=2)
    assert (found.tokens, found.bytes) == (10, 10)  # ï is two bytes, and the first letter is given
    assert found.per_token == pytest.approx(256)
    assert found.bits_per_byte == pytest.approx(8)
    assert found.per_byte == pytest.approx(256)


def test_the_same_nats_over_fewer_tokens_are_a_higher_perplexity_and_the_same_bits() -> None:
    fine, coarse = Perplexity(100.0, 50, 200), Perplexity(100.0, 25, 200)
    assert coarse.per_token == pytest.approx(fine.per_token**2)
    assert coarse.bits_per_byte == fine.bits_per_byte == pytest.approx(100 / math.log(2) / 200)


@pytest.mark.parametrize(("first", "counted"), [("<s>", 5), ("\ufffd", 4), ("n", 4)])
def test_the_bytes_of_the_first_token_are_those_that_stand_in_the_text(first: str, counted: int) -> None:
    """A token that begins every text has none there, and a part of a character, which decodes to U+FFFD, has one."""

    class Stub:
        def encode(self, text: str) -> list[int]:
            return [0, 1, 2]

        def decode(self, ids: list[int]) -> str:
            return first

    found = perplexity(lambda ids: torch.zeros(*ids.shape, 4), Stub(), "n\u00efce", context=4, stride=2)
    assert found.bytes == counted


def test_bad_input() -> None:
    for numbers in ((math.nan, 1, 1), (-1.0, 1, 1), (1.0, 0, 1), (1.0, 1, 0)):
        with pytest.raises(ValueError, match=r"nats|tokens|bytes"):
            Perplexity(*numbers)
    for tokens in (torch.tensor([1]), torch.zeros(3), torch.zeros(1, 3, dtype=torch.long), [1, 2]):
        with pytest.raises(ValueError, match="tokens_T"):
            token_log_likelihoods(lambda ids: torch.zeros(*ids.shape, 4), tokens, context=4, stride=2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="text"):
        perplexity(lambda ids: torch.zeros(*ids.shape, 256), Bytes(), "a", context=4, stride=2)
    with pytest.raises(ValueError, match="context"):
        windows(4, 1, 1)
