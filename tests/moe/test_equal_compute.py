"""Budgets: operations are those that are counted while a step runs, and shares buy as many steps as they pay for."""

import pytest
import torch
from torch import Tensor

from kb import counting
from kb.lm import DecoderLM
from kb.moe.domains import Domain
from kb.moe.equal_compute import Recipe, active_parameters, step_flops
from kb.moe.language_model import moe_layers
from kb.training import encode_bytes, next_token_loss, random_windows

RECIPE = Recipe(budget=20, length=16, batch=4)
TEXT_N = encode_bytes("the cat sat on the mat, and the dog on the log. " * 40)


def models() -> dict[str, DecoderLM]:
    return {"dense": RECIPE.dense(0), "sparse": RECIPE.sparse(0), "narrow": RECIPE.sparse(0, inner=88)}


@pytest.mark.parametrize("name", ["dense", "sparse", "narrow"])
def test_operations_of_a_step_are_those_counted(name: str) -> None:
    model = models()[name]
    (tokens_BT,) = random_windows(TEXT_N, 16, 4, seed=0, steps=1)
    forward = counting.count(lambda: model(tokens_BT[:, :-1]))
    # The weighted sum of a token's experts runs as a product here, and is none by the convention of kb.lm.cost.
    sums = 2 * RECIPE.router.top_k * 64 * 64 * len(moe_layers(model))
    assert 3 * (forward.flops - sums) == step_flops(model, 4, 16)


def test_active_parameters_by_hand() -> None:
    config = RECIPE.config
    attention, network = 4 * 64 * 64, 3 * 64 * 176
    rest = 2 * attention + 256 * 64  # and the head, which is the embedding
    sizes = {name: active_parameters(model) for name, model in models().items()}
    assert config.num_layers == 2
    assert sizes == {
        "dense": rest + 2 * network,
        "sparse": rest + 2 * (2 * network + 4 * 64),
        "narrow": rest + 2 * (network + 4 * 64),
    }


def test_a_share_buys_fewer_steps_of_a_model_that_costs_more() -> None:
    dense, sparse = RECIPE.dense(0), RECIPE.sparse(0)
    assert RECIPE.steps(dense, 1.0) == 20
    ratio = step_flops(sparse, 4, 16) / step_flops(dense, 4, 16)
    assert 1.4 < ratio < 1.7
    assert RECIPE.steps(sparse, 1.0) == round(20 / ratio)
    assert RECIPE.steps(dense, 0.001) == 1


def test_training_leaves_the_model_and_is_repeatable() -> None:
    for model in (RECIPE.dense(0), RECIPE.sparse(0)):
        before = [parameter.clone() for parameter in model.parameters()]
        one, steps = RECIPE.trained(model, TEXT_N, 1.0, seed=3)
        other, _ = RECIPE.trained(model, TEXT_N, 1.0, seed=3)
        assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
        assert len(steps) == RECIPE.steps(model, 1.0)
        assert steps[-1].loss < steps[0].loss
        assert steps[-1].rate == pytest.approx(0.05 * RECIPE.learning_rate)


def test_the_rate_stays_where_something_follows() -> None:
    _, steps = RECIPE.trained(RECIPE.dense(0), TEXT_N, 1.0, seed=0, last=False)
    assert {step.rate for step in steps[10:]} == {RECIPE.learning_rate}


def test_bits_of_a_model_that_knows_nothing_are_eight() -> None:
    class Uniform(torch.nn.Module):
        def forward(self, tokens_BT: Tensor) -> Tensor:
            return torch.zeros(*tokens_BT.shape, 256)

    parts = {"one": Domain(TEXT_N, TEXT_N[:300]), "two": Domain(TEXT_N, TEXT_N[300:700])}
    assert RECIPE.bits(Uniform(), parts) == pytest.approx({"one": 8.0, "two": 8.0})
    model = RECIPE.dense(0)
    windows_BT = TEXT_N[:289].unfold(0, 17, 16)
    assert RECIPE.bits(model, parts)["one"] == pytest.approx(
        float(next_token_loss(model, windows_BT).detach()) / 0.6931471806
    )


@pytest.mark.parametrize("share", [0, -1, float("nan"), "half"])
def test_shares_that_buy_nothing_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share must be a positive number"):
        RECIPE.steps(RECIPE.dense(0), share)


def test_recipes_with_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="budget must be an integer of at least 1, got 0"):
        Recipe(budget=0)
