"""Pages that go from a GPU to page-locked memory and a disk and back leave every token as it was."""

from pathlib import Path

import pytest
import torch

from kb.lm import DecoderLM, KVCache, ModelConfig
from kb.serving.tiers import DiskTier, TieredKVCache, TieredStore, page_bytes

pytestmark = pytest.mark.gpu

CONFIG = ModelConfig(
    vocab_size=211,
    hidden_size=64,
    intermediate_size=160,
    num_layers=4,
    num_heads=8,
    num_kv_heads=2,
    head_dim=16,
    max_positions=512,
    windows=(None, 40, None, 9),
)


def test_logits_are_those_of_the_plain_cache(device: torch.device, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    model = DecoderLM(CONFIG).requires_grad_(False).eval()
    for name, parameter in model.named_parameters():
        parameter.normal_(1.0 if "norm" in name else 0.0, 0.15, generator=generator)
    model = model.to(device)
    tokens = torch.randint(0, CONFIG.vocab_size, (1, 300), generator=generator).to(device)
    plain = KVCache(CONFIG, capacity=300, device=device)
    nbytes = page_bytes((2, 8, 2, 16), torch.float32)
    with (
        DiskTier(tmp_path, page_nbytes=nbytes, capacity_pages=150, fingerprint="test") as disk,
        TieredKVCache(
            CONFIG, page_tokens=8, device_pages=14, host_pages=20, disk=disk, chunk_pages=4, device=device
        ) as cache,
        torch.inference_mode(),
    ):
        for chunk in tokens.split([200, 90, *[1] * 10], dim=1):
            ours, theirs = model(chunk, cache=cache), model(chunk, cache=plain)
            assert float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())
        traffic = cache.memory.traffic
    assert min(traffic.device.hits, traffic.host.hits, traffic.disk.hits) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_pages_come_back_to_the_bit(device: torch.device, dtype: torch.dtype, tmp_path: Path) -> None:
    shape, pin = (2, 8, 2, 16), device.type == "cuda"
    pages = torch.randn((12, *shape), generator=torch.Generator().manual_seed(0)).to(device, dtype)
    with (
        DiskTier(tmp_path, page_nbytes=page_bytes(shape, dtype), capacity_pages=9, fingerprint="test") as disk,
        TieredStore(shape, dtype, host_pages=3, disk=disk, pin=pin) as store,
    ):
        for number, page in enumerate(pages):
            assert store.store(b"%d" % number, page)
        out = torch.zeros_like(pages)
        for number in range(12):
            store.require(b"%d" % number, out[number])
        assert torch.equal(out, pages)
