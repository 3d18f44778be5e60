"""A framework from nothing but an array library: tensors with gradients, in the interface of torch."""

from kb.autograd.backward import grad
from kb.autograd.tape import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from kb.autograd.tensor import Parameter, Tensor, tensor

__all__ = ["Parameter", "Tensor", "enable_grad", "grad", "is_grad_enabled", "no_grad", "set_grad_enabled", "tensor"]
