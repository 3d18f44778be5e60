"""On a GPU the model gives the CPU's answer, in each precision, with and without a cache."""

import pytest
import torch

from kb.lm import DecoderLM, KVCache, ModelConfig, SamplingParams, generate
from kb.nn import grouped_query_attention, grouped_query_attention_loop

pytestmark = pytest.mark.gpu

CONFIG = ModelConfig(
    vocab_size=211,
    hidden_size=64,
    intermediate_size=160,
    num_layers=4,
    num_heads=8,
    num_kv_heads=2,
    head_dim=16,
    max_positions=256,
    qk_norm=True,
    qkv_bias=True,
)


@pytest.fixture
def model() -> DecoderLM:
    """Random weights, large enough that logits differ."""
    torch.manual_seed(0)
    made = DecoderLM(CONFIG).requires_grad_(False).eval()
    for name, parameter in made.named_parameters():
        parameter.normal_(1.0 if "norm" in name else 0.0, 0.15)
    return made


def tokens(B: int, T: int) -> torch.Tensor:
    return torch.randint(0, CONFIG.vocab_size, (B, T), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("dtype", "ulps"), [(torch.float64, 2**35), (torch.float32, 64), (torch.bfloat16, 16), (torch.float16, 32)]
)
def test_logits_equal_the_cpu_s(model: DecoderLM, device: torch.device, dtype: torch.dtype, ulps: int) -> None:
    exact = model.double()(tokens(2, 33))
    there = model.to(device=device, dtype=dtype)(tokens(2, 33).to(device))
    assert there.dtype == dtype
    # Norms and angles are float32, also in a float64 model: 64 of its ulps are 2^35 of float64's.
    bound = ulps * torch.finfo(dtype).eps * float(exact.abs().max())
    assert float((there.double().cpu() - exact).abs().max()) <= bound


def test_greedy_tokens_equal_the_cpu_s_with_and_without_a_cache(model: DecoderLM, device: torch.device) -> None:
    wanted = generate(model, tokens(3, 9), 24)
    there = model.to(device)
    for use_cache in (True, False):
        assert torch.equal(generate(there, tokens(3, 9), 24, use_cache=use_cache).cpu(), wanted)


def test_sampling_with_a_cache_equals_sampling_without(model: DecoderLM, device: torch.device) -> None:
    there, params = model.to(device), SamplingParams(0.9, 50, 0.95, 0.01, 1.1)
    runs = [
        generate(
            there,
            tokens(2, 9),
            24,
            use_cache=use_cache,
            sampling=params,
            generator=torch.Generator(device).manual_seed(3),
        )
        for use_cache in (True, False)
    ]
    assert torch.equal(*runs)


def test_chunks_through_a_cache_equal_the_whole(model: DecoderLM, device: torch.device) -> None:
    there, given = model.to(device), tokens(2, 20).to(device)
    cache = KVCache(CONFIG, batch=2, capacity=20, device=device)
    parts = torch.cat([there(chunk, cache=cache) for chunk in given.split([11, 1, 5, 3], dim=1)], dim=1)
    whole = there(given)
    assert float((parts - whole).abs().max()) <= 1e-5 * float(whole.abs().max())


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize(("T", "S"), [(5, 5), (1, 7), (3, 8)])
def test_fused_attention_equals_the_loop_with_gradients(
    device: torch.device, T: int, S: int, window: int | None
) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, T, 4, 8), (2, S, 2, 8), (2, S, 2, 8))
    q, k, v = (torch.randn(shape, generator=generator).to(device).requires_grad_() for shape in shapes)
    fused, loop = grouped_query_attention(q, k, v, window=window), grouped_query_attention_loop(q, k, v, window=window)
    torch.testing.assert_close(fused, loop, rtol=1e-4, atol=1e-5)
    upstream = torch.randn(fused.shape, generator=generator).to(device)
    for a, b in zip(
        torch.autograd.grad(fused, (q, k, v), upstream), torch.autograd.grad(loop, (q, k, v), upstream), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
