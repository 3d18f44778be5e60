"""The pool of pages: its size, writes, copies and pages that come and go; and what it refuses."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.lm import ModelConfig
from kb.serving.kv_cache import PagedKVCache

CONFIG = ModelConfig(
    vocab_size=7,
    hidden_size=8,
    intermediate_size=4,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    head_dim=6,
    max_positions=32,
)


def filled(**options: Any) -> PagedKVCache:
    """A pool in which every number is another."""
    cache = PagedKVCache(CONFIG, **{"num_blocks": 5, "block_size": 4, **options})
    for tensor, first in ((cache.keys_LPSGH, 0), (cache.values_LPSGH, 10_000)):
        tensor.copy_(torch.arange(first, first + tensor.numel()).view(tensor.shape))
    return cache


def random_rows(T: int) -> tuple[torch.Tensor, torch.Tensor]:
    k, v = torch.randn(2, T, 2, 6, generator=torch.Generator().manual_seed(T))
    return k, v


@pytest.mark.parametrize(("dtype", "width"), [(torch.float32, 4), (torch.bfloat16, 2), (torch.float64, 8)])
def test_bytes_are_the_formula(dtype: torch.dtype, width: int) -> None:
    cache = PagedKVCache(CONFIG, num_blocks=5, block_size=4, dtype=dtype)
    # keys and values × layers × tokens × KV heads × head width × bytes
    assert cache.nbytes_per_block == 2 * 3 * 4 * 2 * 6 * width
    assert cache.nbytes == 5 * cache.nbytes_per_block
    assert cache.keys_LPSGH.shape == cache.values_LPSGH.shape == (3, 5, 4, 2, 6)
    assert (cache.num_layers, cache.num_blocks, cache.block_size, cache.dtype) == (3, 5, 4, dtype)


def test_a_token_is_written_to_its_slot_of_its_layer_and_to_no_other() -> None:
    cache, before = filled(), filled()
    k, v = random_rows(3)
    cache.write(1, torch.tensor([9, 0, 19]), k, v)
    for row, slot in enumerate((9, 0, 19)):
        page, offset = divmod(slot, 4)
        assert torch.equal(cache.keys_LPSGH[1, page, offset], k[row])
        assert torch.equal(cache.values_LPSGH[1, page, offset], v[row])
        before.keys_LPSGH[1, page, offset], before.values_LPSGH[1, page, offset] = k[row], v[row]
    assert torch.equal(cache.keys_LPSGH, before.keys_LPSGH)
    assert torch.equal(cache.values_LPSGH, before.values_LPSGH)


def test_views_are_written_and_gradients_let_go() -> None:
    cache, (k, v) = filled(), random_rows(4)
    strided = torch.stack([k, v], dim=-1).requires_grad_()[..., 0]
    cache.write(0, torch.arange(4), strided, v)
    assert torch.equal(cache.keys_LPSGH[0, 0], k)
    assert not cache.keys_LPSGH.requires_grad


def test_a_pool_made_in_inference_mode_is_written_outside_of_it() -> None:
    with torch.inference_mode():
        cache = PagedKVCache(CONFIG, num_blocks=2, block_size=4)
    k, v = random_rows(1)
    cache.write(0, torch.tensor([5]), k, v)
    assert torch.equal(cache.keys_LPSGH[0, 1, 1], k[0])


@settings(max_examples=40)
@given(
    pairs=st.dictionaries(st.integers(0, 4), st.integers(0, 4), max_size=5).map(
        lambda sources: [(source, target) for target, source in sources.items()]
    )
)
def test_copies_read_all_sources_first(pairs: list[tuple[int, int]]) -> None:
    cache, before = filled(), filled()
    cache.copy(pairs)
    held_by = {target: source for source, target in pairs}
    for block in range(5):
        assert torch.equal(cache.page(block), before.page(held_by.get(block, block)))


@pytest.mark.parametrize("pairs", [[(0, 1), (1, 2), (2, 3)], [(2, 4), (4, 2)], [(1, 0), (1, 2), (1, 3)], [(3, 3)]])
def test_a_chain_a_swap_and_one_source_of_many(pairs: list[tuple[int, int]]) -> None:
    cache, before = filled(), filled()
    cache.copy(pairs)
    for source, target in pairs:
        assert torch.equal(cache.page(target), before.page(source))


def test_a_page_goes_out_and_comes_back_to_another_block() -> None:
    cache = filled()
    page = cache.page(3)
    assert page.is_contiguous()
    assert torch.equal(page[0], cache.keys_LPSGH[:, 3])
    assert torch.equal(page[1], cache.values_LPSGH[:, 3])
    cache.keys_LPSGH[:, 3] = torch.nan
    assert page.isfinite().all()  # a copy
    cache.load_page(1, page)
    assert torch.equal(cache.page(1), page)
    assert torch.equal(cache.page(2), filled().page(2))


@pytest.mark.parametrize("block", [-1, 5, 1.0, True, None])
def test_blocks_that_are_not_there_are_refused(block: Any) -> None:
    cache = filled()
    page = cache.page(0)
    for act in (
        lambda: cache.page(block),
        lambda: cache.load_page(block, page),
        lambda: cache.copy([(block, 1)]),
        lambda: cache.copy([(0, 1), (1, block)]),
    ):
        with pytest.raises(ValueError, match="block ids must be integers in 0 to 4"):
            act()
    assert torch.equal(cache.keys_LPSGH, filled().keys_LPSGH)


def test_two_copies_to_one_block_are_refused() -> None:
    with pytest.raises(ValueError, match="different targets"):
        filled().copy([(0, 2), (1, 2)])


@pytest.mark.parametrize("page", [torch.ones(2, 3, 4, 2, 5), torch.ones(2, 3, 4, 2, 6).double()])
def test_a_page_of_another_pool_is_refused(page: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="page must be"):
        filled().load_page(0, page)


@pytest.mark.parametrize(
    ("layer", "slots", "k", "message"),
    [
        (3, [0], (1, 2, 6), "made for 3 layers"),
        (-1, [0], (1, 2, 6), "made for 3 layers"),
        (0, [0, 1], (1, 2, 6), "wanted slots"),
        (0, [0], (1, 12), "wanted slots"),
        (0, [0], (1, 6, 2), "made for 2 KV heads of 6"),
        (0, [20], (1, 2, 6), "slots must be in 0 to 19"),
        (0, [-1], (1, 2, 6), "slots must be in 0 to 19"),
    ],
)
def test_a_write_that_does_not_fit_is_refused(layer: int, slots: list[int], k: tuple[int, ...], message: str) -> None:
    cache = filled()
    with pytest.raises(ValueError, match=message):
        cache.write(layer, torch.tensor(slots), torch.ones(k), torch.ones(k))
    assert torch.equal(cache.values_LPSGH, filled().values_LPSGH)


def test_rows_of_another_dtype_are_refused() -> None:
    k = torch.ones(1, 2, 6)
    with pytest.raises(ValueError, match=r"float32 on cpu, got 2 of 6 in torch.float64"):
        filled().write(0, torch.tensor([0]), k, k.double())


@pytest.mark.parametrize("name", ["num_blocks", "block_size"])
@pytest.mark.parametrize("value", [0, -4, 2.0, True, "4"])
def test_refuses_a_pool_of_no_size(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1"):
        filled(**{name: value})


def test_refuses_numbers_that_are_not_floating() -> None:
    with pytest.raises(TypeError, match="dtype must be a floating one"):
        filled(dtype=torch.int8)


def test_more_blocks_than_memory_are_refused_before_anything_is_allocated() -> None:
    with pytest.raises(ValueError, match=r"num_blocks 1000000000000 of 1152 bytes each need .* at most \d+ blocks"):
        PagedKVCache(CONFIG, num_blocks=10**12, block_size=4)
