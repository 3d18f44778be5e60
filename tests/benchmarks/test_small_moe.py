"""The small decoders of the sparse measurements: what a run is, without training one to the end."""

import dataclasses

import pytest
import torch
from torch import nn

from benchmarks import small_moe
from benchmarks.measurements import moe_sparse, moe_sparse_tokens
from kb.counting import count
from kb.moe import ModuleExperts
from kb.moe.language_model import moe_layers

WINDOW = torch.arange(64)[None]


def flops(run: small_moe.Run) -> int:
    model = small_moe.model(run)
    with torch.no_grad():
        return count(lambda: model(WINDOW)).flops


def test_a_token_costs_the_same_whatever_the_number_of_experts_but_for_the_router() -> None:
    dense, router = flops(small_moe.Run("dense", 0)), 2 * 64 * small_moe.WIDTH * small_moe.LAYERS
    weighing = 2 * 64 * small_moe.TOP_K * small_moe.WIDTH * small_moe.LAYERS
    for experts in (2, 8, 32):
        assert flops(small_moe.Run("sparse", 0, experts)) == dense + experts * router + weighing


def test_the_wide_model_has_the_feed_forward_parameters_of_eight_experts() -> None:
    def inner(run: small_moe.Run) -> int:
        found = small_moe.model(run).named_parameters()
        return sum(parameter.numel() for name, parameter in found if "up_proj" in name or "down_proj" in name)

    def gates(run: small_moe.Run) -> int:
        return sum(p.numel() for name, p in small_moe.model(run).named_parameters() if "mlp.gate_proj" in name)

    wide = small_moe.Run(moe_sparse.WIDE, 0, inner=4 * small_moe.INNER)
    assert inner(wide) + gates(wide) == inner(small_moe.Run("8 experts", 0, 8))


def test_every_part_of_the_text_is_used_once_and_none_is_held_out_and_trained_on() -> None:
    whole, held_out = small_moe.texts(1)
    least, same = small_moe.texts(max(moe_sparse_tokens.TEXTS.values()))
    assert torch.equal(held_out, same)
    assert len(least) < len(whole) / 50
    assert len(whole) > 9 * small_moe.LENGTH * len(held_out) * 0.99


def test_banks_of_other_kinds_are_what_their_names_say() -> None:
    for bank, wanted in (("linear", {"Linear"}), ("mixed", {type(one).__name__ for one in small_moe.mixed_experts()})):
        for layer in moe_layers(small_moe.model(small_moe.Run(bank, 0, 8, bank=bank))):
            assert isinstance(layer.experts, ModuleExperts)
            assert {type(one).__name__ for one in layer.experts.experts} == wanted


@pytest.mark.parametrize("expert", small_moe.mixed_experts(), ids=lambda one: type(one).__name__)
def test_an_expert_sees_one_token_at_a_time(expert: nn.Module) -> None:
    rows = torch.randn(5, small_moe.WIDTH, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(expert(rows)[3:4], expert(rows[3:4]))


def test_the_same_run_comes_to_the_same_loss_and_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    train_N, held_out_WT = small_moe.texts(64)
    monkeypatch.setattr(small_moe, "texts", lambda every: (train_N, held_out_WT[:64]))
    run = small_moe.Run("8 experts", 1, 8, steps=12)
    first, second = small_moe.train(run), small_moe.train(run)
    assert first == second
    start = small_moe.train(dataclasses.replace(run, steps=1))
    assert first.held_out < start.held_out
    assert sum(first.load[0]) == pytest.approx(1, abs=1e-3)


def test_the_record_holds_paired_differences() -> None:
    losses = {"a": (2.0, 2.5), "b": (1.5, 2.1)}
    found = {name: [small_moe.Outcome(1.0, one, 10) for one in of] for name, of in losses.items()}
    made = small_moe.measurement("title", found, [("b", "a")], {"steps": 3})
    (told,) = made.facts[small_moe.DIFFERENCES].values()  # type: ignore[attr-defined]
    assert told["mean"] == pytest.approx(-0.45)
    low, high = told["95 % interval"]
    assert low + high == pytest.approx(-0.9)
    assert made.samples["a, held out"].values == [2.0, 2.5]
