"""A block in four products: the block's own numbers, the engine's own tokens, and what there is without it."""

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from kb.lm import DecoderLM, NoCache
from kb.nn import PackedLinear
from kb.serving import LLM, SamplingParams, engine_args

pytest.importorskip("numba")

from kb.nn.panel_linear import PanelLinear
from kb.serving.fused_block import FusedBlock, can_fuse, fuse_blocks

ModelMaker = Callable[..., DecoderLM]
SWITCHES = ("qkv_bias", "output_bias", "ffn_bias", "qk_norm")
OTHERS: list[dict[str, Any]] = [{}, {"windows": (6, None)}, {"qk_norm": True, "qkv_bias": True, "num_kv_heads": 1}]


def share_of_largest(ours: torch.Tensor, wanted: torch.Tensor) -> float:
    assert ours.shape == wanted.shape
    return float((ours - wanted).detach().abs().max() / wanted.detach().abs().max())


@pytest.fixture(scope="module")
def float32_maker(model_maker: ModelMaker) -> ModelMaker:
    return lambda **options: model_maker(dtype=torch.float32, **options)


@given(
    groups=st.sampled_from([1, 2, 4]),
    head_dim=st.sampled_from([2, 6, 16, 64]),
    width=st.integers(1, 70),
    inner=st.integers(1, 110),
    switches=st.fixed_dictionaries({name: st.booleans() for name in SWITCHES}),
    window=st.sampled_from([None, 1, 5]),
    rotates=st.booleans(),
    tokens=st.sampled_from([1, 7, 8, 9, 33]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60)
def test_gives_what_the_block_gives(
    float32_maker: ModelMaker,
    groups: int,
    head_dim: int,
    width: int,
    inner: int,
    switches: dict[str, bool],
    window: int | None,
    rotates: bool,
    tokens: int,
    seed: int,
) -> None:
    sizes = {"num_kv_heads": groups, "head_dim": head_dim, "hidden_size": width, "intermediate_size": inner}
    model = float32_maker(seed=seed % 1000, windows=(window,) * 2, uses_rope=(rotates,) * 2, **sizes, **switches)
    noise = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 61, (2, tokens), generator=noise)
    rows = torch.randint(0, tokens, (3,), generator=noise)
    wanted, some = model.hidden(ids, NoCache()), model.hidden(ids, NoCache(), rows)
    assert share_of_largest(some, wanted[:, rows]) < 1e-5
    assert fuse_blocks(model) == 2
    assert share_of_largest(model.hidden(ids, NoCache()), wanted) < 1e-4
    assert share_of_largest(model.hidden(ids, NoCache(), rows), wanted[:, rows]) < 1e-4


def test_takes_a_gradient_s_input_and_gives_none(float32_maker: ModelMaker) -> None:
    model = float32_maker(qk_norm=True).requires_grad_(True)
    ids = torch.tensor([[3, 4, 5]])
    wanted = model(ids)
    fuse_blocks(model)
    assert share_of_largest(model(ids), wanted) < 1e-4


