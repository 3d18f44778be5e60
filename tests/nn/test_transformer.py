"""The encoder-decoder: torch.nn.Transformer's state loads, and its outputs and gradients come out."""

from typing import Any

import pytest
import torch
from torch import Tensor

from kb.nn import EncoderDecoder, causal_mask

D, N, F = 8, 2, 12
SIZES: dict[str, Any] = {"d_model": D, "nhead": N, "num_encoder_layers": 2, "num_decoder_layers": 2}


def pair(**options: Any) -> tuple[EncoderDecoder, torch.nn.Transformer]:
    """Ours and torch's with the same random weights."""
    options = {**SIZES, "dim_feedforward": F, "dropout": 0.0, **options}
    torch.manual_seed(0)
    theirs = torch.nn.Transformer(**options).double()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    ours = EncoderDecoder(**options).double()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def sequences(B: int, S: int, T: int, *, batch_first: bool) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    made = [torch.randn(B, length, D, generator=generator, dtype=torch.float64) for length in (S, T)]
    return [(one if batch_first else one.transpose(0, 1)).requires_grad_() for one in made]


def masks(B: int, S: int, T: int) -> dict[str, Tensor]:
    padding = torch.zeros(B, S, dtype=torch.bool)
    padding[1, S - 2 :] = True
    target_padding = torch.zeros(B, T, dtype=torch.bool)
    target_padding[0, T - 1] = True
    memory = torch.zeros(T, S, dtype=torch.bool)
    memory[0, 2] = True
    return {
        "src_mask": torch.eye(S, dtype=torch.bool).roll(1, 1),
        "tgt_mask": causal_mask(T),
        "memory_mask": memory,
        "src_key_padding_mask": padding,
        "tgt_key_padding_mask": target_padding,
        "memory_key_padding_mask": padding,
    }


def assert_equal(ours: Any, theirs: Any, inputs: list[Tensor], outs: list[Tensor]) -> None:
    torch.testing.assert_close(outs[0], outs[1], rtol=1e-9, atol=1e-9)
    upstream = torch.randn(outs[0].shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    gradients = [
        torch.autograd.grad(out, [*inputs, *model.parameters()], upstream)
        for out, model in zip(outs, (ours, theirs), strict=True)
    ]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_torch_in_output_and_gradients(
    norm_first: bool, activation: str, batch_first: bool, masked: bool
) -> None:
    ours, theirs = pair(norm_first=norm_first, activation=activation, batch_first=batch_first)
    inputs = sequences(2, 5, 4, batch_first=batch_first)
    call = masks(2, 5, 4) if masked else {}
    assert_equal(ours, theirs, inputs, [model(*inputs, **call) for model in (ours, theirs)])


def test_without_biases_and_with_another_epsilon() -> None:
    ours, theirs = pair(bias=False, layer_norm_eps=1e-2, batch_first=True)
    inputs = sequences(2, 3, 4, batch_first=True)
    assert_equal(ours, theirs, inputs, [model(*inputs) for model in (ours, theirs)])


def test_one_sequence_without_an_axis_of_them() -> None:
    ours, theirs = pair()
    inputs = [one[:, 0] for one in sequences(2, 3, 4, batch_first=False)]
    call = {"tgt_mask": causal_mask(4), "src_key_padding_mask": torch.tensor([False, False, True])}
    torch.testing.assert_close(ours(*inputs, **call), theirs(*inputs, **call), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("norm_first", [False, True])
def test_after_the_same_seed_the_same_units_are_dropped(norm_first: bool) -> None:
    ours, theirs = pair(dropout=0.3, norm_first=norm_first, batch_first=True)
    # One sequence: with more, torch's tensors lie in memory in another order, and their units are drawn in that order.
    inputs, outs = sequences(1, 3, 4, batch_first=True), []
    for model in (ours, theirs):
        torch.manual_seed(4)
        outs.append(model(*inputs, tgt_mask=causal_mask(4)))
    assert not torch.allclose(outs[0], ours.eval()(*inputs, tgt_mask=causal_mask(4)))
    assert_equal(ours, theirs, inputs, outs)


def test_initial_values_have_the_names_shapes_and_bounds_of_torch() -> None:
    ours, theirs = EncoderDecoder(**SIZES).state_dict(), torch.nn.Transformer(**SIZES).state_dict()
    assert {name: one.shape for name, one in ours.items()} == {name: one.shape for name, one in theirs.items()}
    weight = ours["encoder.layers.0.linear1.weight"]
    assert weight.abs().max() <= (6 / sum(weight.shape)) ** 0.5
    assert ours["decoder.layers.1.multihead_attn.in_proj_bias"].abs().max() == 0


def test_the_future_of_the_target_and_padding_of_the_source_do_not_matter() -> None:
    ours, _ = pair(batch_first=True)
    src, tgt = (one.detach() for one in sequences(2, 5, 4, batch_first=True))
    padding = torch.zeros(2, 5, dtype=torch.bool)
    padding[:, 4] = True
    call = {"tgt_mask": causal_mask(4), "src_key_padding_mask": padding, "memory_key_padding_mask": padding}
    before = ours(src, tgt, **call)
    changed_src, changed_tgt = src.clone(), tgt.clone()
    changed_src[:, 4], changed_tgt[:, 3] = 100.0, -100.0
    after = ours(changed_src, changed_tgt, **call)
    torch.testing.assert_close(after[:, :3], before[:, :3], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(after[:, 3], before[:, 3])
    # Without the decoder's own mask of the source, the padding is seen after all.
    del call["memory_key_padding_mask"]
    assert not torch.allclose(ours(changed_src, tgt, **call), ours(src, tgt, **call))


def test_in_inference_the_encoder_of_torch_gives_zeros_for_padding_and_ours_does_not() -> None:
    ours, theirs = pair(batch_first=True)
    src = sequences(2, 5, 4, batch_first=True)[0].detach()
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with torch.inference_mode():
        memory = ours.eval().encoder(src, None, padding)
        their_memory = theirs.eval().encoder(src, src_key_padding_mask=padding)
    torch.testing.assert_close(memory[~padding], their_memory[~padding], rtol=1e-9, atol=1e-9)
    assert (memory[padding] != 0).all()
    # The last norm makes its bias of what were zeros.
    torch.testing.assert_close(their_memory[padding], theirs.encoder.norm.bias.expand(2, -1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nhead": 3}, "d_model must be a multiple"),
        ({"num_decoder_layers": 0}, "num_decoder_layers"),
        ({"dim_feedforward": 1.5}, "dim_feedforward"),
        ({"activation": "tanh"}, "activation"),
        ({"dropout": -1}, "dropout"),
        ({"layer_norm_eps": 0}, "layer_norm_eps"),
    ],
)
def test_refuses_impossible_sizes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EncoderDecoder(**{**SIZES, **options})


def test_refuses_sequences_that_do_not_fit() -> None:
    ours, _ = pair(batch_first=True)
    x = torch.zeros(2, 3, D, dtype=torch.float64)
    with pytest.raises(ValueError, match="as many sequences"):
        ours(x, x[:1])
    with pytest.raises(ValueError, match="widths"):
        ours(x[..., :4], x)
    with pytest.raises(ValueError, match="attn_mask"):
        ours(x, x, tgt_mask=causal_mask(4))
    with pytest.raises(TypeError, match="query, key and value"):
        ours(x.float(), x)
