"""A framework from nothing but an array library: tensors with gradients, in the interface of torch."""

from kb.autograd.backward import grad
from kb.autograd.checking import check_grads
from kb.autograd.derivatives import hessian, hvp, jacobian
from kb.autograd.recompute import checkpoint
from kb.autograd.recording import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from kb.autograd.tensor import Parameter, Tensor, tensor

__all__ = [
    "Parameter",
    "Tensor",
    "check_grads",
    "checkpoint",
    "enable_grad",
    "grad",
    "hessian",
    "hvp",
    "is_grad_enabled",
    "jacobian",
    "no_grad",
    "set_grad_enabled",
    "tensor",
]
