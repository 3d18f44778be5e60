"""The contiguous cache: its size, its bounds, and what it gives back."""

import dataclasses
from typing import Any

import pytest
import torch

from kb.lm import KVCache, ModelConfig

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


@pytest.mark.parametrize(("dtype", "width"), [(torch.float32, 4), (torch.bfloat16, 2), (torch.float64, 8)])
def test_bytes_are_the_formula(dtype: torch.dtype, width: int) -> None:
    cache = KVCache(CONFIG, batch=2, capacity=5, dtype=dtype)
    # keys and values × layers × sequences × tokens × KV heads × head width × bytes
    assert cache.nbytes == 2 * 3 * 2 * 5 * 2 * 6 * width
    assert CONFIG.kv_elements_per_token * 2 * 5 * width == cache.nbytes


def test_truncating_and_going_on_equals_never_having_seen_the_rest(tiny: Any) -> None:
    tokens = tiny.tokens(1, 10)
    cache = KVCache(tiny.ours.config, capacity=10)
    with torch.no_grad():
        tiny.ours(tiny.tokens(1, 10, seed=5)[:, :4], cache=cache)
        cache.truncate(0)
        tiny.ours(tokens[:, :8], cache=cache)
        cache.truncate(6)
        again = tiny.ours(tokens[:, 6:], cache=cache)
        whole = tiny.ours(tokens)[:, 6:]
    assert float((again - whole).abs().max()) <= 1e-5 * float(whole.abs().max())


def test_unwritten_slots_never_reach_a_result(tiny: Any) -> None:
    cache = KVCache(tiny.ours.config, capacity=20)
    cache.keys_LBCGH.fill_(torch.nan)
    cache.values_LBCGH.fill_(torch.nan)
    with torch.no_grad():
        for chunk in tiny.tokens(1, 9).split([4, 1, 3, 1], dim=1):
            assert tiny.ours(chunk, cache=cache).isfinite().all()


def test_what_does_not_fit_is_refused_before_anything_is_written(tiny: Any) -> None:
    cache = KVCache(tiny.ours.config, capacity=5)
    with torch.no_grad():
        tiny.ours(tiny.tokens(1, 4), cache=cache)
        kept = cache.keys_LBCGH.clone()
        with pytest.raises(ValueError, match="2 new tokens after 4 exceed the cache's capacity of 5"):
            tiny.ours(tiny.tokens(1, 2), cache=cache)
        with pytest.raises(ValueError, match="holds 1 sequences, got tokens of 2"):
            tiny.ours(tiny.tokens(2, 1), cache=cache)
    assert cache.length == 4
    assert torch.equal(cache.keys_LBCGH[:, :, :4], kept[:, :, :4])


@pytest.mark.parametrize(("batch", "capacity"), [(0, 4), (1, 0), (-1, 4), (1, -4), (1, True), (1.0, 4), (1, "4")])
def test_refuses_an_empty_cache(batch: Any, capacity: Any) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        KVCache(CONFIG, batch=batch, capacity=capacity)


@pytest.mark.parametrize("length", [-1, 3, 1.5, True])
def test_refuses_to_truncate_to_what_is_not_there(length: Any) -> None:
    cache = KVCache(CONFIG, capacity=4)
    cache.advance(2)
    with pytest.raises(ValueError, match="between 0 and the 2"):
        cache.truncate(length)


@pytest.mark.parametrize("options", [{"dtype": torch.bfloat16}, {"config": CONFIG}])
def test_a_cache_made_for_another_model_is_refused(options: Any, tiny: Any) -> None:
    cache = KVCache(**{"config": tiny.ours.config, "capacity": 4, **options})
    with torch.no_grad(), pytest.raises(ValueError, match="this cache was made for 2 KV heads"):
        tiny.ours(tiny.tokens(1, 2), cache=cache)
    assert cache.length == 0


def test_a_cache_of_fewer_layers_is_refused(tiny: Any) -> None:
    cache = KVCache(dataclasses.replace(tiny.ours.config, num_layers=2), capacity=4)
    with torch.no_grad(), pytest.raises(ValueError, match="made for 2 layers"):
        tiny.ours(tiny.tokens(1, 2), cache=cache)


@pytest.mark.parametrize("part", ["norm", "lm_head"])
def test_a_pass_that_fails_adds_nothing(part: str, make_pair: Any) -> None:
    model, tokens = make_pair("llama").ours, make_pair("llama").tokens(1, 7)
    cache = KVCache(model.config, capacity=7)

    def fail(*_: Any) -> None:
        raise MemoryError

    with torch.inference_mode():
        model(tokens[:, :5], cache=cache)
        hook = getattr(model, part).register_forward_pre_hook(fail)
        with pytest.raises(MemoryError):
            model(tokens[:, 5:], cache=cache)
        hook.remove()
        again = model(tokens[:, 5:], cache=cache)
        torch.testing.assert_close(again, model(tokens)[:, 5:], rtol=1e-4, atol=1e-5)


def test_a_cache_that_is_empty_and_therefore_false_is_used(tiny: Any) -> None:
    class Sized(KVCache):
        def __len__(self) -> int:
            return self.length

    cache = Sized(tiny.ours.config, capacity=4)
    with torch.inference_mode():
        tiny.ours(tiny.tokens(1, 3), cache=cache)
    assert len(cache) == 3


@pytest.mark.parametrize("rows", [[1, 0], [1, 1, 0], [0], [0, 0]])
def test_selected_rows_go_on_as_if_they_had_always_been_these(tiny: Any, rows: list[int]) -> None:
    tokens, fresh = tiny.tokens(2, 5), tiny.tokens(len(rows), 2, seed=1)
    cache = KVCache(tiny.ours.config, batch=2, capacity=7)
    with torch.inference_mode():
        tiny.ours(tokens, cache=cache)
        cache.select(torch.tensor(rows))
        again = tiny.ours(fresh, cache=cache)
        whole = tiny.ours(torch.cat((tokens[rows], fresh), dim=1))[:, 5:]
    assert float((again - whole).abs().max()) <= 1e-5 * float(whole.abs().max())


@pytest.mark.parametrize("rows", [torch.tensor([]), torch.tensor([[0]]), torch.tensor([True])])
def test_rows_that_are_no_indices_are_refused(rows: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="rows must be"):
        KVCache(CONFIG, batch=2, capacity=5).select(rows)
