"""On a GPU: kernels give the CPU's answer, steps of many sequences the model's, and decoding is as fast as memory."""

from typing import Any

import pytest
import torch
from torch import Tensor

from kb.lm import DecoderLM, ModelConfig
from kb.serving import attention
from kb.serving.attention import alibi_slopes, paged_attention, paged_attention_loop
from kb.serving.batch import PagedBatch
from kb.serving.kv_cache import PagedKVCache
from kb.serving.step_layout import StepLayout
from kb.timing import median_seconds

pytestmark = pytest.mark.gpu

MIXED = [(0, 90), (1300, 1301), (600, 700), (0, 1), (5, 7), (40, 41)]


def make_scene(
    spans: list[tuple[int, int]], block_size: int, G: int, M: int, H: int, dtype: torch.dtype, window: int | None = None
) -> tuple[Tensor, Tensor, Tensor, list[tuple[list[int], int, int]]]:
    """Queries, keys, values (NaN wherever no query may look) and chunks of sequences whose blocks lie at random."""
    generator = torch.Generator().manual_seed(0)
    sizes = [-(-end // block_size) for _, end in spans]
    order = torch.randperm(sum(sizes) + 2, generator=generator).tolist()
    chunks = [([order.pop() for _ in range(size)], *span) for size, span in zip(sizes, spans, strict=True)]
    keys, values = torch.full((2, sum(sizes) + 2, block_size, G, H), torch.nan, dtype=dtype)
    for table, start, end in chunks:
        seen = torch.arange(0 if window is None else max(0, start - window + 1), end)
        pages, slots = torch.tensor(table)[seen // block_size], seen % block_size
        for pool in (keys, values):
            pool[pages, slots] = torch.randn(len(seen), G, H, generator=generator).to(dtype)
    q = torch.randn(sum(end - start for start, end in spans), M * G, H, generator=generator).to(dtype)
    return q, keys, values, chunks


@pytest.mark.parametrize("window", [None, 50])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(
    ("block_size", "G", "M", "H"), [(16, 2, 4, 128), (1, 3, 3, 64), (17, 1, 5, 80), (32, 4, 1, 256)]
)
@pytest.mark.parametrize(
    ("dtype", "relative"), [(torch.float32, 1e-5), (torch.bfloat16, 2**-7), (torch.float16, 2**-9)]
)
def test_kernels_equal_the_cpu(
    device: torch.device,
    dtype: torch.dtype,
    relative: float,
    block_size: int,
    G: int,
    M: int,
    H: int,
    biased: bool,
    window: int | None,
) -> None:
    q, keys, values, chunks = make_scene(MIXED, block_size, G, M, H, dtype, window)
    sizes = {"block_size": block_size, "num_blocks": len(keys)}
    options: dict[str, Any] = {"window": window, "alibi_slopes_N": alibi_slopes(M * G) if biased else None}
    wanted = paged_attention(
        q.double(), keys.double(), values.double(), StepLayout.from_chunks(chunks, **sizes), **options
    )
    there = [x.to(device) for x in (q, keys, values)]
    ours = paged_attention(*there, StepLayout.from_chunks(chunks, **sizes, device=device), **options)
    assert ours.dtype == dtype
    assert float((ours.cpu() - wanted).abs().max()) <= relative * float(wanted.abs().max())


@pytest.mark.parametrize("window", [None, 7])
def test_the_loop_and_the_path_without_triton_give_the_same(
    device: torch.device, monkeypatch: pytest.MonkeyPatch, window: int | None
) -> None:
    q, keys, values, chunks = make_scene([(0, 9), (20, 21), (6, 12)], 4, 2, 2, 16, torch.float32, window)
    there = [x.to(device) for x in (q, keys, values)]
    layout = StepLayout.from_chunks(chunks, block_size=4, num_blocks=len(keys), device=device)
    kernels = paged_attention(*there, layout, window=window)
    monkeypatch.setattr(attention, "_is_installed", lambda name: False)
    for other in (paged_attention_loop, paged_attention):
        torch.testing.assert_close(other(*there, layout, window=window), kernels, rtol=1e-5, atol=1e-5)


def test_steps_of_many_sequences_give_the_logits_of_each_alone(device: torch.device) -> None:
    config = ModelConfig(
        vocab_size=97,
        hidden_size=64,
        intermediate_size=96,
        num_layers=3,
        num_heads=6,
        num_kv_heads=2,
        head_dim=32,
        max_positions=256,
        windows=(None, 9, None),
    )
    torch.manual_seed(0)
    model = DecoderLM(config).requires_grad_(False).eval()
    for name, parameter in model.named_parameters():
        parameter.normal_(1.0 if "norm" in name else 0.0, 0.15)
    model = model.to(device)
    rows = [torch.randint(0, 97, (length,), generator=torch.Generator().manual_seed(length)) for length in (70, 41, 5)]
    cache = PagedKVCache(config, num_blocks=9, block_size=16, device=device)
    cache.keys_LPSGH.fill_(torch.nan)
    cache.values_LPSGH.fill_(torch.nan)
    tables, parts = [[8, 3, 0, 5, 1], [2, 7, 4], [6]], [[], [], []]
    for step in ([(0, 0, 33), (1, 0, 40)], [(2, 0, 4), (0, 33, 69), (1, 40, 41)], [(0, 69, 70), (2, 4, 5)]):
        batch = PagedBatch(cache, [(tables[s], start, end) for s, start, end in step])
        tokens = torch.cat([rows[s][start:end] for s, start, end in step])[None].to(device)
        for (s, _, _), part in zip(step, model(tokens, cache=batch)[0].split(list(batch.layout.queries)), strict=True):
            parts[s].append(part)
    for row, part in zip(rows, parts, strict=True):
        alone = model(row[None].to(device))[0]
        assert float((torch.cat(part) - alone).abs().max()) <= 1e-5 * float(alone.abs().max())


def test_decoding_at_8k_reads_at_85_percent_of_copy_bandwidth(device: torch.device) -> None:
    if device.type != "cuda":
        pytest.skip("no CUDA device")
    requests, length, block_size, G, M, H = 16, 8192, 16, 8, 4, 128
    blocks = torch.randperm(requests * length // block_size, generator=torch.Generator().manual_seed(0))
    chunks = [(table, length - 1, length) for table in blocks.view(requests, -1).tolist()]
    layout = StepLayout.from_chunks(chunks, block_size=block_size, num_blocks=len(blocks), device=device)
    keys, values = torch.randn(2, len(blocks), block_size, G, H, device=device, dtype=torch.bfloat16)
    q, target = torch.randn(requests, M * G, H, device=device, dtype=torch.bfloat16), torch.empty_like(keys)

    def times(work: Any) -> float:
        return median_seconds(lambda: [work() for _ in range(20)], repeats=9, warmup=3, where=device)

    # A copy of the keys reads and writes as many bytes as attention reads of keys and values.
    share = times(lambda: target.copy_(keys)) / times(lambda: paged_attention(q, keys, values, layout))
    assert share >= 0.85
