"""Bradley and Terry's loss for pairs and for rankings, the scalar head, and the token whose number counts."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from transformers import LlamaConfig, LlamaForSequenceClassification

from kb.alignment import ScalarModel, last_scores, pair_loss, ranking_loss, ranking_loss_loop
from kb.lm import DecoderLM, ModelConfig
from kb.training import initialize

CONFIG = ModelConfig(
    vocab_size=11,
    hidden_size=16,
    intermediate_size=24,
    num_layers=2,
    num_heads=2,
    num_kv_heads=2,
    head_dim=8,
    max_positions=16,
)


def small(seed: int = 0) -> DecoderLM:
    model = DecoderLM(CONFIG)
    initialize(model, seed=seed, std=0.3)
    return model


def test_a_pair_by_hand() -> None:
    better, worse = torch.tensor([math.log(3.0)]), torch.tensor([0.0])
    assert float(pair_loss(better, worse)) == pytest.approx(math.log(4 / 3))  # sigmoid(log 3) = 3/4
    assert float(pair_loss(better, worse, margin=math.log(3.0))) == pytest.approx(math.log(2))


@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(2, 6))
@settings(max_examples=25)
def test_ranking_equals_the_loop_with_gradient_and_knows_no_shift(seed: int, P: int, K: int) -> None:
    rewards = torch.randn(P, K, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()
    loss, loop = ranking_loss(rewards), ranking_loss_loop(rewards)
    torch.testing.assert_close(loss, loop)
    first, second = (torch.autograd.grad(one, [rewards])[0] for one in (loss, loop))
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(first.sum(1), torch.zeros(P, dtype=torch.float64))  # so no constant is learnt
    torch.testing.assert_close(ranking_loss(rewards + 5), loss)


def test_two_responses_are_a_pair_and_nine_make_thirty_six() -> None:
    rewards = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ranking_loss(rewards), pair_loss(rewards[:, 0], rewards[:, 1]))
    equal = torch.zeros(1, 9, dtype=torch.float64).requires_grad_()
    ranking_loss(equal).backward()
    # each of 36 pairs weighs 1/36 and pulls with 1/2: the best wins 8 of them
    assert float(equal.grad[0, 0]) == pytest.approx(-8 / 36 / 2)


def test_a_linear_reward_trained_on_pairs_is_scikit_learns_logistic_regression() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(300, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    truth = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    wins = torch.rand(300, generator=generator, dtype=torch.float64) < torch.sigmoid((first - second) @ truth)
    better = torch.where(wins[:, None], first, second)
    worse = torch.where(wins[:, None], second, first)
    weight = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=100, tolerance_grad=1e-10)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = pair_loss(better @ weight, worse @ weight)
        loss.backward()
        return loss

    optimizer.step(closure)
    difference = torch.cat((better - worse, worse - better)).numpy()
    labels = [1] * 300 + [0] * 300
    theirs = LogisticRegression(C=1e10, fit_intercept=False, tol=1e-10).fit(difference, labels)
    torch.testing.assert_close(weight.detach(), torch.tensor(theirs.coef_[0]), rtol=1e-4, atol=1e-4)


def test_the_scalar_model_is_transformers_sequence_classifier() -> None:
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 2}
    sizes = {"vocab_size": 11, "hidden_size": 16, "intermediate_size": 24, "max_position_embeddings": 16}
    config = LlamaConfig(**heads, **sizes, num_labels=1, pad_token_id=10, rms_norm_eps=1e-5)
    theirs = LlamaForSequenceClassification(config).eval()
    ours = ScalarModel(small())
    ours.trunk.load_state_dict(theirs.model.state_dict())
    with torch.no_grad():
        ours.score.weight.copy_(theirs.score.weight)
    ids = torch.tensor([[1, 2, 3, 4, 10, 10], [5, 6, 7, 8, 9, 1]])
    mask = ids != 10
    wanted = theirs(ids, attention_mask=mask.long()).logits[:, 0]
    torch.testing.assert_close(last_scores(ours(ids), mask), wanted, rtol=1e-4, atol=1e-5)


def test_the_last_number_is_taken_with_padding_on_either_side() -> None:
    scores = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]])
    mask = torch.tensor([[False, True, True, False], [False, False, True, True]])
    assert last_scores(scores, mask).tolist() == [3, 8]


def test_heads_start_and_the_copy_is_a_copy() -> None:
    model = small()
    value, reward = ScalarModel(model), ScalarModel(model, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[1, 2, 3]])
    assert value(ids).tolist() == [[0, 0, 0]]
    assert reward(ids).abs().min() > 0
    before = model.embed_tokens.weight.clone()
    reward(ids).sum().backward()
    with torch.no_grad():
        reward.trunk.embed_tokens.weight.sub_(reward.trunk.embed_tokens.weight.grad)
    assert torch.equal(model.embed_tokens.weight, before)
    assert all(parameter.requires_grad for parameter in reward.parameters())


def test_bad_input_is_named() -> None:
    with pytest.raises(TypeError, match="model"):
        ScalarModel(torch.nn.Linear(1, 1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rewards"):
        ranking_loss(torch.zeros(3, 1))
    with pytest.raises(ValueError, match="better"):
        pair_loss(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match="margin"):
        pair_loss(torch.zeros(2), torch.zeros(2), margin=math.nan)
    with pytest.raises(ValueError, match="mask"):
        last_scores(torch.zeros(1, 2), torch.ones(1, 3, dtype=torch.bool))
