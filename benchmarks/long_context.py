"""One layer's attention over a context that fits neither device nor host memory, in a process of its own.

Keys and values are random numbers that can be made again, chunk by chunk, for the reference: softmax in two passes, in
float64. The process is a fresh one, so that its peak of memory is that of the scene; it is asked for over JSON.
"""

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.measurement import Measurement, Samples
from book.notebooks import ROOT
from kb.serving.tiers import (
    DiskTier,
    TieredLayer,
    TieredMemory,
    attention_in_two_passes,
    measure_disk_bandwidth,
    page_bytes,
)

_CHUNK = 256  # tokens appended at a time
_TOLERANCE = 1e-4  # of the largest value: random values average out, so outputs are small against what is summed


@dataclass(frozen=True)
class Scene:
    """Sizes of one scene.

    Args:
        tokens: Of context.
        heads: Query heads, of as many key-value heads as ``kv_heads``.
        kv_heads: Key-value heads.
        head_dim: Their width.
        dtype: What keys and values are kept in.
        page_tokens: Tokens of a page.
        device_pages: Pages of the device tier.
        host_pages: Pages in host memory.
        queries: How often attention is computed.
    """

    tokens: int
    heads: int
    kv_heads: int
    head_dim: int
    dtype: str
    page_tokens: int
    device_pages: int
    host_pages: int
    queries: int = 5


def measure(scene: Scene, title: str, largest_bytes: int) -> Measurement:
    """Run a scene in a fresh process, and assert that its memory stays within ``largest_bytes``."""
    line = [sys.executable, "-m", "benchmarks.long_context", json.dumps(asdict(scene))]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    facts = found["facts"]
    assert facts["peak_bytes"] <= largest_bytes, f"{facts['peak_bytes']} bytes at the peak, {largest_bytes} allowed"
    assert facts["error"] <= _TOLERANCE, f"attention is off by {facts['error']} of its largest value"
    return Measurement(
        title=title,
        method=f"{scene.queries} queries of one token after another, each over all {scene.tokens:,} tokens, through "
        "three tiers; the disk's own bandwidth is that of one file read past the system's cache, before each query",
        samples={
            "query": Samples("s", found["query_s"]),
            "tiers": Samples("GB/s", found["tiers_gb_s"]),
            "disk alone": Samples("GB/s", found["disk_gb_s"]),
        },
        ratios={"tiers / disk alone": ("tiers", "disk alone")},
        facts=facts,
    )


def run(scene: Scene) -> dict[str, Any]:
    """Fill the tiers, ask the queries, and hold the last answer against the reference."""
    dtype = getattr(torch, scene.dtype)
    shape = (2, scene.page_tokens, scene.kv_heads, scene.head_dim)
    nbytes = page_bytes(shape, dtype)
    pages = math.ceil(scene.tokens / scene.page_tokens)
    (ROOT / "_build").mkdir(exist_ok=True)
    before = _peak()
    with tempfile.TemporaryDirectory(dir=ROOT / "_build") as folder:
        disk = DiskTier(folder, page_nbytes=nbytes, capacity_pages=pages, fingerprint="scene")
        memory = TieredMemory(
            kv_heads=scene.kv_heads,
            head_dim=scene.head_dim,
            page_tokens=scene.page_tokens,
            device_pages=scene.device_pages,
            host_pages=scene.host_pages,
            disk=disk,
            dtype=dtype,
        )
        layer, start = TieredLayer(memory), time.perf_counter()
        for k_TGH, v_TGH in chunks(scene):
            layer.append(k_TGH, v_TGH)
        appended = time.perf_counter() - start
        noise = torch.Generator().manual_seed(1)
        seconds, rates, alone = [], [], []
        for _ in range(scene.queries):
            alone.append(measure_disk_bandwidth(folder, min(2**30, pages * nbytes)).read / 1e9)
            q_TNH = torch.randn(1, scene.heads, scene.head_dim, generator=noise)
            traffic, start = memory.traffic, time.perf_counter()
            out_TNH = layer.attend(q_TNH).out
            seconds.append(time.perf_counter() - start)
            rates.append(memory.traffic.since(traffic).disk.read_bytes / seconds[-1] / 1e9)
        peak = _peak()
        facts = {
            **asdict(scene),
            "context_bytes": scene.tokens * nbytes // scene.page_tokens,
            "device_bytes": memory.device_nbytes,
            "host_bytes": memory.host_nbytes,
            "disk_bytes_per_query": memory.traffic.since(traffic).disk.read_bytes,
            "peak_bytes": peak - before,
            "append_seconds": round(appended, 3),
        }
        wanted = attention_in_two_passes(q_TNH, lambda: chunks(scene))
        facts["error"] = float((out_TNH - wanted).abs().max() / wanted.abs().max())
        memory.close()
        disk.close()
    return {"facts": facts, "query_s": seconds, "tiers_gb_s": rates, "disk_gb_s": alone}


def chunks(scene: Scene) -> Iterator[tuple[Tensor, Tensor]]:
    """Keys and values of the context, the same at every call."""
    dtype = getattr(torch, scene.dtype)
    for number, start in enumerate(range(0, scene.tokens, _CHUNK)):
        noise = torch.Generator().manual_seed(number)
        shape = (2, min(_CHUNK, scene.tokens - start), scene.kv_heads, scene.head_dim)
        k_TGH, v_TGH = torch.randn(shape, generator=noise).to(dtype)
        yield k_TGH, v_TGH


def _peak() -> int:
    """The most memory that this process has held so far, in bytes."""
    with open("/proc/self/status", encoding="ascii") as lines:
        (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    print(json.dumps(run(Scene(**json.loads(sys.argv[1])))))
