"""The packed linear layer: torch's function, for every number of rows, and only where the kernel is."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kb.nn import PackedLinear, PackedSwiGLU, SwiGLU, pack_linears
from kb.nn.packed_linear import can_pack

pytestmark = pytest.mark.skipif(not can_pack(nn.Linear(1, 1)), reason="this torch has no oneDNN kernels")


@given(
    rows=st.integers(1, 70),
    inputs=st.integers(1, 65),
    outputs=st.integers(1, 65),
    bias=st.booleans(),
    seed=st.integers(),
)
@settings(max_examples=40)
def test_gives_what_linear_gives(rows: int, inputs: int, outputs: int, bias: bool, seed: int) -> None:
    noise = torch.Generator().manual_seed(seed % 2**32)
    linear = nn.Linear(inputs, outputs, bias=bias).requires_grad_(False)
    linear.weight.normal_(generator=noise)
    x = torch.randn(2, rows, inputs, generator=noise)
    torch.testing.assert_close(PackedLinear(linear)(x), F.linear(x, linear.weight, linear.bias), rtol=1e-5, atol=1e-5)


def test_replaces_the_layers_of_a_model_and_no_others() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU()), nn.Embedding(3, 4))
    model.requires_grad_(False)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    before = model[1](model[0](x))
    assert pack_linears(model) == 2
    assert [type(model[0]), type(model[1][0]), type(model[2])] == [PackedLinear, PackedLinear, nn.Embedding]
    torch.testing.assert_close(model[1](model[0](x)), before)


def test_a_weight_that_is_tied_stays_with_its_other_owner() -> None:
    embedding, head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
    head.weight = embedding.weight
    before = embedding.weight.clone()
    pack_linears(nn.ModuleList([embedding, head]))
    assert torch.equal(embedding.weight, before)


@given(rows=st.sampled_from([0, 1, 3, 511, 512, 513, 1100]), bias=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_a_packed_feed_forward_network_gives_what_it_gave(rows: int, bias: bool, seed: int) -> None:
    ffn = SwiGLU(12, 20, bias=bias).requires_grad_(False)
    noise = torch.Generator().manual_seed(seed)
    for parameter in ffn.parameters():
        parameter.normal_(generator=noise)
    x = torch.randn(2, rows, 12, generator=noise)
    torch.testing.assert_close(PackedSwiGLU(ffn)(x), ffn(x), rtol=1e-4, atol=1e-4)


def test_a_model_s_feed_forward_networks_are_packed_whole_where_they_have_silu() -> None:
    model = nn.ModuleDict({"a": SwiGLU(4, 6), "b": SwiGLU(4, 6, activation="gelu")}).requires_grad_(False)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    before = {name: ffn(x) for name, ffn in model.items()}
    assert pack_linears(model) == 6
    assert type(model["a"]) is PackedSwiGLU
    assert type(model["b"]) is SwiGLU
    for name, ffn in model.items():
        torch.testing.assert_close(ffn(x), before[name], rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="with silu"):
        PackedSwiGLU(SwiGLU(4, 6, activation="relu"))


def test_other_dtypes_are_left_alone_and_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(4, 4).double())
    assert pack_linears(model) == 0
    with pytest.raises(ValueError, match="float32 on a CPU"):
        PackedLinear(model[0])
