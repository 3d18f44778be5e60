"""A framework from nothing but an array library: tensors with gradients, in the interface of torch."""

from kb.autograd.backward import grad
from kb.autograd.checking import check_grads
from kb.autograd.derivatives import hessian, hvp, jacobian
from kb.autograd.functions import (
    arange,
    cat,
    einsum,
    eye,
    full,
    matmul,
    maximum,
    minimum,
    ones,
    ones_like,
    stack,
    where,
    zeros,
    zeros_like,
)
from kb.autograd.recompute import checkpoint
from kb.autograd.recording import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from kb.autograd.tensor import Parameter, Tensor, tensor

__all__ = [
    "Parameter",
    "Tensor",
    "arange",
    "cat",
    "check_grads",
    "checkpoint",
    "einsum",
    "enable_grad",
    "eye",
    "full",
    "grad",
    "hessian",
    "hvp",
    "is_grad_enabled",
    "jacobian",
    "matmul",
    "maximum",
    "minimum",
    "no_grad",
    "ones",
    "ones_like",
    "set_grad_enabled",
    "stack",
    "tensor",
    "where",
    "zeros",
    "zeros_like",
]
