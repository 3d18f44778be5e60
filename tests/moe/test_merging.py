"""Merging: equal models give what one of them gives, different ones their own experts, unlike ones an error."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kb.lm import DecoderLM, ModelConfig
from kb.moe import RouterConfig
from kb.moe.language_model import moe_layers
from kb.moe.merging import Ensemble, average, branch_train_mix
from kb.moe.upcycling import matrices, upcycle
from kb.training import initialize, next_token_loss

CONFIG = ModelConfig(31, 16, 24, 2, 4, 2, 4, 64, tie_embeddings=True)


def model_of(seed: int, **changes: Any) -> DecoderLM:
    model = DecoderLM(replace(CONFIG, **changes))
    initialize(model, seed=seed, std=0.3)
    return model


def tokens_of(B: int = 3, T: int = 12) -> Tensor:
    return torch.randint(31, (B, T), generator=torch.Generator().manual_seed(0))


def test_equal_models_merge_to_what_upcycling_makes_of_one() -> None:
    model, config = model_of(0), RouterConfig(3, 2)
    merged = branch_train_mix([model] * 3, config, seed=5).state_dict()
    upcycled = upcycle(model, config, seed=5).state_dict()
    assert list(merged) == list(upcycled)
    assert all(torch.equal(merged[name], upcycled[name]) for name in merged)


def test_expert_i_is_the_network_of_model_i_and_the_rest_is_the_mean() -> None:
    models = [model_of(seed) for seed in range(3)]
    merged = branch_train_mix(models, RouterConfig(3, 2), seed=0)
    for i, layer in enumerate(moe_layers(merged)):
        x_TD = torch.randn(5, 16)
        for expert, model in zip(layer.experts.functions(), models, strict=True):
            torch.testing.assert_close(expert(x_TD), model.layers[i].mlp(x_TD))
    sources = [dict(model.named_parameters()) for model in models]
    for name, parameter in merged.named_parameters():
        if ".mlp." not in name:
            mean = torch.stack([source[name] for source in sources]).mean(0)
            torch.testing.assert_close(parameter, mean)
    assert merged.lm_head.weight is merged.embed_tokens.weight


@pytest.mark.parametrize("tie", [True, False])
def test_heads_are_tied_as_they_were(tie: bool) -> None:
    models = [model_of(seed, tie_embeddings=tie) for seed in range(2)]
    for merged in (average(models), branch_train_mix(models, RouterConfig(2, 1), seed=0)):
        assert (merged.lm_head.weight is merged.embed_tokens.weight) == tie
        assert merged.lm_head.weight is not models[0].lm_head.weight
        next_token_loss(merged, tokens_of()).backward()
        assert all(p.grad is not None for name, p in merged.named_parameters() if "router" not in name)


@settings(max_examples=25)
@given(weights=st.lists(st.floats(0.01, 1), min_size=1, max_size=4))
def test_a_weighted_average_is_the_sum_of_weight_times_parameter(weights: list[float]) -> None:
    weights = [weight / sum(weights) for weight in weights]
    models = [model_of(seed).double() for seed in range(len(weights))]
    merged = average(models, weights)
    for name, parameter in merged.named_parameters():
        wanted = sum(w * dict(model.named_parameters())[name] for w, model in zip(weights, models, strict=True))
        torch.testing.assert_close(parameter, wanted)


def test_the_average_of_equal_models_is_that_model_to_the_last_bit() -> None:
    model = model_of(0)
    merged = average([model] * 3)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), merged.parameters(), strict=True))


def test_half_precision_is_averaged_in_single() -> None:
    models = [model_of(seed).to(torch.bfloat16) for seed in range(3)]
    merged = average(models)
    for name, parameter in merged.named_parameters():
        wanted = torch.stack([dict(model.named_parameters())[name].double() for model in models]).mean(0)
        assert parameter.dtype is torch.bfloat16
        torch.testing.assert_close(parameter.double(), wanted, rtol=2**-8, atol=1e-6)


def posterior_loop(models: list[DecoderLM], tokens_T: Tensor) -> Tensor:
    """[T, V] by Bayes' rule, token by token, in probabilities: the reference."""
    prior_M = torch.full((len(models),), 1 / len(models), dtype=torch.float64)
    probabilities_MTV = torch.stack([model(tokens_T[None])[0].softmax(-1) for model in models])
    rows = []
    for t in range(len(tokens_T)):
        rows.append((prior_M[:, None] * probabilities_MTV[:, t]).sum(0))
        if t + 1 < len(tokens_T):
            prior_M = prior_M * probabilities_MTV[:, t, tokens_T[t + 1]]
            prior_M = prior_M / prior_M.sum()
    return torch.stack(rows)


