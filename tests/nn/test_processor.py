"""When the panels are used: a processor with AVX-512, and numba."""

import pytest
import torch

from kb.nn import processor


@pytest.mark.parametrize(
    ("capability", "numba", "fast"),
    [("AVX512", True, True), ("AVX512", False, False), ("AVX2", True, False), ("DEFAULT", True, False)],
)
def test_panels_want_avx512_and_numba(
    monkeypatch: pytest.MonkeyPatch, capability: str, numba: bool, fast: bool
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(processor, "is_installed", lambda name: numba and name == "numba")
    assert processor.panels_are_fast.__wrapped__() is fast
