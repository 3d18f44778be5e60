"""Sampling, the task of sums, and the stages on it: what is drawn, what is kept, and what training moves."""

import copy
import math

import pytest
import torch

from kb.alignment import (
    GRPOConfig,
    PPOConfig,
    Rollout,
    ScalarModel,
    experience,
    response_log_probs,
    rollout,
    train_grpo,
    train_ppo,
)
from kb.alignment.iterations import iteration
from kb.alignment.ppo import ActorCritic, ppo_loss
from kb.alignment.sums_lab import agreement, compare, decoder, learn_directly, learn_reward, scores, supervised
from kb.alignment.sums_task import END, MARK, SumsTask
from kb.lm import DecoderLM
from kb.training import initialize

TASK = SumsTask()


def lively(seed: int = 0) -> DecoderLM:
    """A decoder whose distributions are far from flat."""
    model = decoder(TASK, seed=seed, width=16, layers=1)
    initialize(model, seed=seed, std=0.4)
    return model.eval()


def sample(model: DecoderLM, size: int = 40, seed: int = 0, **options: float) -> Rollout:
    generator = torch.Generator().manual_seed(seed)
    prompts = TASK.draw_prompts(size, generator)
    return rollout(model, prompts, TASK.longest, end_id=END, generator=generator, **options)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_kept_log_probs_are_those_of_a_fresh_pass(temperature: float) -> None:
    model = lively()
    sampled = sample(model, temperature=temperature)
    again = response_log_probs(model, sampled.tokens, sampled.mask, temperature=temperature)
    torch.testing.assert_close(again, sampled.log_probs, rtol=1e-4, atol=1e-4)
    assert again.requires_grad
    assert not sampled.log_probs[~sampled.choice_mask].any()


def test_the_mask_is_the_response_up_to_its_first_end() -> None:
    sampled = sample(lively())
    assert 0 < int(sampled.ended.sum()) < len(sampled)  # both kinds are there
    for tokens, mask, ended in zip(sampled.tokens.tolist(), sampled.mask.tolist(), sampled.ended.tolist(), strict=True):
        response = tokens[4:]
        length = response.index(END) + 1 if END in response else len(response)
        assert mask == [False] * 4 + [True] * length + [False] * (len(response) - length)
        assert ended == (END in response)
    assert sampled.lengths.tolist() == sampled.mask.sum(1).tolist()


def test_draws_follow_the_model_and_the_seed() -> None:
    model = lively()
    prompt = torch.tensor([[1, 10, 2, 11]])
    first = rollout(model, prompt.repeat(4000, 1), 1, end_id=END, generator=torch.Generator().manual_seed(0))
    share = torch.bincount(first.tokens[:, 4], minlength=14) / 4000
    torch.testing.assert_close(share, model(prompt)[0, -1].softmax(0).detach(), rtol=0, atol=0.03)
    assert torch.equal(sample(model).tokens, sample(model).tokens)
    assert not torch.equal(sample(model, seed=1).tokens, sample(model).tokens)


def test_gold_rewards_by_hand() -> None:
    rows = {"1+2=3.": 2.0, "1+2=3!!.": 3.0, "1+2=4!.": 0.5, "1+2=3!!!!.": 2.0, "1+2=3!!7.": 2.5, "1+2=.": 0.0}
    symbols = "0123456789+=!."
    for text, gold in rows.items():
        ids = torch.tensor([[symbols.index(one) for one in text.ljust(12, ".")]])
        assert float(TASK.gold(ids)) == gold, text
        assert TASK.text(ids[0]) == text


def test_demonstrations_are_as_described() -> None:
    tokens, mask = TASK.demonstrations(4000, torch.Generator().manual_seed(0))
    assert float(TASK.correct(tokens).float().mean()) == pytest.approx(0.6, abs=0.04)
    assert torch.bincount(TASK.marks(tokens)).tolist() == [pytest.approx(4000 / 3, rel=0.1)] * 3
    assert mask.sum(1).tolist() == (2 + TASK.marks(tokens)).tolist()
    assert not mask[:, :4].any()
    assert torch.equal(tokens[mask][mask.sum(1).cumsum(0) - 1], torch.full((4000,), END))


def test_raters_follow_bradley_and_terry() -> None:
    right, wrong = torch.tensor([[1, 10, 2, 11, 3, END]]), torch.tensor([[1, 10, 2, 11, 4, END]])
    wins = TASK.prefers_first(right.repeat(4000, 1), wrong.repeat(4000, 1), torch.Generator().manual_seed(0))
    assert float(wins.float().mean()) == pytest.approx(1 / (1 + math.exp(-2)), abs=0.02)


