"""Budgets: operations are those that are counted while a step runs, and shares buy as many steps as they pay for."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kb import counting
from kb.lm import DecoderLM
from kb.moe import RouterConfig
from kb.moe.domains import Domain
from kb.moe.equal_compute import Recipe, active_parameters, step_flops
from kb.moe.language_model import moe_layers
from kb.moe.upcycling import upcycle
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


def test_the_rate_rises_over_the_warm_up() -> None:
    recipe = Recipe(budget=20, length=16, batch=4, warmup=4)
    _, steps = recipe.trained(recipe.dense(0), TEXT_N, 1.0, seed=0, last=False)
    rates = [step.rate / recipe.learning_rate for step in steps[:5]]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_sparse_models_are_trained_with_the_factor_of_switch_that_was_asked_for() -> None:
    def learnt(switch: float) -> list[Tensor]:
        recipe = Recipe(budget=3, length=16, batch=4, switch=switch)
        model, _ = recipe.trained(recipe.sparse(0), TEXT_N, 1.0, seed=0)
        return [layer.router.weight.detach() for layer in moe_layers(model)]

    none, some = learnt(0.0), learnt(1.0)
    assert not any(torch.equal(a, b) for a, b in zip(none, some, strict=True))


def test_active_parameters_of_an_untied_head_and_of_a_shared_network() -> None:
    attention, network, words = 4 * 64 * 64, 3 * 64 * 176, 256 * 64
    untied = Recipe(config=replace(RECIPE.config, tie_embeddings=False)).dense(0)
    assert active_parameters(untied) == 2 * (attention + network) + words  # the head; rows of words are looked up
    shared = upcycle(RECIPE.dense(0), RouterConfig(4, 2), seed=0, shared_inner=76)
    of_layer = attention + 3 * 64 * 76 + 2 * 3 * 64 * 100 + 4 * 64
    assert active_parameters(shared) == 2 * of_layer + words


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


@pytest.mark.parametrize(
    ("name", "value"), [("learning_rate", float("nan")), ("std", 0.0), ("switch", -1.0), ("warmup", None)]
)
def test_a_recipe_with_a_number_out_of_range_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        replace(RECIPE, **{name: value})


def test_no_width_is_not_the_full_one() -> None:
    with pytest.raises(ValueError, match="inner"):
        RECIPE.sparse(0, inner=0)
