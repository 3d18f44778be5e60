"""Multi-head attention has torch's state, outputs, weights and gradients, to 1e-10; masks of all kinds; bad input."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn as theirs

from kb.autograd import Tensor
from kb.autograd import nn as ours

D = "float64"
B, Q, K, E, N = 3, 4, 5, 8, 2


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return generator(seed).normal(size=shape)


def pair(library: str = "numpy", width: int = E, heads: int = N, **options: Any) -> tuple[Any, Any]:
    """Our layer and torch's, with the same state."""
    reference = theirs.MultiheadAttention(width, heads, dtype=torch.float64, **options)
    with torch.no_grad():
        for place, parameter in enumerate(reference.parameters()):
            parameter.copy_(torch.from_numpy(numbers(*parameter.shape, seed=place)))
    layer = ours.MultiheadAttention(width, heads, dtype=D, **options)
    assert layer.load_state_dict(reference.state_dict()) == ([], [])
    return layer.to(library=library), reference


def as_ours(value: Any, library: str, requires_grad: bool = False) -> Any:
    if value is None:
        return None
    array = np.array(value)
    return Tensor(array if library == "numpy" else torch.from_numpy(array), requires_grad=requires_grad)


def as_theirs(value: Any, requires_grad: bool = False) -> Any:
    return None if value is None else torch.tensor(value, requires_grad=requires_grad)


def close(found: Any, wanted: Any) -> None:
    assert (found is None) == (wanted is None)
    if wanted is not None:
        np.testing.assert_allclose(found.detach().numpy(), wanted.detach().numpy(), 1e-10, 1e-10)


def assert_alike(layer: Any, reference: Any, inputs: list[np.ndarray], library: str = "numpy", **options: Any) -> None:
    """Outputs, weights, and the gradients of inputs, floating masks and parameters."""
    masks = {name: options.pop(name) for name in ("attn_mask", "key_padding_mask") if name in options}
    floating = {name: mask is not None and mask.dtype.kind == "f" for name, mask in masks.items()}
    mine = [as_ours(one, library, requires_grad=True) for one in inputs]
    yours = [as_theirs(one, requires_grad=True) for one in inputs]
    my_masks = {name: as_ours(mask, library, floating[name]) for name, mask in masks.items()}
    your_masks = {name: as_theirs(mask, floating[name]) for name, mask in masks.items()}
    out, weights = layer(*mine, **my_masks, **options)
    expected, their_weights = reference(*yours, **your_masks, **options)
    close(out, expected)
    close(weights, their_weights)
    cotangents = [numbers(*one.shape, seed=7) for one in (expected, their_weights) if one is not None]
    total = sum((one * as_ours(g, library)).sum() for one, g in zip((out, weights), cotangents, strict=False))
    sum((o * torch.tensor(g)).sum() for o, g in zip((expected, their_weights), cotangents, strict=False)).backward()
    total.backward()
    for one, other in zip([*mine, *layer.parameters()], [*yours, *reference.parameters()], strict=True):
        close(one.grad, other.grad)
    for name in masks:
        if floating[name]:
            close(my_masks[name].grad, your_masks[name].grad)


PADDING = np.arange(K) >= np.array([[4], [2], [5]])  # that many keys of each sequence are there
MASKS: dict[str, dict[str, Any]] = {
    "none": {},
    "causal": {"attn_mask": np.triu(np.ones((Q, K), bool), 1), "is_causal": True},
    "padding": {"key_padding_mask": PADDING},
    "both": {
        "attn_mask": np.triu(np.ones((Q, K), bool), 1),
        "key_padding_mask": PADDING,
    },
    "of each head": {"attn_mask": generator(3).random((B * N, Q, K)) < 0.2},
    "added": {"attn_mask": numbers(Q, K), "key_padding_mask": numbers(B, K)},
    "added to each head": {"attn_mask": numbers(B * N, Q, K)},
    "added and boolean": {"attn_mask": numbers(Q, K), "key_padding_mask": PADDING},
}


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("weights", [None, "mean", "each"])
def test_outputs_weights_and_gradients_are_torchs(mask: str, weights: str | None, library: str) -> None:
    options = {"need_weights": weights is not None, "average_attn_weights": weights == "mean"}
    layer, reference = pair(library, batch_first=True)
    inputs = [numbers(B, Q, E), numbers(B, K, E, seed=1), numbers(B, K, E, seed=2)]
    assert_alike(layer, reference, inputs, library, **options, **MASKS[mask])


