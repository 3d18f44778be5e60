"""The runner: the last rows alone where no others are asked for, and memory that is kept where malloc is glibc's."""

import ctypes
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from kb.lm import DecoderLM
from kb.serving import runner
from kb.serving.batch import PagedBatch
from kb.serving.kv_cache import PagedKVCache
from kb.serving.runner import ModelRunner

CHUNKS = [([0, 1, 2, 3], 0, 13), ([4], 0, 1), ([5, 6, 7], 0, 9)]


@pytest.mark.parametrize("fused", [True, False])
def test_last_only_gives_the_last_rows_and_keeps_all_keys(model_maker: Callable[..., DecoderLM], fused: bool) -> None:
    model = model_maker(dtype=torch.float32)
    if fused:
        pytest.importorskip("kb.serving.fused_block").fuse_blocks(model)
    found, keys = [], []
    for last_only in (False, True):
        cache = PagedKVCache(model.config, num_blocks=12, block_size=4)
        found.append(ModelRunner(model, cache).run(list(range(1, 24)), CHUNKS, last_only=last_only))
        keys.append(cache.keys_LPSGH)
    torch.testing.assert_close(found[1], found[0][PagedBatch(cache, CHUNKS).last_rows])
    assert torch.equal(*keys)


def test_memory_is_kept_where_malloc_is_glibc_s_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, tiny: DecoderLM
) -> None:
    calls: list[tuple[int, int]] = []
    for library in (SimpleNamespace(mallopt=lambda *call: calls.append(call)), SimpleNamespace()):
        monkeypatch.setattr(runner.ctypes, "CDLL", lambda name, library=library: library)
        for platform in ("linux", "darwin", "win32"):
            monkeypatch.setattr(sys, "platform", platform)
            ModelRunner(tiny, PagedKVCache(tiny.config, num_blocks=1, block_size=4, dtype=torch.float64))
    assert calls == [(-1, 2**28), (-3, 2**25)]


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="wants glibc")
def test_glibc_takes_both_numbers() -> None:
    assert ctypes.CDLL(None).mallopt(-1, 2**28) == 1
    assert ctypes.CDLL(None).mallopt(-3, 2**25) == 1
