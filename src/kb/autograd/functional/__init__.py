"""Functions of tensors with the names and arguments of ``torch.nn.functional``; import it as ``F``."""

from kb.autograd.functional.activations import (
    elu,
    gelu,
    leaky_relu,
    log_softmax,
    logsigmoid,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from kb.autograd.functional.attention import scaled_dot_product_attention
from kb.autograd.functional.convolution import conv2d
from kb.autograd.functional.dropout import dropout
from kb.autograd.functional.embedding import embedding
from kb.autograd.functional.linear import linear
from kb.autograd.functional.normalization import batch_norm, layer_norm, rms_norm
from kb.autograd.functional.pooling import avg_pool2d, max_pool2d
from kb.autograd.losses import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)

__all__ = [
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "conv2d",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "relu",
    "rms_norm",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "tanh",
]
