"""Convolution and pooling equal torch's over shapes, strides, padding, dilation and groups; ties, infinities, NaN."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kb.autograd import Tensor
from kb.autograd import functional as F

TWO = st.tuples(st.integers(1, 3), st.integers(1, 3))


def slow_conv2d(x: np.ndarray, w: np.ndarray, stride: Any, padding: Any, dilation: Any, groups: int) -> np.ndarray:
    """The definition, one product at a time."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    kernels, depth, R, S = w.shape
    rows = (x.shape[2] - dilation[0] * (R - 1) - 1) // stride[0] + 1
    columns = (x.shape[3] - dilation[1] * (S - 1) - 1) // stride[1] + 1
    out = np.zeros((x.shape[0], kernels, rows, columns))
    for b, o, i, j in np.ndindex(*out.shape):
        first = o // (kernels // groups) * depth
        for c, r, s in np.ndindex(depth, R, S):
            seen = x[b, first + c, i * stride[0] + r * dilation[0], j * stride[1] + s * dilation[1]]
            out[b, o, i, j] += seen * w[o, c, r, s]
    return out


@settings(max_examples=40)
@given(data=st.data())
def test_conv2d_equals_torch(against_torch: Any, data: st.DataObject) -> None:
    groups, kernel, dilation = data.draw(st.integers(1, 2)), data.draw(TWO), data.draw(TWO)
    stride, padding = data.draw(TWO), data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    depth, kernels = data.draw(st.integers(1, 2)), groups * data.draw(st.integers(1, 2))
    sizes = [d * (k - 1) + 1 + data.draw(st.integers(0, 3)) for d, k in zip(dilation, kernel, strict=True)]
    x = against_torch.draw(data, (data.draw(st.integers(0, 2)), groups * depth, *sizes))
    w = against_torch.draw(data, (kernels, depth, *kernel))
    b = against_torch.draw(data, (kernels,))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    inputs = (x, w, b) if data.draw(st.booleans()) else (x, w)
    out = against_torch.same(lambda *i: F.conv2d(*i, **options), lambda *i: TF.conv2d(*i, **options), *inputs)
    if len(inputs) == 2:
        np.testing.assert_allclose(out.detach().numpy(), slow_conv2d(x, w, **options), atol=1e-12)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 2), (4, 5)])
def test_padding_in_words_and_a_picture_alone(against_torch: Any, padding: str, kernel: tuple[int, int]) -> None:
    generator = np.random.default_rng(1)
    x, w = generator.normal(size=(2, 7, 6)), generator.normal(size=(3, 2, *kernel))
    against_torch.same(
        lambda x, w: F.conv2d(x, w, padding=padding), lambda x, w: TF.conv2d(x, w, padding=padding), x, w
    )


@settings(max_examples=60)
@given(data=st.data())
def test_pooling_equals_torch(against_torch: Any, data: st.DataObject) -> None:
    kernel, stride = data.draw(TWO), data.draw(st.none() | TWO)
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    options = {"stride": stride, "padding": padding, "ceil_mode": data.draw(st.booleans())}
    shape = [*data.draw(st.lists(st.integers(1, 2), min_size=1, max_size=1)), *data.draw(TWO)]
    shape = [data.draw(st.integers(0, 2)), *shape] if data.draw(st.booleans()) else shape
    shape[-2:] = [size + k - 1 for size, k in zip(shape[-2:], kernel, strict=True)]
    x = against_torch.draw(data, shape)
    if data.draw(st.booleans()):
        x = np.round(x)  # ties
    if data.draw(st.booleans()):
        extra = {
            "count_include_pad": data.draw(st.booleans()),
            "divisor_override": data.draw(st.sampled_from([None, 3])),
        }
        against_torch.same(
            lambda x: F.avg_pool2d(x, kernel, **options, **extra),
            lambda x: TF.avg_pool2d(x, kernel, **options, **extra),
            x,
        )
        return
    options["dilation"] = data.draw(TWO)
    assume(
        all(
            n + 2 * p > d * (k - 1) for n, p, d, k in zip(shape[-2:], padding, options["dilation"], kernel, strict=True)
        )
    )
    try:
        F.max_pool2d(x, kernel, **options)
    except ValueError:  # a window of nothing but padding, see below
        assume(False)
    against_torch.same(lambda x: F.max_pool2d(x, kernel, **options), lambda x: TF.max_pool2d(x, kernel, **options), x)


def test_max_pooling_of_infinities_and_nan(against_torch: Any) -> None:
    x = np.full((1, 1, 6, 6), -np.inf)
    x[0, 0, 2, 2], x[0, 0, 5, 5], x[0, 0, 0, 4] = np.nan, np.inf, -np.finfo(float).max
    for options in ({}, {"padding": 1, "stride": 2}, {"padding": 1, "dilation": 2, "stride": 1}):
        against_torch.same(
            lambda x, o=options: F.max_pool2d(x, 3, **o), lambda x, o=options: TF.max_pool2d(x, 3, **o), x, second=False
        )


def test_of_equal_numbers_the_first_gets_the_gradient() -> None:
    x = Tensor(np.ones((1, 1, 2, 2)), requires_grad=True)
    F.max_pool2d(x, 2).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[[[1, 0], [0, 0]]]])


X, W = np.ones((1, 2, 4, 4)), np.ones((4, 2, 3, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.conv2d(X[0, 0], W), ValueError, "input must be"),
        (lambda: F.conv2d(X, W[:, :1]), ValueError, "does not fit weight"),
        (lambda: F.conv2d(X, W[:, :1], groups=3), ValueError, "groups"),
        (lambda: F.conv2d(X, W, np.ones(3)), ValueError, "bias must have shape"),
        (lambda: F.conv2d(X, np.ones((1, 2, 5, 5))), ValueError, "does not fit input"),
        (lambda: F.conv2d(X, W, stride=0), ValueError, "stride"),
        (lambda: F.conv2d(X, W, padding=(1, 2, 3)), ValueError, "padding"),
        (lambda: F.conv2d(X, W, padding="most"), ValueError, "padding"),
        (lambda: F.conv2d(X, W, padding="same", stride=2), ValueError, "stride of 1"),
        (lambda: F.conv2d(X.astype(int), W), TypeError, "input must be floating"),
        (lambda: F.conv2d(X, W.astype(np.float32)), TypeError, "one dtype"),
        (lambda: F.conv2d(X, torch.ones(4, 2, 3, 3)), TypeError, "in one operation"),
        (lambda: F.max_pool2d(X, 2, padding=2), ValueError, "padding"),
        (lambda: F.max_pool2d(X, 5), ValueError, "does not fit"),
        (lambda: F.max_pool2d(X[:, :, :1], 2, padding=1, dilation=2), ValueError, "does not fit"),
        (lambda: F.max_pool2d(X[0, 0], 2), ValueError, "input must be"),
        (lambda: F.max_pool2d(X > 0, 2), TypeError, "input must be floating"),
        (lambda: F.avg_pool2d(X[:, :0], 2), ValueError, "size of 0"),
        (lambda: F.avg_pool2d(X, 2, divisor_override=0), ValueError, "divisor_override"),
    ],
)
def test_bad_input(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
