"""Multiple choice: batched likelihoods equal the loop's, rules by hand, cuts as lm-eval's."""

import math

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from kb.evaluation import ScoredChoices, encode_pair, log_likelihood_loop, log_likelihoods, score_choices


class Words:
    """A token is a word with the space before it."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def encode(self, text: str) -> list[int]:
        words = text.replace(" ", "\0 ").split("\0")
        return [self.known.setdefault(word, len(self.known)) for word in words if word]


@pytest.fixture(scope="module")
def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=40, **sizes)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3)
    return model


def test_batches_equal_the_loop(llama: LlamaForCausalLM) -> None:
    draw = np.random.default_rng(0)
    pairs = [
        (draw.integers(40, size=a).tolist(), draw.integers(40, size=b).tolist())
        for a, b in draw.integers(1, 9, size=(11, 2))
    ]

    def model(ids: torch.Tensor) -> torch.Tensor:
        return llama(ids).logits

    fast = log_likelihoods(model, pairs, batch_size=4)
    slow = [log_likelihood_loop(model, *pair) for pair in pairs]
    assert fast == pytest.approx(slow, rel=1e-4, abs=1e-4)


def test_rules_by_hand() -> None:
    found = ScoredChoices(("no", "not at all", "是的"), (-4.0, -6.0, -5.0), (1, 3, 1), (-1.0, -5.5, -4.5))
    assert found.pick("sum") == 0
    assert found.scores("token") == [-4.0, -2.0, -5.0]
    assert found.scores("character") == [-2.0, -0.6, -2.5]
    assert found.scores("byte") == [-2.0, -0.6, -5.0 / 6]
    assert found.scores("unconditional") == [-3.0, -0.5, -0.5]
    assert found.pick("unconditional") == 1  # the first of equals
    with pytest.raises(ValueError, match="rule"):
        found.pick("length")
    with pytest.raises(ValueError, match="unconditional"):
        ScoredChoices(("a", "b"), (-1.0, -2.0), (1, 1)).pick("unconditional")
    for values in (
        (("a", ""), (-1.0, -2.0), (1, 1)),
        (("a", "b"), (-1.0,), (1, 1)),
        (("a", "b"), (-1.0, math.nan), (1, 1)),
        (("a", "b"), (-1.0, -2.0), (1, 0)),
    ):
        with pytest.raises(ValueError, match=r"choices|log_likelihoods|tokens"):
            ScoredChoices(*values)


def test_rules_equal_the_lines_of_lm_eval() -> None:
    """np.argmax(lls), lls / characters, lls / bytes: api/task.py, process_results of multiple_choice."""
    draw = np.random.default_rng(1)
    for _ in range(50):
        choices = ["x" * n for n in draw.integers(1, 30, size=4)]
        lls = -draw.random(4) * 20
        found = ScoredChoices(tuple(choices), tuple(lls.tolist()), (1, 1, 1, 1))
        assert found.pick("sum") == np.argmax(lls)
        assert found.pick("character") == np.argmax(lls / np.array([float(len(one)) for one in choices]))


def test_a_pair_is_cut_behind_the_context_and_spaces_move() -> None:
    words = Words()
    before, after = encode_pair(words, "who is it: ", "the king")
    assert before == words.encode("who is it:")
    assert after == words.encode(" the king")
    with pytest.raises(ValueError, match="continuation"):
        encode_pair(words, "who", "")


def test_choices_are_scored_with_and_without_the_question() -> None:
    words = Words()
    ids = words.encode("what? Answer: yes no")

    def model(tokens: torch.Tensor) -> torch.Tensor:
        """Says yes after the question, and no where there is none."""
        logits = torch.zeros(*tokens.shape, 10)
        asked = (tokens[:, :1] == ids[0]).float()
        logits[..., ids[2]], logits[..., ids[3]] = 3 * asked, 3 * (1 - asked)
        return logits

    found = score_choices(model, words, "what? Answer:", ["yes", "no"], neutral="Answer:")
    assert found.pick("sum") == found.pick("unconditional") == 0
    assert found.unconditional is not None
    assert found.unconditional[1] > found.unconditional[0]
    assert found.tokens == (1, 1)


def test_bad_input() -> None:
    def model(ids: torch.Tensor) -> torch.Tensor:
        return torch.zeros(*ids.shape, 4)

    with pytest.raises(ValueError, match="choices"):
        score_choices(model, Words(), "a", ["b"])
    with pytest.raises(ValueError, match="pairs"):
        log_likelihoods(model, [([], [1])])
    with pytest.raises(ValueError, match="batch_size"):
        log_likelihoods(model, [([1], [1])], batch_size=0)
