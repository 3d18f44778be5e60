"""Attention through block tables: loop = fast paths = dense attention of each sequence, and nothing unseen leaks."""

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.models.bloom.modeling_bloom import build_alibi_tensor

from kb.nn import grouped_query_attention
from kb.serving import attention
from kb.serving.attention import alibi_slopes, paged_attention, paged_attention_loop
from kb.serving.step_layout import StepLayout


@dataclass(frozen=True)
class Scene:
    """Sequences of random keys and values, scattered over a pool that is NaN wherever no query of the step may look."""

    q: Tensor
    keys: Tensor
    values: Tensor
    layout: StepLayout
    dense: list[tuple[Tensor, Tensor, Tensor]]  # q [1, Q, N, H], k and v [1, K, G, H] of each sequence

    def expected(self, window: int | None, slopes: Tensor | None) -> Tensor:
        parts = [dense_attention(*qkv, window, slopes) for qkv in self.dense]
        return torch.cat(parts) if parts else self.q


def dense_attention(q: Tensor, k: Tensor, v: Tensor, window: int | None, slopes: Tensor | None) -> Tensor:
    if slopes is None:
        return grouped_query_attention(q, k, v, window=window)[0]
    (Q, N, H), (K, G, _) = q.shape[1:], k.shape[1:]
    k, v = (x[0].repeat_interleave(N // G, dim=1) for x in (k, v))
    distance = torch.arange(K) - torch.arange(K - Q, K)[:, None]
    unseen = (distance > 0) | (distance <= -(window or K))
    scores = torch.einsum("qnh,knh->nqk", q[0], k) / math.sqrt(H) + slopes[:, None, None] * distance
    return torch.einsum("nqk,knh->qnh", scores.masked_fill(unseen, -torch.inf).softmax(-1), v)


def make_scene(
    spans: list[tuple[int, int]],
    *,
    block_size: int = 4,
    G: int = 2,
    M: int = 3,
    H: int = 8,
    dtype: torch.dtype = torch.float32,
    window: int | None = None,
    seed: int = 0,
) -> Scene:
    """Requests that compute tokens [start, end); blocks in random order, with some to spare."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [-(-end // block_size) for _, end in spans]
    num_blocks = sum(sizes) + 3
    order = torch.randperm(num_blocks, generator=generator).tolist()
    pool = torch.full((2, num_blocks, block_size, G, H), torch.nan, dtype=dtype)
    chunks, dense = [], []
    for (start, end), size in zip(spans, sizes, strict=True):
        table = [order.pop() for _ in range(size)]
        chunks.append((table, start, end))
        q = torch.randn(1, end - start, M * G, H, generator=generator, dtype=torch.float64).to(dtype)
        k, v = torch.randn(2, 1, end, G, H, generator=generator, dtype=torch.float64).to(dtype)
        dense.append((q, k, v))
        for key in range(0 if window is None else max(0, start - window + 1), end):
            pool[:, table[key // block_size], key % block_size] = torch.cat([k[:, key], v[:, key]])
    layout = StepLayout.from_chunks(chunks, block_size=block_size, num_blocks=num_blocks)
    q = torch.cat([q[0] for q, _, _ in dense]) if dense else torch.empty(0, M * G, H, dtype=dtype)
    return Scene(q, *pool, layout, dense)


@st.composite
def scenes(draw: st.DrawFn) -> dict[str, Any]:
    span = st.tuples(st.integers(0, 20), st.sampled_from([1, 1, 3, 9, 12])).map(lambda x: (x[0], x[0] + x[1]))
    return {
        "spans": draw(st.lists(span, max_size=4)),
        "block_size": draw(st.integers(1, 17)),
        "G": draw(st.integers(1, 3)),
        "M": draw(st.integers(1, 4)),
        "H": draw(st.sampled_from([2, 6, 16, 50])),
        "window": draw(st.none() | st.integers(1, 24)),
        "seed": draw(st.integers(0, 2**31)),
    }


def close(ours: Tensor, wanted: Tensor, relative: float) -> bool:
    """Within a share of the largest magnitude; NaN never is."""
    assert ours.shape == wanted.shape
    return not wanted.numel() or float((ours - wanted).abs().max()) <= relative * float(wanted.abs().max())


@pytest.fixture
def by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where numba is not installed."""
    monkeypatch.setattr(attention, "_is_installed", lambda name: False)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of threads, and the old one again at the end."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@settings(max_examples=50)
@given(drawn=scenes(), biased=st.booleans())
def test_float64_equals_dense_attention_of_each_sequence(drawn: dict[str, Any], biased: bool) -> None:
    scene = make_scene(**drawn, dtype=torch.float64)
    slopes = alibi_slopes(drawn["M"] * drawn["G"]).double() if biased else None
    options: Any = {"window": drawn["window"], "alibi_slopes_N": slopes}
    wanted = scene.expected(drawn["window"], slopes)
    assert close(paged_attention(scene.q, scene.keys, scene.values, scene.layout, **options), wanted, 1e-10)


@pytest.mark.parametrize("panels", [True, False])
@settings(max_examples=80)
@given(drawn=scenes(), biased=st.booleans())
def test_float32_equals_dense_attention_of_each_sequence(panels: bool, drawn: dict[str, Any], biased: bool) -> None:
    pytest.importorskip("numba")
    scene = make_scene(**drawn)
    slopes = alibi_slopes(drawn["M"] * drawn["G"]) if biased else None
    options: Any = {"window": drawn["window"], "alibi_slopes_N": slopes}
    wanted = scene.expected(drawn["window"], slopes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "panels_are_fast", lambda: panels)
        ours = paged_attention(scene.q, scene.keys, scene.values, scene.layout, **options)
    assert close(ours, wanted, 1e-5)


@settings(max_examples=15)
@given(drawn=scenes(), biased=st.booleans())
def test_the_loop_equals_dense_attention_of_each_sequence(drawn: dict[str, Any], biased: bool) -> None:
    scene = make_scene(**{**drawn, "spans": drawn["spans"][:2], "M": 1}, dtype=torch.float64)
    slopes = alibi_slopes(drawn["G"]).double() if biased else None
    options: Any = {"window": drawn["window"], "alibi_slopes_N": slopes}
    wanted = scene.expected(drawn["window"], slopes)
    assert close(paged_attention_loop(scene.q, scene.keys, scene.values, scene.layout, **options), wanted, 1e-10)


MIXED = [(0, 9), (13, 14), (6, 17), (0, 1), (30, 31), (5, 7)]


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize(
    ("dtype", "relative"), [(torch.float32, 1e-5), (torch.bfloat16, 2**-7), (torch.float16, 2**-9)]
)
@pytest.mark.usefixtures("by_torch")
def test_without_numba_torch_gives_the_same(dtype: torch.dtype, relative: float, window: int | None) -> None:
    scene = make_scene(MIXED, dtype=dtype, window=window)
    for slopes in (None, alibi_slopes(6)):
        options: Any = {"window": window, "alibi_slopes_N": slopes}
        ours = paged_attention(scene.q, scene.keys, scene.values, scene.layout, **options)
        loop = paged_attention_loop(scene.q, scene.keys, scene.values, scene.layout, **options)
        assert ours.dtype == loop.dtype == dtype
        assert close(ours.float(), loop.float(), relative)


@pytest.mark.parametrize("count", [1, 2])
def test_threads_that_share_the_keys_of_one_query_agree(count: int, threads: Callable[[int], None]) -> None:
    threads(count)
    for spans in ([(700, 701)], [(99, 100), (1500, 1501), (3, 4)], [(n, n + 1) for n in range(0, 300, 7)]):
        for window in (None, 130):
            scene = make_scene(spans, block_size=7, window=window)
            for slopes in (None, alibi_slopes(6)):
                ours = paged_attention(
                    scene.q, scene.keys, scene.values, scene.layout, window=window, alibi_slopes_N=slopes
                )
                assert close(ours, scene.expected(window, slopes), 1e-5)


@pytest.mark.parametrize("panels", [True, False])
def test_more_queries_than_one_tile_equal_dense_attention(monkeypatch: pytest.MonkeyPatch, panels: bool) -> None:
    monkeypatch.setattr(attention, "panels_are_fast", lambda: panels)
    for window in (None, 20):
        scene = make_scene([(37, 637), (0, 600)], block_size=16, G=1, M=2, window=window)
        ours = paged_attention(scene.q, scene.keys, scene.values, scene.layout, window=window)
        assert close(ours, scene.expected(window, None), 1e-5)


def test_large_scores_do_not_overflow_and_small_weights_vanish() -> None:
    scene = make_scene([(40, 41), (3, 19)])
    ours = paged_attention(100 * scene.q, 100 * scene.keys, scene.values, scene.layout)
    wanted = paged_attention_loop(
        (100 * scene.q).double(), (100 * scene.keys).double(), scene.values.double(), scene.layout
    )
    assert close(ours.double(), wanted, 1e-3)  # scores of some 10^4 are rounded to 10^-3


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("spans", [[(40, 41), (9, 10)], [(20, 41), (0, 30), (2, 3)]])
def test_a_bad_key_or_value_shows_in_the_result_of_its_own_request_only(bad: float, spans: Any) -> None:
    for pool in ("keys", "values"):
        scene = make_scene(spans)
        getattr(scene, pool)[scene.layout.tables_RW[0, 0], 2] = bad
        ours = paged_attention(scene.q, scene.keys, scene.values, scene.layout)
        vanishes = pool == "keys" and bad == -torch.inf
        first = scene.layout.queries[0]
        assert vanishes or not ours[:first].isfinite().all(dim=(1, 2)).any()
        assert ours[first:].isfinite().all()


def test_no_kernel_reads_memory_that_was_freed() -> None:
    """glibc is told to overwrite what is freed; elsewhere the same tests run once more."""
    names = ["test_more_queries_than_one_tile_equal_dense_attention", "test_large_scores_do_not_overflow"]
    environment = {**os.environ, "MALLOC_PERTURB_": "68", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", " or ".join(names)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "3 passed" in done.stdout


def test_requests_that_share_blocks_see_the_same_prefix() -> None:
    generator = torch.Generator().manual_seed(0)
    keys, values = torch.randn(2, 6, 4, 2, 8, generator=generator)
    layout = StepLayout.from_chunks([([5, 1, 0], 8, 9), ([5, 1, 2], 8, 9)], block_size=4, num_blocks=6)
    q = torch.randn(1, 4, 8, generator=generator).expand(2, -1, -1)
    keys[2, 0], values[2, 0] = keys[0, 0], values[0, 0]
    ours = paged_attention(q, keys, values, layout)
    assert torch.equal(ours[0], ours[1])


def test_a_query_that_is_a_view_and_wants_a_gradient_is_taken() -> None:
    scene = make_scene(MIXED)
    strided = scene.q.transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    wanted = paged_attention(scene.q, scene.keys, scene.values, scene.layout)
    assert torch.equal(paged_attention(strided, scene.keys, scene.values, scene.layout), wanted)


@pytest.mark.parametrize("num_heads", [1, 2, 3, 6, 8, 12, 16, 20, 64, 112])
def test_slopes_are_those_of_bloom(num_heads: int) -> None:
    theirs = build_alibi_tensor(torch.ones(1, 2), num_heads, torch.float32)[:, 0, 1]  # slope × position 1
    torch.testing.assert_close(alibi_slopes(num_heads), theirs, rtol=1e-6, atol=0)


def test_slopes_of_eight_heads_are_the_paper_s() -> None:
    assert alibi_slopes(8).tolist() == [2.0**-i for i in range(1, 9)]


@pytest.mark.parametrize("function", [paged_attention, paged_attention_loop])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"q": torch.ones(1, 2, 6, 8)}, ValueError, "wanted q"),
        ({"q": torch.ones(2, 5, 8)}, ValueError, "cannot share"),
        ({"q": torch.ones(2, 6, 4)}, ValueError, "cannot share"),
        ({"q": torch.ones(3, 6, 8)}, ValueError, "layout is of 2 rows"),
        ({"keys": torch.ones(8, 2, 2, 8), "values": torch.ones(8, 2, 2, 8)}, ValueError, "pages of 4 tokens"),
        ({"values": torch.ones(4, 4, 2, 4)}, ValueError, "wanted q"),
        ({"q": torch.ones(2, 6, 8).double()}, TypeError, "one floating dtype"),
        ({"window": 0}, ValueError, "window must be at least 1"),
        ({"window": True}, TypeError, "window must be an integer"),
        ({"window": 2.0}, TypeError, "window must be an integer"),
        ({"alibi_slopes_N": torch.ones(2)}, ValueError, "alibi_slopes"),
        ({"q": torch.ones(2, 6, 8, device="meta")}, ValueError, "one device"),
    ],
)
def test_refuses_bad_input(
    function: Callable[..., Tensor], change: dict[str, Any], error: type[Exception], message: str
) -> None:
    scene = make_scene([(4, 5), (7, 8)])
    given = {"q": scene.q, "keys": scene.keys, "values": scene.values, **change}
    options = {name: given.pop(name) for name in ("window", "alibi_slopes_N") if name in given}
    with pytest.raises(error, match=message):
        function(given["q"], given["keys"], given["values"], scene.layout, **options)


@pytest.mark.parametrize("num_heads", [0, -1, 2.0, True])
def test_slopes_of_no_heads_are_refused(num_heads: Any) -> None:
    with pytest.raises(ValueError, match="num_heads"):
        alibi_slopes(num_heads)
