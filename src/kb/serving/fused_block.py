"""A transformer block of ``kb.lm`` in four products, with norms, rotations and residual stream on the way.

The same function as the block that it is made of, by kernels for the CPU; attention is the cache's business as ever.
Between the kernels arrays go from hand to hand, as a tensor costs more than a small kernel does.

Unusual: needs numba, so it is imported only where ``kb.nn.processor`` finds it worth while.
Shapes: B sequences, T tokens, D model width, N query heads, G key-value heads, H head width, C = (N + 2 G) H, P = H/2,
R rows that go on.
"""

import torch
from torch import Tensor, nn

from kb.lm import Cache, DecoderLM
from kb.lm.model import Attention, Block
from kb.nn import RMSNorm, SwiGLU
from kb.nn.compiled import use_torch_threads
from kb.nn.feed_forward import ACTIVATIONS
from kb.nn.panel_linear import PanelLinear
from kb.nn.panel_linear_numba import rotate


class FusedBlock(nn.Module):
    """One layer; the reference is the block that it is made of.

    Args:
        block: Whose weights are packed; it is not changed. Its feed-forward network is a SwiGLU with silu.

    Raises:
        ValueError: it has another feed-forward network, or is not of float32 on the CPU.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        if not can_fuse(block):
            raise ValueError("only a block of float32 on a CPU, with a SwiGLU of silu, can be fused")
        attention, ffn = block.self_attn, block.mlp
        assert isinstance(ffn, SwiGLU)
        self.layer, self.head_dim = attention.layer, attention.head_dim
        self.window, self.rotates = attention.window, attention.rotates
        self.heads, self.kv_heads = (p.out_features // self.head_dim for p in (attention.q_proj, attention.k_proj))
        self.q_norm, self.k_norm = attention.q_norm, attention.k_norm
        self.qkv_proj = PanelLinear(attention.q_proj, attention.k_proj, attention.v_proj, norm=block.input_layernorm)
        self.o_proj = PanelLinear(attention.o_proj)
        self.gate_up_proj = PanelLinear(ffn.gate_proj, ffn.up_proj, norm=block.post_attention_layernorm, gated=True)
        self.down_proj = PanelLinear(ffn.down_proj)

    def forward(
        self, x_BTD: Tensor, tables: tuple[Tensor, Tensor], cache: Cache, rows_R: Tensor | None = None
    ) -> Tensor:
        """[B, T, D] to [B, T, D], or [B, R, D] with rows; arguments as those of the block.

        Raises:
            ValueError: the hidden states or the tables are not float32 on the CPU of fitting shapes.
        """
        self._check(x_BTD, tables)
        x_BTD, (B, T, D) = x_BTD.detach(), x_BTD.shape
        x_MD = x_BTD.reshape(B * T, D).numpy()
        qkv_MCH = self.qkv_proj.multiply(x_MD).reshape(B * T, -1, self.head_dim)
        heads = (self.heads, self.kv_heads, self.kv_heads)
        q_BTNH, k_BTGH, v_BTGH = torch.from_numpy(qkv_MCH).view(B, T, -1, self.head_dim).split(heads, dim=2)
        if isinstance(self.q_norm, RMSNorm):
            q_BTNH.copy_(self.q_norm(q_BTNH).detach())
            k_BTGH.copy_(self.k_norm(k_BTGH).detach())
        if self.rotates:
            cos_MP, sin_MP = (table.expand(B, -1, -1).flatten(0, 1).numpy() for table in tables)
            rotate(qkv_MCH, self.heads + self.kv_heads, cos_MP, sin_MP, use_torch_threads())
        out_BTC = cache.attend(self.layer, q_BTNH, k_BTGH, v_BTGH, window=self.window).detach().flatten(2)
        if rows_R is not None:
            out_BTC, x_MD = out_BTC[:, rows_R], x_BTD[:, rows_R].flatten(0, 1).numpy()
        x_MD = self.o_proj.multiply(out_BTC.flatten(0, 1).contiguous().numpy(), x_MD)
        x_MD = self.down_proj.multiply(self.gate_up_proj.multiply(x_MD), x_MD)
        return torch.from_numpy(x_MD).view(B, -1, D)

    def _check(self, x_BTD: Tensor, tables: tuple[Tensor, Tensor]) -> None:
        """Refuse what the kernels, which count bytes, would read or write beside."""
        fits = x_BTD.dim() == 3 and x_BTD.numel() > 0 and x_BTD.shape[-1] == self.qkv_proj.in_features
        if not fits or not _is_float32(x_BTD):
            raise ValueError(
                f"x_BTD must be float32 [B, T, {self.qkv_proj.in_features}] on the CPU, got {x_BTD.dtype} "
                f"{tuple(x_BTD.shape)} on {x_BTD.device}"
            )
        B, T, _ = x_BTD.shape
        for table in tables if self.rotates else ():
            if table.shape not in ((1, T, self.head_dim // 2), (B, T, self.head_dim // 2)) or not _is_float32(table):
                raise ValueError(
                    f"tables must be float32 [1 or {B}, {T}, {self.head_dim // 2}] on the CPU, got {table.dtype} "
                    f"{tuple(table.shape)} on {table.device}"
                )


def can_fuse(block: nn.Module) -> bool:
    """Whether :class:`FusedBlock` takes this block: one whose parts are the book's own, and none of them hooked."""
    if type(block) is not Block or type(block.mlp) is not SwiGLU or type(block.self_attn) is not Attention:
        return False
    attention, ffn = block.self_attn, block.mlp
    linears = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    linears += [ffn.gate_proj, ffn.up_proj, ffn.down_proj]
    norms: list[nn.Module] = [block.input_layernorm, block.post_attention_layernorm]
    norms += [norm for norm in (attention.q_norm, attention.k_norm) if type(norm) is not nn.Identity]
    known = all(type(one) is nn.Linear for one in linears) and all(type(one) is RMSNorm for one in norms)
    hooked = any(one._forward_hooks or one._forward_pre_hooks for one in block.modules())
    return known and ffn.activation is ACTIVATIONS["silu"] and not hooked and _is_plain(block)


def _is_plain(module: nn.Module) -> bool:
    return all(map(_is_float32, module.parameters()))


def _is_float32(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu"


def fuse_blocks(model: DecoderLM) -> int:
    """Replace the blocks of a model that can be fused, in place, and its output head; returns how many blocks."""
    if not _is_plain(model):
        return 0
    fused = 0
    for i, block in enumerate(model.layers):
        if isinstance(block, Block) and can_fuse(block):
            model.layers[i] = FusedBlock(block)
            fused += 1
    if type(model.lm_head) is nn.Linear:
        model.lm_head = PanelLinear(model.lm_head)  # type: ignore[assignment]
    return fused
