"""Four causes of a gradient that vanishes, each alone, each with what theory says beside what was computed.

A backward pass multiplies Jacobians, W^T diag(φ'), once for each layer or time step. It shrinks where φ' is small (a
saturated activation), where the matrix is (a gain below 1, or weights drawn too small), and in a recurrent network for
each step into the past. Unusual: to isolate a cause, everything else is made to keep norms; matrices are orthogonal
where the cause is not in them, so that the theory is an equation rather than a trend.

Sources: Glorot and Bengio 2010, section 4.2.1 (variances through layers); He et al. 2015, section 2.2 (ReLU's half);
Saxe et al. 2014 (orthogonal matrices); Pascanu, Mikolov and Bengio 2013, sections 1.1 (equation 5, the product) and
2.1 (when it vanishes).
Shapes: D width, L layers or steps.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kb.arguments import is_number, require_count
from kb.nn.activations import Activation, relu, relu_derivative, tanh, tanh_derivative


@dataclass(frozen=True)
class GradientFlow:
    """Norms of a gradient on its way back, float64, relative to the norm that it set out with.

    Attributes:
        norms: [L + 1], first 1 at the end of the network (or at the last step), last at its input (or first step).
        theory: [L + 1], what the source says: the same number, its expectation, or a bound, as the function tells.
    """

    norms: tuple[float, ...]
    theory: tuple[float, ...]


def orthogonal_matrix(width: int, generator: torch.Generator) -> Tensor:
    """A random orthogonal matrix, [D, D] float64, all directions alike; ValueError where D is no positive integer."""
    require_count("width", width)
    q, r = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))
    return q * r.diagonal().sign()


def saturated_activation(
    activation: Activation, scale: float, *, depth: int, width: int = 64, seed: int
) -> GradientFlow:
    """Cause 1: before each activation the numbers are ``scale`` times normal ones; matrices are orthogonal.

    The layers are the book's thought experiment: each is given fresh inputs of that scale, so that depth and saturation
    do not mix. ``theory`` is the bound: the largest derivative to the power of the depth.

    Raises:
        TypeError: ``activation`` is not an :class:`Activation`, as its name alone is not.
        ValueError: a size is not a positive integer, or ``scale`` not a number of at least 0.
    """
    if not isinstance(activation, Activation):
        raise TypeError(f"activation must be an Activation, such as ACTIVATION_TABLE['relu'], got {activation!r}")
    generator = _generator(depth, width, seed)
    _require_number("scale", scale)
    grad, norms = _unit(width, generator), [1.0]
    for _ in range(depth):
        inputs = scale * torch.randn(width, generator=generator, dtype=torch.float64)
        grad = orthogonal_matrix(width, generator).T @ (activation.derivative(inputs) * grad)
        norms.append(float(grad.norm()))
    return GradientFlow(tuple(norms), tuple(activation.steepest**layer for layer in range(depth + 1)))


def gain_per_layer(gain: float, *, depth: int, width: int = 64, seed: int) -> GradientFlow:
    """Cause 2: linear layers of ``gain`` times an orthogonal matrix; ``theory`` is exact, its powers.

    Raises:
        ValueError: a size is not a positive integer, or ``gain`` not a number of at least 0.
    """
    generator = _generator(depth, width, seed)
    _require_number("gain", gain)
    grad, norms = _unit(width, generator), [1.0]
    for _ in range(depth):
        grad = gain * orthogonal_matrix(width, generator).T @ grad
        norms.append(float(grad.norm()))
    return GradientFlow(tuple(norms), tuple(gain**layer for layer in range(depth + 1)))


def initial_deviation(std: float, *, depth: int, width: int = 256, seed: int) -> GradientFlow:
    """Cause 3: a ReLU network whose weights are normal with deviation ``std``, on one normal input.

    ``theory`` is the expected factor of a layer, std · sqrt(D / 2), to the power of the depth: 1 for He's sqrt(2 / D).
    A network of finite width scatters around it, the more the deeper it is.

    Raises:
        ValueError: a size is not a positive integer, or ``std`` not a number of at least 0.
    """
    generator = _generator(depth, width, seed)
    _require_number("std", std)
    x = torch.randn(width, generator=generator, dtype=torch.float64)
    weights, before = [], []
    for _ in range(depth):
        weights.append(std * torch.randn(width, width, generator=generator, dtype=torch.float64))
        before.append(weights[-1] @ x)
        x = relu(before[-1])
    grad, norms = _unit(width, generator), [1.0]
    for weight, inputs in zip(reversed(weights), reversed(before), strict=True):
        grad = weight.T @ (relu_derivative(inputs) * grad)
        norms.append(float(grad.norm()))
    factor = std * (width / 2) ** 0.5
    return GradientFlow(tuple(norms), tuple(factor**layer for layer in range(depth + 1)))


def recurrence(
    radius: float, *, steps: int, width: int = 32, linear: bool = False, input_scale: float = 0.1, seed: int
) -> GradientFlow:
    """Cause 4: h_t = tanh(W h_(t-1) + u_t), W normal and scaled to a spectral radius; its Jacobians multiplied.

    ``norms`` are the largest singular values of dh_T / dh_(T-k) for k = 0, 1, …, so nothing depends on a direction.
    ``theory`` is radius^k, the rate that a linear network (``linear``) tends to as k grows. At first a W that is not
    normal may be above it, and tanh can only take away; the paper's sufficient condition for vanishing bounds the
    largest singular value of W instead, which is never below the radius.

    Args:
        radius: Largest absolute eigenvalue of W.
        steps: How far back.
        width: D.
        linear: Leave the tanh out.
        input_scale: Deviation of the normal inputs u_t.
        seed: Of W and of the inputs.

    Raises:
        ValueError: a size is not a positive integer, or a number is below 0 or not finite.
    """
    generator = _generator(steps, width, seed, "steps")
    _require_number("radius", radius)
    _require_number("input_scale", input_scale)
    weight = torch.randn(width, width, generator=generator, dtype=torch.float64)
    weight = weight * (radius / spectral_radius(weight))
    h, jacobians = torch.zeros(width, dtype=torch.float64), []
    for _ in range(steps):
        before = weight @ h + input_scale * torch.randn(width, generator=generator, dtype=torch.float64)
        h = before if linear else tanh(before)
        slope = torch.ones_like(before) if linear else tanh_derivative(before)
        jacobians.append(slope[:, None] * weight)
    product, norms = torch.eye(width, dtype=torch.float64), [1.0]
    for jacobian in reversed(jacobians):
        product = product @ jacobian
        norms.append(float(torch.linalg.matrix_norm(product, 2)))
    return GradientFlow(tuple(norms), tuple(radius**step for step in range(steps + 1)))


def spectral_radius(matrix: Tensor) -> float:
    """The largest absolute eigenvalue of a square matrix.

    Raises:
        ValueError: the matrix is not [D, D].
    """
    if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix {tuple(matrix.shape)}: wanted [D, D]")
    return float(torch.linalg.eigvals(matrix).abs().max())


def _unit(width: int, generator: torch.Generator) -> Tensor:
    direction = torch.randn(width, generator=generator, dtype=torch.float64)
    return direction / direction.norm()


def _generator(depth: int, width: int, seed: int, name: str = "depth") -> torch.Generator:
    require_count(name, depth)
    require_count("width", width)
    require_count("seed", seed, least=0)
    return torch.Generator().manual_seed(seed)


def _require_number(name: str, value: float) -> None:
    if not is_number(value) or value < 0:
        raise ValueError(f"{name} must be a number of at least 0, got {value!r}")
