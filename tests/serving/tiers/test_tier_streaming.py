"""A context longer than the device's memory: the model's tokens are those of the plain cache, whatever lies where."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kb.lm import DecoderLM, KVCache, ModelConfig, generate
from kb.serving.tiers import (
    DiskTier,
    PageLostError,
    TieredKVCache,
    page_bytes,
)

CONFIG = ModelConfig(
    vocab_size=61,
    hidden_size=24,
    intermediate_size=40,
    num_layers=3,
    num_heads=6,
    num_kv_heads=2,
    head_dim=4,
    max_positions=600,
)
WINDOWS = replace(CONFIG, windows=(None, 5, 17))


def model_of(config: ModelConfig, dtype: torch.dtype = torch.float32) -> DecoderLM:
    """A random model whose logits are far apart."""
    model = DecoderLM(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        parameter.normal_(1.0 if "norm" in name else 0.0, 0.3, generator=generator)
    return model.to(dtype)


MODELS = {"full": model_of(CONFIG), "windows": model_of(WINDOWS)}


def tokens_of(T: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(61, (1, T), generator=torch.Generator().manual_seed(seed))


@contextmanager
def cache_of(
    folder: Path, config: ModelConfig = CONFIG, *, disk_pages: int = 400, **options: Any
) -> Iterator[TieredKVCache]:
    """A cache whose tiers are as small as may be, over a disk that holds the rest."""
    options = {"page_tokens": 4, "chunk_pages": 2, "host_pages": 5, "timeout": 30.0} | options
    options.setdefault("device_pages", config.num_layers + 2 * options["chunk_pages"])
    dtype = options.get("dtype", torch.float32)
    nbytes = page_bytes((2, options["page_tokens"], config.num_kv_heads, config.head_dim), dtype)
    with (
        DiskTier(folder, page_nbytes=nbytes, capacity_pages=disk_pages, fingerprint="test", keep_cached=True) as disk,
        TieredKVCache(config, disk=disk, **options) as cache,
    ):
        yield cache


def greedy(model: DecoderLM, prompt: torch.Tensor, new: int, cache: TieredKVCache) -> torch.Tensor:
    """As ``kb.lm.generate``, on another cache."""
    sequence = fresh = prompt
    with torch.inference_mode():
        for _ in range(new):
            fresh = model(fresh, cache=cache, last_only=True)[:, -1].argmax(dim=-1)[:, None]
            sequence = torch.cat((sequence, fresh), dim=1)
    return sequence


@pytest.mark.parametrize("name", ["full", "windows"])
def test_tokens_are_those_of_generate_at_ten_times_the_device_tier(name: str, tmp_path: Path) -> None:
    model, prompt = MODELS[name], tokens_of(250)
    with cache_of(tmp_path, model.config) as cache:
        assert torch.equal(greedy(model, prompt, 40, cache), generate(model, prompt, 40))
        assert cache.length == 289
        device_tokens = cache.memory.device_nbytes // (4 * CONFIG.kv_elements_per_token // CONFIG.num_layers)
        assert cache.length * CONFIG.num_layers > 10 * device_tokens
        traffic = cache.memory.traffic
        assert min(traffic.device.hits, traffic.host.hits, traffic.disk.hits) > 0
        assert traffic.disk.failures == traffic.disk.misses == 0
    assert not list(tmp_path.glob("*.page"))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    name=st.sampled_from(["full", "windows"]),
    page_tokens=st.integers(1, 7),
    chunk_pages=st.integers(1, 3),
    resident=st.integers(0, 9),
    host_pages=st.integers(0, 40),
    seed=st.integers(0, 2**31),
)
def test_logits_are_those_of_the_plain_cache_for_any_sizes(
    tmp_path: Path,
    cuts: list[int],
    name: str,
    page_tokens: int,
    chunk_pages: int,
    resident: int,
    host_pages: int,
    seed: int,
) -> None:
    model, tokens = MODELS[name], tokens_of(sum(cuts), seed)
    plain = KVCache(model.config, capacity=sum(cuts))
    sizes = {"page_tokens": page_tokens, "chunk_pages": chunk_pages, "host_pages": host_pages, "disk_pages": 600}
    with cache_of(tmp_path, model.config, **sizes, device_pages=3 + 2 * chunk_pages + resident) as cache:
        cache.memory.pool_2DPGH.fill_(torch.nan)  # what was never written must not reach a result
        for chunk in tokens.split(cuts, dim=1):
            ours, theirs = model(chunk, cache=cache), model(chunk, cache=plain)
            assert float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())


def test_half_precision_is_as_near_to_float64_as_the_plain_cache(tmp_path: Path) -> None:
    tokens = tokens_of(120)
    model, exact = model_of(CONFIG, torch.bfloat16), model_of(CONFIG).to(torch.bfloat16).double()
    wanted, plain = exact(tokens), KVCache(CONFIG, capacity=120, dtype=torch.bfloat16)
    with cache_of(tmp_path, dtype=torch.bfloat16) as cache:
        ours = torch.cat([model(chunk, cache=cache) for chunk in tokens.split(40, dim=1)], dim=1)
    theirs = torch.cat([model(chunk, cache=plain) for chunk in tokens.split(40, dim=1)], dim=1)
    assert ours.dtype == torch.bfloat16
    assert float((ours - wanted).abs().max()) <= 1.5 * float((theirs - wanted).abs().max())


def test_layers_with_a_window_keep_and_read_only_what_is_inside(tmp_path: Path) -> None:
    config = replace(CONFIG, windows=(9, 9, 9))
    with cache_of(tmp_path, config, host_pages=0) as cache:
        greedy(model_of(config), tokens_of(100), 20, cache)
        # 9 tokens reach into 3 or 4 pages of 4, of which one is the newest.
        assert len(cache.memory.store) <= 3 * 3
        before = cache.memory.traffic
        model_of(config)(tokens_of(1), cache=cache)
        read = cache.memory.traffic.since(before).disk.hits
        assert read <= 2 * 3 * 3  # this step's, and some of the next one's


def test_a_window_layer_never_needs_more_room_than_its_window(tmp_path: Path) -> None:
    config = replace(CONFIG, windows=(9, 9, 9))
    with cache_of(tmp_path, config, host_pages=9, disk_pages=1) as cache:
        sequence = greedy(model_of(config), tokens_of(5), 200, cache)
    assert torch.equal(sequence, generate(model_of(config), tokens_of(5), 200))


def test_the_next_layers_pages_are_read_while_this_one_computes(tmp_path: Path) -> None:
    model = MODELS["full"]
    with cache_of(tmp_path) as cache, torch.inference_mode():
        model(tokens_of(60), cache=cache)
        layer, reader = cache._layers[1], cache.memory.reader
        model.layers[1].register_forward_pre_hook(lambda *_: begun.append(set(reader._begun)))
        begun: list[set[tuple[bytes, ...]]] = []
        try:
            model(tokens_of(1), cache=cache)
        finally:
            model.layers[1]._forward_pre_hooks.clear()
        assert begun == [set(layer.chunks(60)[:2])]
        assert set(reader._begun) == set(cache._layers[0].chunks(61)[:2])  # of the next step


@pytest.mark.parametrize("T", [1, 3, 4, 30])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_pass_that_fails_adds_nothing(tmp_path: Path, layer: int, T: int) -> None:
    model, tokens = model_of(WINDOWS), tokens_of(95)
    with cache_of(tmp_path, WINDOWS, device_pages=10) as cache, torch.inference_mode():
        model(tokens[:, :63], cache=cache)

        def fail(*_: Any) -> None:
            raise MemoryError

        hook = model.layers[layer].mlp.register_forward_pre_hook(fail)
        for _ in range(2):
            with pytest.raises(MemoryError):
                model(tokens[:, -T:], cache=cache)
        hook.remove()
        assert cache.length == 63
        ours = model(tokens[:, 63:], cache=cache)
        theirs = model(tokens)[:, 63:]
        assert float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())


def test_what_does_not_fit_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    model, tokens = MODELS["full"], tokens_of(100)
    with cache_of(tmp_path, host_pages=4, disk_pages=5, device_pages=10) as cache, torch.inference_mode():
        # A page a layer stays on the device, three more below, and one is the newest: 20 tokens.
        model(tokens[:, :10], cache=cache)
        cache.memory.reader.read([])  # what is read ahead is traffic too
        before = cache.memory.traffic
        with pytest.raises(ValueError, match=r"11 new tokens after 10 need 9 more pages .* 9 there, 6 are free"):
            model(tokens[:, 10:21], cache=cache)
        assert cache.memory.traffic == before
        model(tokens[:, 10:20], cache=cache)
        with pytest.raises(ValueError, match=r"1 new tokens after 20 need 3 more pages .* 0 are free"):
            model(tokens[:, :1], cache=cache)


@pytest.mark.parametrize("damage", ["cut", "altered", "gone"])
def test_a_damaged_page_is_an_error_and_never_a_wrong_token(tmp_path: Path, damage: str) -> None:
    with cache_of(tmp_path, host_pages=0) as cache, torch.inference_mode():
        MODELS["full"](tokens_of(50), cache=cache)
        cache.memory.store.flush()
        cache.memory.reader.read([])  # what was read ahead was right when it was read
        for path in tmp_path.glob("*.page"):
            data = path.read_bytes()
            path.write_bytes(data[:-1] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
            if damage == "gone":
                path.unlink()
        reason = {"cut": "bytes, wanted", "altered": "was altered", "gone": "No such file"}[damage]
        for _ in range(2):
            with pytest.raises(PageLostError, match=f"computed again; .*{reason}"):
                MODELS["full"](tokens_of(1), cache=cache)


def test_a_disk_that_fills_up_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> bytes:
        raise OSError(28, "no space left on device")

    with cache_of(tmp_path, host_pages=0) as cache, torch.inference_mode():
        monkeypatch.setattr("kb.serving.tiers.disk.pack_header", fail)
        MODELS["full"](tokens_of(50), cache=cache)
        with pytest.raises(PageLostError, match=r"computed again; .*no space left"):
            MODELS["full"](tokens_of(1), cache=cache)


def test_pages_that_another_run_left_are_not_taken_for_ones_own(tmp_path: Path) -> None:
    model = MODELS["full"]
    nbytes = page_bytes((2, 4, 2, 4), torch.float32)
    options: dict[str, Any] = {"page_nbytes": nbytes, "capacity_pages": 50, "fingerprint": "test", "keep_cached": True}
    sizes: dict[str, Any] = {"page_tokens": 4, "chunk_pages": 2, "device_pages": 7, "host_pages": 0}
    with DiskTier(tmp_path, **options) as disk:  # ended without close
        model(tokens_of(60), cache=(left := TieredKVCache(CONFIG, disk=disk, **sizes)))
        left.memory.store.flush()
    with DiskTier(tmp_path, **options) as disk, TieredKVCache(CONFIG, disk=disk, **sizes) as cache:
        assert len(cache.memory.store) == 42
        tokens = tokens_of(60, seed=1)
        assert torch.equal(greedy(model, tokens, 5, cache), generate(model, tokens, 5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device_pages": 6}, "device_pages must be at least 7"),
        ({"device_pages": 0}, "device_pages"),
        ({"page_tokens": 0}, "page_tokens"),
        ({"chunk_pages": True}, "chunk_pages"),
        ({"host_pages": -1}, "host_pages"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_refuses_bad_input(tmp_path: Path, options: Any, message: str) -> None:
    disk_options: Any = {"page_nbytes": 256, "capacity_pages": 5, "fingerprint": "test"}
    sizes = {"page_tokens": 4, "chunk_pages": 2, "device_pages": 7, "host_pages": 1} | options
    with DiskTier(tmp_path, **disk_options) as disk, pytest.raises(ValueError, match=message):
        TieredKVCache(CONFIG, disk=disk, **sizes)


def test_refuses_another_model(tmp_path: Path) -> None:
    with cache_of(tmp_path) as cache:
        with pytest.raises(ValueError, match="holds 1 sequence, got tokens of 2"):
            MODELS["full"](tokens_of(4).view(2, 2), cache=cache)
        for other in (replace(CONFIG, num_kv_heads=3), replace(CONFIG, head_dim=6)):
            with pytest.raises(ValueError, match="this cache was made for 2 KV heads of 4"):
                model_of(other)(tokens_of(2), cache=cache)
        with pytest.raises(ValueError, match=r"float32 on cpu, got 2 of 4 in torch\.bfloat16"):
            model_of(CONFIG, torch.bfloat16)(tokens_of(2), cache=cache)
        with pytest.raises(ValueError, match="made for 3 layers"):
            model_of(replace(CONFIG, num_layers=4))(tokens_of(2), cache=cache)
        assert cache.length == 0
