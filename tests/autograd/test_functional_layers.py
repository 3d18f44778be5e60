"""Linear, norms, embedding, attention and dropout equal torch's; edges and bad input."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.autograd import Parameter, Tensor
from kb.autograd import functional as F
from kb.autograd.backend import convert

SIZE = st.integers(1, 3)


@settings(max_examples=25)
@given(data=st.data())
def test_linear_equals_torch(against_torch: Any, data: st.DataObject) -> None:
    lead = data.draw(st.lists(st.integers(0, 3), max_size=2))
    inputs, outputs = data.draw(SIZE), data.draw(SIZE)
    x, w = against_torch.draw(data, (*lead, inputs)), against_torch.draw(data, (outputs, inputs))
    b = against_torch.draw(data, (outputs,))
    given = (x, w, b) if data.draw(st.booleans()) else (x, w)
    against_torch.same(F.linear, TF.linear, *given)


def test_linear_to_one_number(against_torch: Any) -> None:
    against_torch.same(F.linear, TF.linear, np.ones((2, 3)), np.arange(3.0))
    np.testing.assert_array_equal(F.linear(np.ones((2, 3)), np.arange(3.0), np.array(2.0)), [5.0, 5.0])


@settings(max_examples=25)
@given(data=st.data())
def test_layer_norm_and_rms_norm_equal_torchs(against_torch: Any, data: st.DataObject) -> None:
    sizes = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=2)))
    lead = data.draw(st.lists(st.integers(0, 2), max_size=2))
    x, w, b = (against_torch.draw(data, shape) for shape in ((*lead, *sizes), sizes, sizes))
    eps = data.draw(st.sampled_from([1e-5, 0.1]))
    affine = data.draw(st.integers(0, 2))
    inputs = (x, w, b)[: affine + 1]
    against_torch.same(
        lambda x, *a: F.layer_norm(x, sizes, *a, eps=eps),
        lambda x, *a: TF.layer_norm(x, sizes, *a, eps=eps),
        *inputs,
        close=1e-8 if math.prod(sizes) == 1 else 1e-10,  # divided by sqrt(eps) three times over
    )
    eps = data.draw(st.sampled_from([None, 0.1]))
    inputs = inputs[:2]
    against_torch.same(
        lambda x, *a: F.rms_norm(x, sizes, *a, eps=eps), lambda x, *a: TF.rms_norm(x, sizes, *a, eps=eps), *inputs
    )


@settings(max_examples=30)
@given(data=st.data())
def test_batch_norm_equals_torch_and_so_do_its_running_statistics(against_torch: Any, data: st.DataObject) -> None:
    training, batch, channels = data.draw(st.booleans()), data.draw(st.integers(2, 4)), data.draw(SIZE)
    if data.draw(st.integers(0, 9)) == 0:
        batch = 0
    rest = data.draw(st.lists(SIZE, max_size=2))
    x = against_torch.draw(data, (batch, channels, *rest))
    w, b, mean = (against_torch.draw(data, (channels,)) for _ in range(3))
    var = against_torch.draw(data, (channels,), 0.5, 2.0)
    affine = data.draw(st.integers(0, 2))
    running = data.draw(st.booleans()) or not training
    ours = [against_torch.tensor(value) if running else None for value in (mean, var)]
    theirs = [torch.tensor(value) if running else None for value in (mean, var)]
    options = {"training": training, "momentum": data.draw(st.sampled_from([0.1, 0.5, 1.0])), "eps": 1e-3}
    against_torch.same(
        lambda x, *a: F.batch_norm(x, *ours, *a, **options),
        # Contiguous, since torch 2.13's gradient is wrong for other layouts where training is False.
        lambda x, *a: TF.batch_norm(x.contiguous(), *theirs, *a, **options),
        *(x, w, b)[: affine + 1],
        close=1e-9,
    )
    if running:
        for one, other in zip(ours, theirs, strict=True):
            against_torch.close(one, other, "running")
            assert (one.version > 0) == (training and batch > 0)


@settings(max_examples=20)
@given(data=st.data())
def test_embedding_equals_torch(against_torch: Any, data: st.DataObject) -> None:
    rows, width = data.draw(SIZE), data.draw(SIZE)
    shape = data.draw(st.lists(st.integers(0, 3), max_size=2))
    places = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, rows, shape)
    padding = data.draw(st.none() | st.integers(-rows, rows - 1))
    against_torch.same(
        lambda i, w: F.embedding(i, w, padding),
        lambda i, w: TF.embedding(i, w, padding),
        places,
        against_torch.draw(data, (rows, width)),
        second=False,
    )


@settings(max_examples=40)
@given(data=st.data())
def test_attention_equals_torch(against_torch: Any, data: st.DataObject) -> None:
    lead, group, shared = data.draw(st.lists(SIZE, max_size=1)), data.draw(st.integers(1, 2)), data.draw(SIZE)
    Q, K, H, V = (data.draw(SIZE) for _ in range(4))
    q, k, v = (
        against_torch.draw(data, (*lead, heads, *rest))
        for heads, rest in ((shared * group, (Q, H)), (shared, (K, H)), (shared, (K, V)))
    )
    kind = data.draw(st.sampled_from(["none", "causal", "boolean", "added", "scaled"]))
    options: dict[str, Any] = {"enable_gqa": True} if group > 1 else {}
    options |= {"is_causal": True} if kind == "causal" else {"scale": 0.3} if kind == "scaled" else {}
    inputs = [q, k, v]
    if kind in ("boolean", "added"):
        mask = np.random.default_rng(data.draw(st.integers(0, 99))).random((shared * group, Q, K)) < 0.6
        inputs.append(mask if kind == "boolean" else np.where(mask, 0.5, -np.inf))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        against_torch.same(
            lambda q, k, v, m=None: F.scaled_dot_product_attention(
                q, k, v, None if m is None else m.detach(), **options
            ),
            lambda q, k, v, m=None: TF.scaled_dot_product_attention(
                q, k, v, None if m is None else m.detach(), **options
            ),
            *inputs,
            second=kind != "added" and kind != "boolean",
        )


def test_a_query_that_may_look_at_no_key_gets_zeros_and_passes_no_gradient(against_torch: Any) -> None:
    generator = np.random.default_rng(2)
    q, k, v = generator.normal(size=(3, 1, 4, 5))
    mask = np.ones((4, 4), bool)
    mask[1] = False
    out = against_torch.same(
        F.scaled_dot_product_attention, TF.scaled_dot_product_attention, q, k, v, mask, second=False
    )
    np.testing.assert_array_equal(out.detach().numpy()[0, 1], 0.0)


def test_the_masks_gradient_equals_torchs(against_torch: Any) -> None:
    q, k, v, mask = np.random.default_rng(3).normal(size=(4, 1, 3, 3))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        against_torch.same(F.scaled_dot_product_attention, TF.scaled_dot_product_attention, q, k, v, mask)


def test_dropout_of_nothing_and_of_all(against_torch: Any) -> None:
    x = against_torch.tensor(np.arange(4.0), requires_grad=True)
    assert F.dropout(x, 0.0) is x
    assert F.dropout(x, 0.9, training=False) is x
    out = F.dropout(x, 1.0)
    np.testing.assert_array_equal(out.detach().numpy(), 0.0)
    out.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 0.0)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_passes_the_gradient_where_it_passed_the_number(
    against_torch: Any, p: float
) -> None:
    x = against_torch.tensor(np.full(40_000, 2.0), requires_grad=True)
    out = F.dropout(x, p, generator=np.random.default_rng(0))
    out.sum().backward()
    values = out.detach().numpy()
    assert set(np.unique(values)) == {0.0, 2.0 * (1 / (1 - p))}
    deviation = 2 * math.sqrt(p / (1 - p) / values.size)
    assert abs(values.mean() - 2.0) < 4 * deviation
    np.testing.assert_allclose(x.grad.numpy(), values / 2.0, rtol=1e-12)


def test_dropout_is_repeated_by_its_generator_and_the_same_on_each_library() -> None:
    array = np.ones((5, 6), np.float32)
    first = F.dropout(array, generator=np.random.default_rng(7))
    assert np.array_equal(first, F.dropout(array, generator=np.random.default_rng(7)))
    assert not np.array_equal(first, F.dropout(array, generator=np.random.default_rng(8)))
    assert np.array_equal(first, F.dropout(torch.tensor(array), generator=np.random.default_rng(7)).numpy())
    drawn = [F.dropout(torch.tensor(array), generator=torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*drawn)
    assert first.dtype == np.float32
    assert np.isin(drawn[0].numpy(), [0.0, 2.0]).all()


def test_dropout_in_place(against_torch: Any) -> None:
    x = against_torch.tensor(np.ones(50), requires_grad=True)
    y = x * 1.0
    assert F.dropout(y, inplace=True, generator=np.random.default_rng(0)) is y
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())
    array = convert(np.ones(50), against_torch.library)
    assert F.dropout(array, 1.0, inplace=True) is array
    assert not array.any()


A, I = np.ones((2, 3)), np.ones((2, 3), int)  # noqa: E741
Q = np.ones((2, 3, 4))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.linear(I, A), TypeError, "input must be floating"),
        (lambda: F.linear(Tensor(I), Parameter(A)), TypeError, "input must be floating"),
        (lambda: F.linear(A, A.astype(np.float32)), TypeError, "weight float32"),
        (lambda: F.linear(A, torch.ones(2, 3)), TypeError, "in one operation"),
        (lambda: F.linear(A, A.T), ValueError, "does not fit weight"),
        (lambda: F.linear(A, A, np.ones(3)), ValueError, "bias"),
        (lambda: F.linear(np.array(1.0), A), ValueError, "does not fit weight"),
        (lambda: F.linear([[1.0]], A), TypeError, "input must be a tensor"),
        (lambda: F.layer_norm(A, 2), ValueError, "must end in normalized_shape"),
        (lambda: F.layer_norm(A, 3, np.ones(2)), ValueError, "weight must have"),
        (lambda: F.layer_norm(A, ()), ValueError, "normalized_shape"),
        (lambda: F.layer_norm(I, 3), TypeError, "floating"),
        (lambda: F.rms_norm(A, 3, eps="small"), ValueError, "eps"),
        (lambda: F.batch_norm(A[:1], None, None, training=True), ValueError, "more than one number"),
        (lambda: F.batch_norm(A, None, None), ValueError, "are needed"),
        (lambda: F.batch_norm(A, np.ones(3), None), ValueError, "come together"),
        (lambda: F.batch_norm(A, np.ones(2), np.ones(2)), ValueError, "running_mean must have shape"),
        (lambda: F.batch_norm(A[0], None, None, training=True), ValueError, "input must be"),
        (lambda: F.embedding(A, A), TypeError, "input must be integers"),
        (lambda: F.embedding(np.array([2]), A), ValueError, "from 0 to 1, got 2"),
        (lambda: F.embedding(np.array([-1]), A), ValueError, "from 0 to 1, got -1"),
        (lambda: F.embedding(np.array([1]), A, 2), ValueError, "padding_idx"),
        (lambda: F.embedding(np.array([1]), A[0]), ValueError, "weight must be"),
        (lambda: F.dropout(A, 1.5), ValueError, "p must be"),
        (lambda: F.dropout(I), TypeError, "floating"),
        (lambda: F.dropout(A, generator=np.random), TypeError, "generator"),
        (lambda: F.dropout(A, generator=torch.Generator()), TypeError, "generator"),
        (lambda: F.scaled_dot_product_attention(Q, Q[..., :2], Q), ValueError, "must be"),
        (lambda: F.scaled_dot_product_attention(Q, Q, Q[:, :2]), ValueError, "must be"),
        (lambda: F.scaled_dot_product_attention(Q, Q, Q, np.ones((3, 3)), is_causal=True), ValueError, "together"),
        (lambda: F.scaled_dot_product_attention(Q, Q, Q, np.ones((2, 3), bool)), ValueError, "does not broadcast"),
        (lambda: F.scaled_dot_product_attention(Q, Q, Q, np.ones((3, 3), int)), TypeError, "boolean or floating"),
        (lambda: F.scaled_dot_product_attention(Q, Q, Q, dropout_p=2), ValueError, "dropout_p"),
        (lambda: F.scaled_dot_product_attention(Q, np.ones((3, 3, 4)), Q, enable_gqa=True), ValueError, "divide"),
        (lambda: F.scaled_dot_product_attention(Q[0], Q[0], Q[0], enable_gqa=True), ValueError, "axis of heads"),
    ],
)
def test_bad_input(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("lead", [(4,), (2, 2)])
def test_the_gradient_of_a_weight_lies_as_the_weight_does(lead: tuple[int, ...]) -> None:
    weight = Parameter(np.ones((5, 3)))
    F.linear(Tensor(np.ones((*lead, 3))), weight, Parameter(np.ones(5))).sum().backward()
    assert weight.grad.data.flags.c_contiguous
