"""One layer whose keys and values lie in tiers: dense attention over what it keeps; and the disk's bandwidth."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from kb.nn import grouped_query_attention_loop
from kb.serving.tiers import (
    DiskTier,
    Partial,
    TieredLayer,
    TieredMemory,
    TierError,
    measure_disk_bandwidth,
    page_bytes,
)


@contextmanager
def layer_of(
    folder: Path, dtype: torch.dtype = torch.float32, *, keep_cached: bool = True, **options: Any
) -> Iterator[TieredLayer]:
    sizes = {"kv_heads": 3, "head_dim": 8, "page_tokens": 16, "device_pages": 7, "chunk_pages": 2, "host_pages": 4}
    nbytes = page_bytes((2, 16, 3, 8), dtype)
    with (
        DiskTier(folder, page_nbytes=nbytes, capacity_pages=30, fingerprint="test", keep_cached=keep_cached) as disk,
        TieredMemory(**sizes | options, dtype=dtype, disk=disk) as memory,
    ):
        yield TieredLayer(memory)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_one_layer_is_dense_attention_over_what_it_keeps(tmp_path: Path, dtype: torch.dtype) -> None:
    k, v, q = random(500, 3, 8, seed=1), random(500, 3, 8, seed=2), random(4, 6, 8, seed=3)
    with layer_of(tmp_path, dtype, keep_cached=dtype != torch.float32) as layer:
        for start in range(0, 500, 123):
            layer.append(k[start : start + 123], v[start : start + 123])
        assert layer.length == 500
        before = layer._memory.traffic
        found = layer.attend(q)
        traffic = layer._memory.traffic.since(before)
        again = layer.attend(q)
        newest = layer.attend(q[-1:], window=20)
    rounded = [x.to(dtype).double() for x in (k, v)]
    for number in range(4):
        wanted = grouped_query_attention_loop(q[None, number : number + 1].double(), *(x[None] for x in rounded))
        torch.testing.assert_close(found.out[number].double(), wanted[0, 0], rtol=1e-5, atol=1e-6)
    wanted = grouped_query_attention_loop(q[None, -1:].double(), *(x[None, -20:] for x in rounded))
    torch.testing.assert_close(newest.out[0].double(), wanted[0, 0], rtol=1e-5, atol=1e-6)
    assert torch.equal(found.out, again.out)
    # 32 pages: the newest and two more on the device, four in memory, the others on disk.
    assert (traffic.device.hits, traffic.host.hits, traffic.disk.hits) == (3, 4, 25)
    assert traffic.disk.read_bytes == 25 * page_bytes((2, 16, 3, 8), dtype)
    assert traffic.disk.read_seconds > 0


def test_an_empty_layer_gives_nothing(tmp_path: Path) -> None:
    with layer_of(tmp_path) as layer:
        found = layer.attend(random(2, 3, 8))
        assert isinstance(found, Partial)
        assert not found.out.any()
        assert bool((found.lse == -torch.inf).all())


def test_a_layer_that_is_full_says_so_before_it_keeps_anything(tmp_path: Path) -> None:
    with layer_of(tmp_path) as layer:
        layer.append(random(16, 3, 8), random(16, 3, 8))
        with pytest.raises(TierError, match="need 35 more pages in host memory and on disk; of 34 there, 34 are free"):
            layer.append(random(36 * 16 + 1, 3, 8), random(36 * 16 + 1, 3, 8))
        assert layer.length == 16
        layer.append(random(36 * 16, 3, 8), random(36 * 16, 3, 8))
        assert layer.length == 37 * 16


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 31, 32, 33, 200, 399, 400])
def test_rewinding_is_never_having_seen_the_rest(tmp_path: Path, length: int) -> None:
    k, v, q = random(400, 3, 8, seed=1), random(400, 3, 8, seed=2), random(2, 3, 8, seed=3)
    with layer_of(tmp_path / "a") as layer, layer_of(tmp_path / "b") as other:
        layer.append(k, v)
        layer.rewind(length)
        other.append(k[:length], v[:length])
        for _ in range(2):
            torch.testing.assert_close(layer.attend(q), other.attend(q))
            for one in (layer, other):
                one.append(k[:50], v[:50])
        assert len(layer._memory.store) == len(other._memory.store)


def test_a_layer_refuses_other_shapes(tmp_path: Path) -> None:
    with layer_of(tmp_path) as layer:
        refused: list[tuple[Callable[[], object], str]] = [
            (lambda: layer.append(random(2, 3, 7), random(2, 3, 7)), r"wanted keys and values \[T, 3, 8\]"),
            (lambda: layer.append(random(2, 3, 8), random(1, 3, 8)), r"wanted keys and values \[T, 3, 8\]"),
            (lambda: layer.attend(random(2, 4, 8)), r"queries \[T, N, 8\], N a multiple of 3"),
            (lambda: layer.attend(random(3, 8)), r"queries \[T, N, 8\]"),
            (lambda: layer.rewind(1), "length must be in 0 to 0"),
            (lambda: TieredLayer(layer._memory, 1), "layer must be in 0 to 0"),
            (lambda: measure_disk_bandwidth(tmp_path / "none", 1), "is not a folder"),
            (lambda: measure_disk_bandwidth(tmp_path, 0), "nbytes"),
        ]
        for call, message in refused:
            with pytest.raises(ValueError, match=message):
                call()


def test_the_disks_own_bandwidth(tmp_path: Path) -> None:
    found = measure_disk_bandwidth(tmp_path, 3_000_000, block_nbytes=1 << 20)
    assert min(found) > 1e5
    assert list(tmp_path.iterdir()) == []