def test_the_first_loss_of_ppo_is_the_value_loss_alone() -> None:
    """Whitened advantages have mean 0 and the ratio is 1, so the policy's loss is 0: a check that finds most bugs."""
    model = lively()
    value = ScalarModel(model, generator=torch.Generator().manual_seed(0))
    config = PPOConfig(1, TASK.longest, END, beta=0.1)
    both = ActorCritic(copy.deepcopy(model), value)
    one, scores_B, reference_BS = iteration(
        both.policy,
        model,
        lambda found: TASK.gold(found.tokens),
        TASK.draw_prompts(64, torch.Generator().manual_seed(0)),
        longest=TASK.longest,
        end_id=END,
        generator=torch.Generator().manual_seed(1),
    )
    assert one.kl == pytest.approx(0, abs=1e-4)
    batch = experience(both, one.rollout, scores_B, reference_BS, config)
    loss, watched = ppo_loss(both, batch, clip=0.2, value_weight=0.5)
    assert float(watched["policy_loss"]) == pytest.approx(0, abs=1e-4)
    assert float(watched["clip_fraction"]) == 0
    assert float(loss.detach()) == pytest.approx(0.5 * float(watched["value_loss"]), abs=1e-4)


def test_ppo_and_grpo_learn_to_say_what_pays_and_leave_the_reference_alone() -> None:
    model = lively()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def marks(sampled: Rollout) -> torch.Tensor:
        return TASK.marks(sampled.tokens).float()

    policy = copy.deepcopy(model)
    config = PPOConfig(12, TASK.longest, END, batch=32, learning_rate=1e-2, beta=0.0)
    told = train_ppo(policy, ScalarModel(model), model, marks, TASK.draw_prompts, config)
    assert len(told) == 12
    assert told[-1].score > told[0].score + 1
    assert told[-1].kl > 0.5
    policy = copy.deepcopy(model)
    group = GRPOConfig(12, TASK.longest, END, prompts=4, learning_rate=1e-2)
    told = train_grpo(policy, model, marks, TASK.draw_prompts, group)
    assert told[-1].score > told[0].score + 1
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_stages_run_and_each_learns_something() -> None:
    generator = torch.Generator().manual_seed(0)
    model = decoder(TASK, seed=0, width=16, layers=1)
    losses = supervised(model, TASK, steps=60, seed=0)
    assert losses[-1] < losses[0] - 0.8
    pairs = compare(model, TASK, 600, generator)
    assert torch.equal(pairs.better[:, :4], pairs.worse[:, :4])
    reward, _ = learn_reward(model, pairs, steps=150, seed=0)
    assert agreement(reward, pairs) > 0.55
    with torch.no_grad():
        tokens = torch.tensor([[1, 10, 2, 11, 3, END, END], [1, 10, 2, 11, 3, MARK, END]])
        mask = torch.tensor([[0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 1, 1, 1]]).bool()
        plain, marked = scores(reward, tokens, mask).tolist()
    assert marked > plain
    _, losses = learn_directly(model, pairs, steps=40, beta=0.1, seed=0)
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4)  # policy and reference are the same at first
    assert sum(losses[-10:]) / 10 < math.log(2)


def test_bad_input_is_named() -> None:
    model, generator = lively(), torch.Generator()
    prompts = TASK.prompts()
    for wrong, told in (
        (lambda: rollout(model, prompts[0], 3, end_id=END, generator=generator), "prompts"),
        (lambda: rollout(model, prompts, 0, end_id=END, generator=generator), "max_new_tokens"),
        (lambda: rollout(model, prompts, 13, end_id=END, generator=generator), "context"),
        (lambda: rollout(model, prompts, 3, end_id=14, generator=generator), "end_id"),
        (lambda: rollout(model, prompts, 3, end_id=END, generator=generator, temperature=0.0), "temperature"),
        (lambda: SumsTask(right=-1.0), "right"),
        (lambda: SumsTask(largest=5), "largest"),
        (lambda: SumsTask(longest=3), "longest"),
        (lambda: SumsTask(right_share=2.0), "right_share"),
        (lambda: TASK.gold(prompts), "tokens"),
        (lambda: PPOConfig(1, 12, END, batch=10, minibatches=4), "minibatches"),
        (lambda: PPOConfig(1, 12, END, beta=-1.0), "beta"),
        (lambda: PPOConfig(1, 12, END, clip=0.0), "clip"),
        (lambda: PPOConfig(1, 12, END, decay=2.0), "decay"),
        (lambda: PPOConfig(1, 12, END, learning_rate=-1.0), "learning_rate"),
        (lambda: GRPOConfig(1, 12, END, group=1), "group"),
        (lambda: GRPOConfig(1, 12, END, average="mean"), "average"),
        (lambda: GRPOConfig(1, 12, END, learning_rate=0.0), "learning_rate"),
        (lambda: train_ppo(model, ScalarModel(model), model, TASK.gold, TASK.draw_prompts, PPOConfig(1, 12, END)),
         "two modules"),
        (lambda: train_grpo(model, model, TASK.gold, TASK.draw_prompts, GRPOConfig(1, 12, END)), "two modules"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=told):
            wrong()
    with pytest.raises(TypeError, match="prompts"):
        rollout(model, prompts.int(), 3, end_id=END, generator=generator)
    with pytest.raises(TypeError, match="generator"):
        rollout(model, prompts, 3, end_id=END, generator=0)  # type: ignore[arg-type]
