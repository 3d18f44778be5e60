"""Experts on 2 and 4 processes give the outputs, routings and gradients of one process with all tokens."""

from typing import Any

import pytest
import torch

from kb.moe.parallel import Ranks
from tests.moe.parallel import cases

# By what sums differ whose terms come in another order; outputs and gradients are of order 1.
CLOSE = {torch.float64: 1e-10, torch.float32: 1e-5}
UNEVEN = {2: [7, 4], 4: [7, 1, 12, 3]}


def assert_equal(ranks: Ranks, tokens: list[int], experts: int, **settings: Any) -> None:
    bound = CLOSE[settings.get("dtype", torch.float64)]
    for rank, found in enumerate(ranks.call(cases.differences, tokens, experts, **settings)):
        assert {name for name in found if not found[name] <= bound} == set(), f"rank {rank}: {found}"
        assert "router.weight" in found
        assert any(name.startswith("experts.") for name in found)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("options", [{}, {"overlap": 3}, {"node_size": 2}, {"overlap": 2, "node_size": 2}], ids=str)
def test_uneven_tokens_and_a_shared_expert(some: Ranks, options: dict[str, Any], dtype: torch.dtype) -> None:
    assert_equal(some, UNEVEN[len(some)], 8, top_k=3, shared=True, dtype=dtype, options=options)


@pytest.mark.parametrize("options", [{}, {"overlap": 2}, {"node_size": 2}], ids=str)
def test_ranks_without_tokens(some: Ranks, options: dict[str, Any]) -> None:
    tokens = [0, 5] if len(some) == 2 else [3, 0, 0, 2]
    assert_equal(some, tokens, 4, top_k=2, shared=True, options=options)


@pytest.mark.parametrize("bank", ["swiglu", "modules"])
@pytest.mark.parametrize("favourite", [0, 3])
def test_all_tokens_to_one_expert(some: Ranks, favourite: int, bank: str) -> None:
    assert_equal(some, UNEVEN[len(some)], 4, top_k=1, favourite=favourite, bank=bank)


def test_more_experts_than_rows(four: Ranks) -> None:
    assert_equal(four, [1, 2, 0, 1], 16, top_k=1)


def test_no_tokens_anywhere(some: Ranks) -> None:
    assert_equal(some, [0] * len(some), 4, top_k=2, shared=True)


@pytest.mark.parametrize("node_size", [1, 2, 4])
def test_nodes_of_any_size(four: Ranks, node_size: int) -> None:
    assert_equal(four, UNEVEN[4], 8, top_k=2, options={"node_size": node_size, "overlap": 2})


@pytest.mark.parametrize("options", [{}, {"overlap": 2, "node_size": 2}], ids=str)
@pytest.mark.parametrize(
    "config",
    [
        {"top_k": 2, "capacity_factor": 0.5},
        {"top_k": 2, "capacity_factor": 1.0, "drop": "score"},
        {"top_k": 2, "choice": "expert"},
    ],
    ids=str,
)
def test_capacity_is_counted_rank_by_rank(four: Ranks, config: dict[str, Any], options: dict[str, Any]) -> None:
    assert_equal(four, UNEVEN[4], 8, whole=False, shared=True, options=options, **config)


@pytest.mark.parametrize("options", [{}, {"overlap": 2, "node_size": 2}], ids=str)
def test_modules_of_another_width_out(some: Ranks, options: dict[str, Any]) -> None:
    assert_equal(some, UNEVEN[len(some)], 4, top_k=2, bank="modules", shared=True, options=options)


def test_sigmoid_groups_and_a_scale(four: Ranks) -> None:
    config = {"scoring": "sigmoid", "num_groups": 4, "top_groups": 2, "group_score": "top2", "scale": 2.5, "bias": True}
    assert_equal(four, UNEVEN[4], 8, top_k=3, **config)