@settings(max_examples=60)
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
    heads=st.integers(1, 3),
    width=st.integers(1, 3),
    other=st.sampled_from([{}, {"kdim": 5}, {"vdim": 3}, {"kdim": 2, "vdim": 7}]),
    bias=st.booleans(),
    layout=st.sampled_from(["batch first", "time first", "alone"]),
    batch_first=st.booleans(),  # makes no difference to one that is alone
    need_weights=st.booleans(),
    masked=st.booleans(),
)
def test_any_sizes_and_layouts(
    sizes: tuple[int, int, int],
    heads: int,
    width: int,
    other: dict[str, int],
    bias: bool,
    layout: str,
    batch_first: bool,
    need_weights: bool,
    masked: bool,
) -> None:
    count, queries, keys = sizes
    batch_first = batch_first if layout == "alone" else layout == "batch first"
    layer, reference = pair(width=width * heads, heads=heads, bias=bias, batch_first=batch_first, **other)
    inputs = []
    for place, (steps, wide) in enumerate(((queries, layer.embed_dim), (keys, layer.kdim), (keys, layer.vdim))):
        order = {"batch first": (count, steps), "time first": (steps, count), "alone": (steps,)}[layout]
        inputs.append(numbers(*order, wide, seed=place))
    options: dict[str, Any] = {"need_weights": need_weights}
    if masked:
        options["key_padding_mask"] = np.zeros((keys,) if layout == "alone" else (count, keys), bool)
        options["key_padding_mask"][..., 1:] = True
    assert_alike(layer, reference, inputs, **options)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**16), need_weights=st.booleans())
def test_a_masked_key_changes_nothing_and_weights_sum_to_one(seed: int, need_weights: bool) -> None:
    layer, _ = pair(batch_first=True)
    q, k, v = (numbers(B, K, E, seed=seed + place) for place in range(3))
    hidden = np.zeros((B, K), bool)
    hidden[:, generator(seed).integers(K)] = True
    out, weights = layer(Tensor(q), Tensor(k), Tensor(v), Tensor(hidden), need_weights)
    other, _ = layer(Tensor(q), *(Tensor(np.where(hidden[..., None], 9.0, x)) for x in (k, v)), Tensor(hidden))
    np.testing.assert_allclose(out.detach().numpy(), other.detach().numpy(), 1e-12, 1e-12)
    if need_weights:
        np.testing.assert_allclose(weights.detach().numpy().sum(-1), 1.0, 1e-12)
        assert not weights.detach().numpy()[np.broadcast_to(hidden[:, None], (B, K, K))].any()


@pytest.mark.parametrize("need_weights", [True, False])
def test_a_query_that_may_look_at_nothing(need_weights: bool) -> None:
    layer, reference = pair(batch_first=True)
    x = numbers(B, K, E)
    hidden = np.array([[True] * K, [False] * K, [False] * K])
    out, weights = layer(*[Tensor(x)] * 3, Tensor(hidden), need_weights)
    expected, their_weights = reference(*[torch.tensor(x)] * 3, torch.tensor(hidden), need_weights)
    close(out, expected)
    close(weights, their_weights)
    assert np.isnan(out.detach().numpy()[0]).all() == need_weights


@pytest.mark.parametrize("shapes", [((0, Q), (0, K)), ((B, 0), (B, K)), ((B, Q), (B, 0))])
@pytest.mark.parametrize("need_weights", [True, False])
def test_of_nothing(shapes: tuple[tuple[int, int], tuple[int, int]], need_weights: bool) -> None:
    layer, _ = pair(batch_first=True)
    queries, keys = (Tensor(np.ones((*shape, E))) for shape in shapes)
    out, weights = layer(queries, keys, keys, need_weights=need_weights)
    assert out.shape == (*shapes[0], E)
    if 0 in shapes[1][1:]:  # no key, so what is mixed is 0, and the last projection gives its bias
        np.testing.assert_array_equal(
            out.detach().numpy(), np.broadcast_to(layer.out_proj.bias.detach().numpy(), out.shape)
        )
    assert weights is None or weights.shape == (*shapes[0], shapes[1][1])


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 3}, {"vdim": 5, "bias": False}])
def test_the_state_has_torchs_names_and_goes_both_ways(options: dict[str, Any]) -> None:
    layer = ours.MultiheadAttention(E, N, generator=generator(), **options)
    reference = theirs.MultiheadAttention(E, N, **options)
    for method in ("named_parameters", "named_modules"):
        assert [name for name, _ in getattr(layer, method)()] == [name for name, _ in getattr(reference, method)()]
    state = {name: torch.from_numpy(np.array(value.numpy())) for name, value in layer.state_dict().items()}
    assert list(state) == list(reference.state_dict())
    reference.load_state_dict(state)
    x = [
        generator(place).normal(size=(K, B, one)).astype("f4") for place, one in enumerate((E, layer.kdim, layer.vdim))
    ]
    found, _ = layer(*map(Tensor, x))
    wanted, _ = reference(*map(torch.tensor, x))
    np.testing.assert_allclose(found.detach().numpy(), wanted.detach().numpy(), 1e-5, 1e-5)
    assert found.dtype == np.float32


