"""Gated linear units: an activation of one projection (the gate) times another projection (up), and their gradients.

Unusual: these are the elementwise middles only, functions of the two projections; the whole feed-forward network is
:class:`kb.nn.SwiGLU`. With width F for gate and up, the network has three matrices where an ungated one has two, so F
is 2/3 of the ungated width at equal parameters.

Sources: Dauphin et al. 2017 (GLU); Shazeer 2020, GLU Variants Improve Transformer, equations 4 to 6.
Shapes: gate and up of one shape, any.
"""

from torch import Tensor

from kb.nn.activations import ACTIVATION_TABLE, Activation

SIGMOID, RELU, GELU, SILU = (ACTIVATION_TABLE[name] for name in ("sigmoid", "relu", "gelu", "silu"))


def gated_unit(activation: Activation, gate: Tensor, up: Tensor) -> Tensor:
    """activation(gate) · up.

    Raises:
        TypeError: the tensors are not of one floating dtype.
        ValueError: they are not of one shape.
    """
    _check(gate, up)
    return activation.value(gate) * up


def gated_unit_backward(activation: Activation, grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of gate and up from that of the result: g · up · activation'(gate), and g · activation(gate)."""
    _check(gate, up)
    if grad.shape != gate.shape:
        raise ValueError(f"grad {tuple(grad.shape)} and gate {tuple(gate.shape)} must be of one shape")
    return grad * up * activation.derivative(gate), grad * activation.value(gate)


def glu(gate: Tensor, up: Tensor) -> Tensor:
    """σ(gate) · up; torch's ``F.glu`` takes the two as halves of one axis, up first."""
    return gated_unit(SIGMOID, gate, up)


def reglu(gate: Tensor, up: Tensor) -> Tensor:
    """max(gate, 0) · up."""
    return gated_unit(RELU, gate, up)


def geglu(gate: Tensor, up: Tensor) -> Tensor:
    """gelu(gate) · up, with the error function."""
    return gated_unit(GELU, gate, up)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) · up."""
    return gated_unit(SILU, gate, up)


def _check(gate: Tensor, up: Tensor) -> None:
    if not gate.is_floating_point() or gate.dtype != up.dtype:
        raise TypeError(f"gate and up must be of one floating dtype, got {gate.dtype} and {up.dtype}")
    if gate.shape != up.shape:
        raise ValueError(f"gate {tuple(gate.shape)} and up {tuple(up.shape)} must be of one shape")
