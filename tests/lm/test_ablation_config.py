"""Switches and sizes of the ablated decoder: released widths, equal cost, one change at a time, and what is refused."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from kb.lm import AblationConfig
from kb.lm.ablation_config import count_parameters, forward_flops, gated_width, steps_to_llama, vaswani

LLAMA = AblationConfig(vocab_size=37, width=24, layers=2, heads=4, max_positions=16)


@pytest.mark.parametrize(
    ("width", "multiplier", "multiple_of", "wanted"),
    [
        (4096, 1.0, 256, 11_008),  # LLaMA 7B
        (5120, 1.0, 256, 13_824),  # 13B
        (6656, 1.0, 256, 17_920),  # 33B
        (8192, 1.0, 256, 22_016),  # 65B
        (8192, 1.3, 4096, 28_672),  # Llama 2 70B, Llama 3 70B
        (4096, 1.3, 1024, 14_336),  # Llama 3 8B
        (16_384, 1.2, 4096, 53_248),  # Llama 3.1 405B
    ],
)
def test_gated_widths_are_those_of_the_released_llamas(
    width: int, multiplier: float, multiple_of: int, wanted: int
) -> None:
    assert gated_width(4 * width, multiplier=multiplier, multiple_of=multiple_of) == wanted


def test_a_gated_network_costs_what_an_ungated_one_costs() -> None:
    config = replace(LLAMA, width=96)
    gated, ungated = count_parameters(config), count_parameters(replace(config, ffn="relu"))
    assert gated.ffn == ungated.ffn == 2 * 8 * 96 * 96
    assert forward_flops(config, length=8) == forward_flops(replace(config, ffn="relu"), length=8)


def test_the_path_changes_one_thing_at_a_time_and_ends_at_llama() -> None:
    target = replace(LLAMA, kv_heads=2)
    path = steps_to_llama(target)
    assert path[0] == ("2017", vaswani(target))
    assert path[-1] == ("grouped queries", target)
    for (_, before), (_, after) in pairwise(path):
        changed = [name for name in vars(before) if getattr(before, name) != getattr(after, name)]
        assert len(changed) == 1
    assert [name for name, _ in steps_to_llama(LLAMA)] == [name for name, _ in path[:-1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "batch"}, "norm 'batch'"),
        ({"norm_place": "both"}, "norm_place"),
        ({"position": "none"}, "position"),
        ({"ffn": "silu"}, "ffn"),
        ({"bias": True}, "bias"),
        ({"tie_embeddings": 1}, "tie_embeddings"),
        ({"heads": 5}, "multiple of heads"),
        ({"kv_heads": 3}, "multiple of kv_heads"),
        ({"heads": 8}, "rope turns pairs"),
        ({"width": 9, "heads": 3, "position": "sinusoidal"}, "must be even, got 9"),
        ({"layers": 0}, "layers"),
        ({"inner": 0}, "inner"),
        ({"norm_eps": 0.0}, "norm_eps"),
        ({"rope_theta": 0.5}, "rope_theta"),
    ],
)
def test_refuses_decoders_that_cannot_be(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(LLAMA, **change)


@pytest.mark.parametrize("wrong", [{"length": 0}, {"length": 2, "batch": 1.5}])
def test_refuses_passes_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(reversed(wrong))):
        forward_flops(LLAMA, **wrong)


@pytest.mark.parametrize("wrong", [{"multiplier": 0}, {"multiple_of": 0}, {"multiplier": float("nan")}])
def test_refuses_widths_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        gated_width(8, **wrong)