def test_the_ensemble_is_bayes_rule() -> None:
    models = [model_of(seed).double() for seed in range(3)]
    tokens_BT = tokens_of()
    with torch.no_grad():
        ours_BTV = Ensemble(models)(tokens_BT).exp()
        wanted_BTV = torch.stack([posterior_loop(models, tokens_T) for tokens_T in tokens_BT])
    torch.testing.assert_close(ours_BTV, wanted_BTV)


@pytest.mark.parametrize("weighting", ["uniform", "posterior"])
def test_an_ensemble_gives_probabilities_and_looks_at_no_token_to_come(weighting: str) -> None:
    ensemble = Ensemble([model_of(seed) for seed in range(3)], weighting=weighting)
    tokens_BT = tokens_of()
    with torch.no_grad():
        log_BTV, weights_MBT = ensemble(tokens_BT), ensemble.weights(tokens_BT)
        torch.testing.assert_close(log_BTV.exp().sum(-1), torch.ones(3, 12))
        torch.testing.assert_close(weights_MBT.sum(0), torch.ones(3, 12))
        assert torch.allclose(weights_MBT[:, :, 0], torch.tensor(1 / 3))
        changed_BT = tokens_BT.clone()
        changed_BT[:, 7:] = (changed_BT[:, 7:] + 1) % 31
        torch.testing.assert_close(ensemble(changed_BT)[:, :7], log_BTV[:, :7])


def test_an_ensemble_of_one_is_that_model() -> None:
    model, tokens_BT = model_of(0), tokens_of()
    torch.testing.assert_close(Ensemble([model])(tokens_BT), model(tokens_BT).log_softmax(-1))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vocab_size": 32}, "model 1 has vocab_size 32, and model 0 has 31: their tokens mean different things"),
        ({"intermediate_size": 28}, "model 1 has intermediate_size 28, and model 0 has 24"),
        ({"num_layers": 3}, "num_layers"),
        ({"tie_embeddings": False}, "tie_embeddings"),
        ({"activation": "gelu"}, "activation"),
    ],
)
def test_models_that_differ_are_refused(changes: dict[str, Any], said: str) -> None:
    models = [model_of(0), model_of(0, **changes)]
    for merge in (average, Ensemble, lambda both: branch_train_mix(both, RouterConfig(2, 1), seed=0)):
        with pytest.raises(ValueError, match=said):
            merge(models)


def test_models_of_one_configuration_may_still_differ() -> None:
    sparse = upcycle(model_of(0), RouterConfig(2, 1), seed=0)
    with pytest.raises(ValueError, match=r"model 1 has .* for layers\.0\.mlp"):
        average([model_of(0), sparse])
    with pytest.raises(ValueError, match="float64"):
        average([model_of(0), model_of(0).double()])
    with pytest.raises(TypeError, match="layer 0 must have a SwiGLU network"):
        branch_train_mix([sparse, sparse], RouterConfig(2, 1), seed=0)


def test_numbers_that_do_not_fit_are_refused() -> None:
    models = [model_of(0), model_of(1)]
    with pytest.raises(ValueError, match="at least one model, got none"):
        average([])
    with pytest.raises(ValueError, match="config wants 3 experts, and there are 2 models"):
        branch_train_mix(models, RouterConfig(3, 1), seed=0)
    with pytest.raises(ValueError, match="seed must be an integer"):
        branch_train_mix(models, RouterConfig(2, 1), seed=0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="router_std"):
        branch_train_mix(models, RouterConfig(2, 1), seed=0, router_std=float("inf"))
    with pytest.raises(ValueError, match=r"weights must sum to 1, got 1\.5"):
        average(models, [1, 0.5])
    with pytest.raises(ValueError, match="weights must be 2 numbers"):
        average(models, [1])
    with pytest.raises(ValueError, match="weighting 'best' is not known"):
        Ensemble(models, weighting="best")
    assert matrices(models[0].layers[0].mlp)[0].shape == (24, 16)