def test_the_block_and_a_tied_embedding_are_left_alone(float32_maker: ModelMaker) -> None:
    model = float32_maker(tie_embeddings=True)
    block, before = model.layers[0], {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fuse_blocks(model)
    assert isinstance(model.layers[0], FusedBlock)
    assert isinstance(model.lm_head, PanelLinear)
    assert torch.equal(model.embed_tokens.weight, before["embed_tokens.weight"])
    for name, tensor in block.state_dict().items():
        assert torch.equal(tensor, before[f"layers.0.{name}"])


def test_what_it_does_not_know_is_left_as_it_is(float32_maker: ModelMaker, tiny: DecoderLM) -> None:
    gelu = float32_maker(activation="gelu")
    other = DecoderLM(gelu.config, lambda config, layer: nn.Linear(config.hidden_size, config.hidden_size))
    mixed = float32_maker()
    mixed.layers[1].double()
    for model in (gelu, other, tiny, mixed):
        head = model.lm_head
        blocks = list(model.layers)
        assert fuse_blocks(model) == 0
        assert list(model.layers) == blocks
        if model in (tiny, mixed):
            assert model.lm_head is head
    with pytest.raises(ValueError, match="only a block of float32"):
        FusedBlock(gelu.layers[0])  # type: ignore[arg-type]
    assert not can_fuse(nn.Identity())


class Doubled(nn.Linear):
    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(*inputs)


def put_doubled(block: nn.Module) -> None:
    linear = block.self_attn.q_proj
    block.self_attn.q_proj = Doubled(linear.in_features, linear.out_features, bias=False).requires_grad_(False)


OTHER_PARTS: dict[str, Callable[[Any], object]] = {
    "projection": put_doubled,
    "wrapped": lambda block: setattr(block.self_attn, "o_proj", nn.Sequential(block.self_attn.o_proj)),
    "norm": lambda block: setattr(block, "input_layernorm", nn.LayerNorm(32).requires_grad_(False)),
    "norm of queries": lambda block: setattr(block.self_attn, "q_norm", nn.Tanh()),
    "hook": lambda block: block.mlp.down_proj.register_forward_hook(lambda module, inputs, output: 3 * output),
    "hook before": lambda block: block.self_attn.register_forward_pre_hook(lambda module, inputs: None),
}


@pytest.mark.parametrize("part", OTHER_PARTS)
def test_a_block_with_another_part_stays_and_the_other_is_fused(float32_maker: ModelMaker, part: str) -> None:
    model, tokens = float32_maker(), torch.arange(1, 12)[None]
    OTHER_PARTS[part](model.layers[1])
    wanted = model(tokens)
    assert fuse_blocks(model) == 1
    assert [type(block) is FusedBlock for block in model.layers] == [True, False]
    assert share_of_largest(model(tokens), wanted) < 1e-5


def test_refuses_what_its_kernels_would_read_beside(float32_maker: ModelMaker) -> None:
    model = float32_maker()
    block, tables = FusedBlock(model.layers[0]), (torch.ones(1, 3, 4), torch.ones(1, 3, 4))  # type: ignore[arg-type]
    good = torch.ones(2, 3, 32)
    assert block(good, tables, NoCache()).shape == (2, 3, 32)
    for x in (good.double(), good.long(), good[0], good[..., :31], good[:, :0], good.to("meta")):
        with pytest.raises(ValueError, match=r"x_BTD must be float32 \[B, T, 32\] on the CPU, got"):
            block(x, tables, NoCache())
    for table in (torch.ones(1, 3, 100_000), torch.ones(1, 2, 4), torch.ones(3, 3, 4), torch.ones(1, 3, 4).double()):
        for pair in ((table, tables[1]), (tables[0], table)):
            with pytest.raises(ValueError, match=r"tables must be float32 \[1 or 2, 3, 4\] on the CPU, got"):
                block(good, pair, NoCache())
    fuse_blocks(model)
    with pytest.raises(ValueError, match="x_BTD must be float32"):
        model.double().hidden(torch.arange(1, 12)[None], NoCache())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a Llama of two layers with a tied output head."""
    folder = str(tmp_path_factory.mktemp("llama"))
    config = LlamaConfig(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=96,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("fast", [True, False])
def test_an_engine_uses_it_where_it_is_fast(monkeypatch: pytest.MonkeyPatch, fast: bool, saved: str) -> None:
    monkeypatch.setattr(engine_args, "panels_are_fast", lambda: fast)
    llm = LLM(saved, skip_tokenizer_init=True)
    kinds = {type(block) is FusedBlock for block in llm.llm_engine.model.layers}
    assert kinds == {fast}
    assert type(llm.llm_engine.model.lm_head) is (PanelLinear if fast else PackedLinear)
    bfloat16 = LLM(saved, skip_tokenizer_init=True, dtype="bfloat16").llm_engine.model
    assert not any(isinstance(module, FusedBlock | PanelLinear) for module in bfloat16.modules())


def test_a_folder_for_pages_is_refused_to_a_model_whose_weights_cannot_name_them(
    float32_maker: ModelMaker, tmp_path: Any
) -> None:
    model = float32_maker()
    fuse_blocks(model)
    with pytest.raises(ValueError, match="not packed"):
        LLM(model, kv_offloading_folder=tmp_path, kv_offloading_disk_size=1)


ALONE = """
import sys
if {without_numba}: sys.modules["numba"] = None
import torch
from kb.lm import DecoderLM, ModelConfig, generate
from kb.nn.processor import panels_are_fast
from kb.serving import LLM, SamplingParams
from kb.serving.engine_args import _speed_up
assert not panels_are_fast()
def make():
    noise = torch.Generator().manual_seed(0)
    model = DecoderLM(ModelConfig(vocab_size=61, hidden_size=32, intermediate_size=48, num_layers=2, num_heads=4,
        num_kv_heads=2, head_dim=8, max_positions=96)).requires_grad_(False).eval()
    for parameter in model.parameters():
        parameter.normal_(0.3, 0.35, generator=noise)
    return model
served = make()
_speed_up(served)
prompts = [[5] * 20 + [7], [3], [9, 8, 7]]
params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True, detokenize=False)
for prompt, output in zip(prompts, LLM(served).generate(prompts, params, use_tqdm=False)):
    assert list(output.outputs[0].token_ids) == generate(make(), prompt, 12, stop_ids=()).tolist()[len(prompt):]
assert "kb.nn.panel_linear" not in sys.modules
print("same")
"""


@pytest.mark.parametrize("without", ["numba", "avx512"])
def test_without_numba_or_avx512_the_answers_are_the_same(without: str) -> None:
    environment = {**os.environ, **({"ATEN_CPU_CAPABILITY": "avx2"} if without == "avx512" else {})}
    code = ALONE.format(without_numba=without == "numba")
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "same", done.stderr


@pytest.mark.parametrize("options", OTHERS)
def test_requests_of_an_engine_get_the_tokens_of_plain_generation(
    float32_maker: ModelMaker, answers: Callable[..., list[list[int]]], options: dict[str, Any]
) -> None:
    plain, fused = float32_maker(**options), float32_maker(**options)
    fuse_blocks(fused)
    noise, seeds = torch.Generator().manual_seed(0), count()
    prompts = [torch.randint(1, 61, (length,), generator=noise).tolist() for length in (1, 2, 9, 17, 30, 40, 8)]
    greedy = SamplingParams(temperature=0, max_tokens=20, ignore_eos=True)
    params = [greedy, *(SamplingParams(n=2, seed=next(seeds), max_tokens=9, prompt_logprobs=1) for _ in prompts[1:])]
    llm = LLM(fused, max_num_batched_tokens=24, max_num_seqs=6, block_size=4)
    outputs = llm.generate(prompts, params, use_tqdm=False)
    for prompt, one, output in zip(prompts, params, outputs, strict=True):
        assert [list(sample.token_ids) for sample in output.outputs] == answers(plain, prompt, one)
