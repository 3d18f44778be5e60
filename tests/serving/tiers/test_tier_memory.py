"""Memory stays within the tiers' sizes, however long the context: measured from outside, in a process of its own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

STREAM = """
    import sys
    import torch
    from kb.serving.tiers import DiskTier, TieredLayer, TieredMemory, page_bytes

    torch.set_num_threads(1)
    G, H, P = 8, 128, 64
    shape = (2, P, G, H)
    def peak():  # not ru_maxrss, in which a process inherits its parent's
        lines = open("/proc/self/status").read().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    def run(tokens):
        nbytes = page_bytes(shape, torch.float32)
        with (
            DiskTier(sys.argv[1], page_nbytes=nbytes, capacity_pages=400, fingerprint="f") as disk,
            TieredMemory(kv_heads=G, head_dim=H, page_tokens=P, device_pages=16, host_pages=32, disk=disk) as memory,
        ):
            layer, chunk = TieredLayer(memory), torch.full((P, G, H), 0.5)
            while layer.length < tokens:
                layer.append(chunk, chunk)
            out = layer.attend(torch.ones(2, 16, H)).out
            torch.testing.assert_close(out, torch.full_like(out, 0.5))
            return memory.device_nbytes + memory.host_nbytes, layer.length * 2 * G * H * 4
    run(4 * P)  # whatever is allocated once
    before = peak()
    tiers, context = run(int(sys.argv[2]))
    print(tiers, context, peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_peak_memory_is_that_of_the_tiers(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(STREAM), str(tmp_path / "pages"), "10000"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    tiers, context, grown = map(int, done.stdout.split())
    print(f"peak {grown / 1e6:.0f} MB, tiers {tiers / 1e6:.0f} MB, context {context / 1e6:.0f} MB")
    assert context > 3 * tiers
    assert 0.5 * tiers < grown < tiers + 12e6  # pages that are mapped while they are read, and the scores of a chunk
