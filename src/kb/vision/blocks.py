"""The blocks that every encoder here is made of, and the tensors of transformers' models under our names.

Unusual: blocks are those of ``kb.nn``; only OpenAI's quick GELU is added, and what turns a state dict of separate
query, key and value matrices into a packed one.

Sources: Dosovitskiy et al. 2021, section 3.1 (pre-norm blocks); Devlin et al. 2019 (post-norm sublayers of BERT);
the file ``model.py`` of OpenAI's CLIP (quick GELU).
Shapes: B sequences, T tokens, S keys, D width, E width of what is attended to, N heads.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from kb.nn import ACTIVATIONS, MultiHeadAttention
from kb.nn.transformer import EncoderLayer, TransformerLayerConfig


def quick_gelu(x: Tensor) -> Tensor:
    """OpenAI's approximation of GELU, x · sigmoid(1.702 x), with which its CLIP was trained."""
    return x * torch.sigmoid(1.702 * x)


def activation_of(name: str) -> Callable[[Tensor], Tensor]:
    """The activation of that name in Hugging Face configurations.

    Raises:
        ValueError: it is not known.
    """
    known = {**ACTIVATIONS, "quick_gelu": quick_gelu}
    if name not in known:
        raise ValueError(f"activation must be one of {', '.join(known)}, got {name!r}")
    return known[name]


def encoder_layer(width: int, heads: int, inner: int, activation: str = "gelu", eps: float = 1e-5) -> EncoderLayer:
    """A pre-norm block [B, T, D] to [B, T, D]; errors as of :class:`TransformerLayerConfig` and of the activation."""
    act = activation_of(activation)
    config = TransformerLayerConfig(width, heads, inner, 0.0, "gelu", eps, batch_first=True, norm_first=True)
    layer = EncoderLayer(config)
    layer.activation = act
    return layer


class Attended(nn.Module):
    """BERT's sublayer: norm(x + attention of x to itself, or to ``memory`` of width E)."""

    def __init__(self, width: int, heads: int, memory_width: int | None = None, eps: float = 1e-12) -> None:
        super().__init__()
        self.attn = MultiHeadAttention(width, heads, kdim=memory_width, vdim=memory_width, batch_first=True)
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(
        self,
        x_BTD: Tensor,
        memory_BSE: Tensor | None = None,
        *,
        hidden: Tensor | None = None,
        pad: Tensor | None = None,
    ) -> Tensor:
        """[B, T, D]; ``hidden`` [T, S] and ``pad`` [B, S] are True where a query may not look."""
        memory = x_BTD if memory_BSE is None else memory_BSE
        mixed, _ = self.attn(x_BTD, memory, memory, key_padding_mask=pad, need_weights=False, attn_mask=hidden)
        out: Tensor = self.norm(x_BTD + mixed)
        return out


class FedForward(nn.Module):
    """BERT's other sublayer: norm(x + W2 gelu(W1 x))."""

    def __init__(self, width: int, inner: int, eps: float = 1e-12) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        out: Tensor = self.norm(x_BTD + self.down(nn.functional.gelu(self.up(x_BTD))))
        return out


def load_renamed(module: nn.Module, tensors: Mapping[str, Tensor], rules: Sequence[tuple[str, str]]) -> None:
    """Give a module the tensors of another library's model.

    Args:
        module: Takes them, in place.
        tensors: By the other library's names; queries, keys and values apart, as ``….q_proj.weight``, after renaming.
        rules: Regular expressions and what each is replaced by, applied to every name in turn.

    Raises:
        ValueError: a tensor is missing, left over, or of another shape.
    """
    named = {}
    for name, tensor in tensors.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        named[name] = tensor
    state = {}
    for name, wanted in module.state_dict().items():
        parts = _parts(name)
        missing = [part for part in parts if part not in named]
        if missing:
            raise ValueError(f"tensors: no {missing[0]} for {name}")
        state[name] = torch.cat([named.pop(part) for part in parts])
        if state[name].numel() != wanted.numel():
            raise ValueError(f"tensors: {name} wants {tuple(wanted.shape)}, got {tuple(state[name].shape)}")
        state[name] = state[name].reshape(wanted.shape)
    if named:
        raise ValueError(f"tensors: nothing takes {', '.join(sorted(named))}")
    module.load_state_dict(state)


def _parts(name: str) -> list[str]:
    """The names of the tensors of which one of ours is made."""
    packed = re.fullmatch(r"(.*)in_proj_(weight|bias)", name)
    if packed:
        return [f"{packed[1]}{one}_proj.{packed[2]}" for one in "qkv"]
    apart = re.fullmatch(r"(.*[qkv]_proj)_weight", name)
    return [f"{apart[1]}.weight"] if apart else [name]
