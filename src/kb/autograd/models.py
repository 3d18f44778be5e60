"""Three small models, each written once for whoever has the names of ``torch.nn``: this package, or torch itself.

Every function is given the namespace of the modules, ``nn``, and where it needs them that of the functions, ``F``; the
model that comes back is of that framework. So what is compared is the framework and nothing else.

Sources: LeCun et al. 1998 (a convolutional network for digits); Radford et al. 2019, GPT-2, section 2.3 (norms before
the blocks and one at the end).
Shapes: B sequences, T tokens, D width, N heads, H head width.
"""

import itertools
from types import ModuleType
from typing import Any

from kb.arguments import require_count


def mlp(nn: ModuleType, sizes: tuple[int, ...], **options: Any) -> Any:
    """Linear layers with ReLU between them, [B, sizes[0]] to [B, sizes[-1]].

    Args:
        nn: Of the framework.
        sizes: Widths, from the input's to the output's.
        **options: For every layer, such as ``dtype``.

    Raises:
        ValueError: there are fewer than two sizes, or one is not a positive integer.
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes must hold an input's width and an output's, got {sizes}")
    for size in sizes:
        require_count("sizes", size)
    layers: list[Any] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs, **options), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn(nn: ModuleType, classes: int = 10, **options: Any) -> Any:
    """Two convolutions and a linear layer for pictures of 8 x 8, [B, 1, 8, 8] to [B, classes].

    Args:
        nn: Of the framework.
        classes: How many logits.
        **options: For every layer, such as ``dtype``.

    Raises:
        ValueError: ``classes`` is not a positive integer.
    """
    require_count("classes", classes)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, **options),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, **options),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 2 * 2, classes, **options),
    )


def gpt(
    nn: ModuleType, F: Any, vocab: int, *, context: int, width: int = 64, heads: int = 4, depth: int = 2, **options: Any
) -> Any:
    """A decoder-only transformer with learned positions, integer [B, T] to logits [B, T, vocab].

    Args:
        nn: Of the framework.
        F: Its functions; ``scaled_dot_product_attention`` is wanted.
        vocab: Different tokens.
        context: The most tokens that a sequence may have.
        width: D, a multiple of ``heads``.
        heads: N.
        depth: Blocks.
        **options: For every layer, such as ``dtype``.

    Raises:
        ValueError: a size is not a positive integer, or the width does not divide by the heads.
    """
    for name, value in (("vocab", vocab), ("context", context), ("width", width), ("heads", heads), ("depth", depth)):
        require_count(name, value)
    if width % heads:
        raise ValueError(f"width must be a multiple of heads, got {width} and {heads}")

    class GPT(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(vocab, width, **options)
            self.positions = nn.Embedding(context, width, **options)
            self.blocks = nn.Sequential(*(_block(nn, F, width, heads, options) for _ in range(depth)))
            self.norm = nn.LayerNorm(width, **options)
            self.head = nn.Linear(width, vocab, bias=False, **options)

        def forward(self, ids_BT: Any) -> Any:
            length = ids_BT.shape[1]
            if length > context:
                raise ValueError(f"a sequence may have {context} tokens, got {length}")
            x_BTD = self.tokens(ids_BT) + self.positions.weight[:length]
            return self.head(self.norm(self.blocks(x_BTD)))

    return GPT()


def _block(nn: ModuleType, F: Any, width: int, heads: int, options: dict[str, Any]) -> Any:
    """One layer, [B, T, D] to [B, T, D]."""

    class Block(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm_attention = nn.LayerNorm(width, **options)
            self.qkv = nn.Linear(width, 3 * width, **options)
            self.out = nn.Linear(width, width, **options)
            self.norm_ffn = nn.LayerNorm(width, **options)
            self.ffn = nn.Sequential(
                nn.Linear(width, 4 * width, **options), nn.GELU(), nn.Linear(4 * width, width, **options)
            )

        def forward(self, x_BTD: Any) -> Any:
            B, T, D = x_BTD.shape
            all_BTD = self.qkv(self.norm_attention(x_BTD)).split(D, dim=-1)
            q_BNTH, k_BNTH, v_BNTH = (part.reshape(B, T, heads, D // heads).transpose(1, 2) for part in all_BTD)
            mixed_BNTH = F.scaled_dot_product_attention(q_BNTH, k_BNTH, v_BNTH, is_causal=True)
            x_BTD = x_BTD + self.out(mixed_BNTH.transpose(1, 2).reshape(B, T, D))
            return x_BTD + self.ffn(self.norm_ffn(x_BTD))

    return Block()