def test_initial_values_have_torchs_spread_and_come_from_the_generator() -> None:
    layer, same = (ours.MultiheadAttention(96, 4, generator=generator(1)) for _ in range(2))
    reference = theirs.MultiheadAttention(96, 4)
    for name, value in layer.state_dict().items():
        wanted = reference.state_dict()[name]
        assert np.abs(value.numpy()).max() == pytest.approx(float(wanted.abs().max()), rel=0.01)
        assert value.numpy().std() == pytest.approx(float(wanted.std(correction=0)), rel=0.05)
        np.testing.assert_array_equal(value.numpy(), same.state_dict()[name].numpy())
    before = layer.out_proj.weight.detach().numpy().copy()
    layer.reset_parameters(generator(2))
    assert not np.array_equal(layer.out_proj.weight.detach().numpy(), before)


def test_dropout_leaves_out_weights_in_training_only() -> None:
    x = Tensor(numbers(1, 50, E))
    layer, again = (
        ours.MultiheadAttention(E, N, 0.25, batch_first=True, dtype=D, generator=generator(3)) for _ in range(2)
    )
    whole = layer.eval()(x, x, x, average_attn_weights=False)[1].detach().numpy()
    found = layer.train()(x, x, x, average_attn_weights=False)[1].detach().numpy()
    kept = found != 0
    assert 0.2 < 1 - kept.mean() < 0.3
    np.testing.assert_allclose(found[kept], whole[kept] / 0.75, 1e-12)
    np.testing.assert_array_equal(again(x, x, x, average_attn_weights=False)[1].detach().numpy(), found)
    thinned, _ = layer(x, x, x, need_weights=False)
    full, _ = layer.eval()(x, x, x, need_weights=False)
    assert not np.allclose(thinned.detach().numpy(), full.detach().numpy())


X, BOOL = Tensor(numbers(2, 3, E)), Tensor(np.zeros((3, 3), bool))


def attend(*inputs: Any, **options: Any) -> Callable[[], Any]:
    return lambda: ours.MultiheadAttention(E, N, batch_first=True, dtype=D)(*(inputs or (X, X, X)), **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ours.MultiheadAttention(0, 1), ValueError, "embed_dim"),
        (lambda: ours.MultiheadAttention(8, 2.0), ValueError, "num_heads"),
        (lambda: ours.MultiheadAttention(8, 3), ValueError, "embed_dim must be a multiple of num_heads, got 8 and 3"),
        (lambda: ours.MultiheadAttention(8, 2, 1.5), ValueError, "dropout"),
        (lambda: ours.MultiheadAttention(8, 2, kdim=0), ValueError, "kdim"),
        (lambda: ours.MultiheadAttention(8, 2, vdim="x"), ValueError, "vdim"),
        (lambda: ours.MultiheadAttention(8, 2, dtype="int64"), TypeError, "dtype"),
        (lambda: ours.MultiheadAttention(8, 2, generator=3), TypeError, "generator"),
        (attend(X.tolist(), X, X), TypeError, "query"),
        (attend(X.float(), X, X), TypeError, "one dtype"),
        (attend(X.to(library="torch"), X, X), TypeError, "torch"),
        (attend(X, X[..., :4], X), ValueError, "widths 8, 8 and 8"),
        (attend(X, X[0], X), ValueError, "2 axes, or 3"),
        (attend(X[None], X[None], X[None]), ValueError, "2 axes, or 3"),
        (attend(X[:1], X, X), ValueError, "as many sequences"),
        (attend(X, X, X[:, :1]), ValueError, "key and value as long"),
        (attend(is_causal=True), ValueError, "give the mask too"),
        (attend(attn_mask=BOOL[:2]), ValueError, r"attn_mask must be \(3, 3\) or \(4, 3, 3\), got \(2, 3\)"),
        (attend(key_padding_mask=BOOL), ValueError, r"key_padding_mask must be \(2, 3\), got \(3, 3\)"),
        (attend(attn_mask=BOOL.long()), TypeError, "attn_mask must be floating"),
        (attend(attn_mask=BOOL.float()), TypeError, "one dtype"),
        (attend(attn_mask=BOOL.to(library="torch")), TypeError, "torch"),
        (attend(key_padding_mask=[[False] * 3] * 2), TypeError, "key_padding_mask must be a tensor"),
    ],
)
def test_bad_input(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
