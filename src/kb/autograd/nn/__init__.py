"""Modules with the names, arguments and state of ``torch.nn``."""

from kb.autograd import functional
from kb.autograd.nn import init
from kb.autograd.nn.activations import (
    ELU,
    GELU,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from kb.autograd.nn.attention import MultiheadAttention
from kb.autograd.nn.containers import ModuleList, Sequential
from kb.autograd.nn.convolution import AvgPool2d, Conv2d, MaxPool2d
from kb.autograd.nn.dropout import Dropout
from kb.autograd.nn.embedding import Embedding
from kb.autograd.nn.linear import Flatten, Identity, Linear
from kb.autograd.nn.losses import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from kb.autograd.nn.module import Module
from kb.autograd.nn.normalization import BatchNorm1d, BatchNorm2d, LayerNorm, RMSNorm
from kb.autograd.tensor import Parameter

__all__ = [
    "ELU",
    "GELU",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "MultiheadAttention",
    "NLLLoss",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "Tanh",
    "functional",
    "init",
]
