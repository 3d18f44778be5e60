"""How deep a Transformer can be at its first step: where the norm stands, how the weights are drawn, what comes back.

A block adds attention and then a feed-forward network F to the residual stream x. The norm N stands

    none      x + F(x)
    post      N(x + F(x))         the first Transformer
    pre       x + F(N(x))         GPT-2, Llama; a last norm after all blocks
    sandwich  x + N(F(N(x)))      CogView, Gemma 2; a last norm as well

Unusual: nothing is trained here. A stack is drawn from a seed, one gradient of fixed size is sent back from its end,
and the numbers by layer are returned. Post's gradient must pass every norm; pre's has a path of nothing but
sums, while its stream grows with depth, so that the last norm makes all gradients small together.

Sources: Vaswani et al. 2017, section 3.1 (post); Xiong et al. 2020, On Layer Normalization in the Transformer
Architecture, section 3 (pre, and both gradients at initialization); Ding et al. 2021, CogView (sandwich); Gemma Team
2024, Gemma 2, section 2 (sandwich); Henry et al. 2020 and Dehghani et al. 2023 (norms of queries and keys);
Radford et al. 2019, GPT-2, section 2.3 (weights of residual layers over the root of their number).
Shapes: B sequences, T tokens, D width, N heads, H = D / N, F inner width, L blocks.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kb.arguments import is_number, require_count
from kb.nn.activations import gelu
from kb.nn.attention import grouped_query_attention
from kb.nn.layer_normalization import LayerNorm
from kb.nn.norms import RMSNorm

PLACEMENTS = ("none", "post", "pre", "sandwich")
INITIALIZATIONS = ("xavier", "he", "normal", "depth_scaled")


@dataclass(frozen=True)
class StackConfig:
    """A stack of blocks at initialization.

    Attributes:
        depth: L, blocks; each has two residual sums.
        width: D.
        heads: N, divides D.
        inner: F.
        placement: One of :data:`PLACEMENTS`.
        initialization: "xavier" (variance 2 / (in + out)), "he" (2 / in), "normal" (``std`` squared), "depth_scaled"
            (the same, and the last matrix of each residual branch over sqrt(2 L)).
        std: Deviation of "normal" and "depth_scaled"; 0.02 in GPT-2.
        qk_norm: Whether queries and keys have an RMS norm, per head.

    Raises:
        ValueError: a size is not a positive integer, heads do not divide the width, a name is unknown, or ``std`` is
            below 0.
    """

    depth: int
    width: int = 64
    heads: int = 4
    inner: int = 256
    placement: str = "pre"
    initialization: str = "normal"
    std: float = 0.02
    qk_norm: bool = False

    def __post_init__(self) -> None:
        for name in ("depth", "width", "heads", "inner"):
            require_count(name, getattr(self, name))
        if self.width % self.heads:
            raise ValueError(f"heads must divide the width {self.width}, got {self.heads}")
        if self.placement not in PLACEMENTS:
            raise ValueError(f"placement must be one of {', '.join(PLACEMENTS)}, got {self.placement!r}")
        if self.initialization not in INITIALIZATIONS:
            raise ValueError(f"initialization must be one of {', '.join(INITIALIZATIONS)}, got {self.initialization!r}")
        if not is_number(self.std) or self.std < 0:
            raise ValueError(f"std must be a number of at least 0, got {self.std!r}")


class _SelfAttention(nn.Module):
    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key = nn.Linear(config.width, config.width, bias=False)
        self.value = nn.Linear(config.width, config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        head_dim = config.width // config.heads
        self.q_norm = RMSNorm(head_dim) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(head_dim) if config.qk_norm else nn.Identity()

    def forward(self, x_BTD: Tensor) -> Tensor:
        q, k, v = (layer(x_BTD).unflatten(-1, (self.heads, -1)) for layer in (self.query, self.key, self.value))
        mixed: Tensor = self.out(grouped_query_attention(self.q_norm(q), self.k_norm(k), v).flatten(2))
        return mixed


class _FeedForward(nn.Module):
    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.inner, bias=False)
        self.out = nn.Linear(config.inner, config.width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        out: Tensor = self.out(gelu(self.up(x_BTD)))
        return out


class ResidualBranch(nn.Module):
    """One sublayer with its norms and its sum, [B, T, D] to the same."""

    def __init__(self, sublayer: nn.Module, config: StackConfig) -> None:
        super().__init__()
        norm = config.placement
        self.before = LayerNorm(config.width) if norm in ("pre", "sandwich") else nn.Identity()
        self.sublayer = sublayer
        self.after = LayerNorm(config.width) if norm == "sandwich" else nn.Identity()
        self.outside = LayerNorm(config.width) if norm == "post" else nn.Identity()

    def forward(self, x_BTD: Tensor) -> Tensor:
        """outside(x + after(sublayer(before(x))))."""
        out: Tensor = self.outside(x_BTD + self.after(self.sublayer(self.before(x_BTD))))
        return out


class ResidualStack(nn.Module):
    """L blocks of causal attention and a feed-forward network, then the last norm of "pre" and "sandwich".

    Args:
        config: Sizes and switches.
        generator: Draws all weights, in order; the same seed gives every placement the same weights.
    """

    def __init__(self, config: StackConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        networks = [_FeedForward(config) for _ in range(config.depth)]
        self.blocks = nn.ModuleList(
            nn.Sequential(ResidualBranch(_SelfAttention(config), config), ResidualBranch(network, config))
            for network in networks
        )
        self.last_matrices = [network.out.weight for network in networks]
        self.norm = LayerNorm(config.width) if config.placement in ("pre", "sandwich") else nn.Identity()
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                std = initial_std(config, module.in_features, module.out_features, ends_branch=name.endswith(".out"))
                with torch.no_grad():
                    module.weight.copy_(std * torch.randn(module.weight.shape, generator=generator))

    def forward(self, x_BTD: Tensor) -> list[Tensor]:
        """The stream before the first block and after each one, and the result: L + 2 tensors [B, T, D]."""
        stream = [x_BTD]
        for block in self.blocks:
            stream.append(block(stream[-1]))
        return [*stream, self.norm(stream[-1])]


def initial_std(config: StackConfig, inputs: int, outputs: int, *, ends_branch: bool) -> float:
    """The deviation of a matrix from ``inputs`` to ``outputs`` features; ``ends_branch``: the sum follows it."""
    if config.initialization == "xavier":
        return math.sqrt(2 / (inputs + outputs))
    if config.initialization == "he":
        return math.sqrt(2 / inputs)
    scaled = config.initialization == "depth_scaled" and ends_branch
    return config.std / (math.sqrt(2 * config.depth) if scaled else 1)


@dataclass(frozen=True)
class DepthReport:
    """What one forward and one backward pass through a stack saw.

    Attributes:
        variance: [L + 1], of the stream's numbers, before the first block and after each one.
        stream_gradient: [L + 1], norm of the gradient of the stream at the same places.
        weight_gradient: [L], norm of the gradient of all of a block's matrices.
        last_matrix_gradient: [L], norm of the gradient of the second matrix of each feed-forward network, W^(2,l) of
            Xiong et al.: at the last block, it does not depend on the depth for "post", and falls as 1 / sqrt(L) for
            "pre".
    """

    variance: tuple[float, ...]
    stream_gradient: tuple[float, ...]
    weight_gradient: tuple[float, ...]
    last_matrix_gradient: tuple[float, ...]


def depth_report(config: StackConfig, *, seed: int, batch: int = 4, tokens: int = 16) -> DepthReport:
    """Draw a stack and normal inputs of variance 1 from a seed, and send a random gradient of norm 1 back.

    Numbers are NaN or infinite where the stack overflows float32, as a deep one without norms does.

    Raises:
        ValueError: ``seed`` is not an integer of at least 0, or a size not a positive integer.
    """
    require_count("seed", seed, least=0)
    require_count("batch", batch)
    require_count("tokens", tokens)
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, tokens, config.width)
    x_BTD, grad_BTD = (torch.randn(shape, generator=generator) for _ in range(2))
    stack = ResidualStack(config, generator)
    *stream, out = stack(x_BTD.requires_grad_())
    for place in stream:
        place.retain_grad()
    out.backward(grad_BTD / grad_BTD.norm())
    return DepthReport(
        variance=tuple(float(place.detach().var()) for place in stream),
        stream_gradient=tuple(_norm(place) for place in stream),
        weight_gradient=tuple(
            math.hypot(*(_norm(p) for m in block.modules() if isinstance(m, nn.Linear) for p in m.parameters()))
            for block in stack.blocks
        ),
        last_matrix_gradient=tuple(_norm(weight) for weight in stack.last_matrices),
    )


def _norm(tensor: Tensor) -> float:
    if tensor.grad is None:
        raise RuntimeError("no gradient has arrived: the backward pass comes first")
    return float(tensor.grad.norm())
