"""A language model's lower layers as a sentence encoder: frozen below, trained on top, dropout where it is trained.

What a language model's layers hold of a text is there, but all texts point nearly the same way: that is what SimCSE is
for. Unusual: the frozen layers are run once for each text and their states kept, so that a step of training costs no
more than the layers on top; padding goes to the right, where no causal layer looks; and each token's state is brought
to one size before the mean over tokens, as a few outgrow all others by far.

Sources: Gao et al. 2021, SimCSE, arXiv 2104.08821, section 3; Sun et al. 2024, arXiv 2402.17762, section 2 (states that
outgrow the others). Shapes: B texts, T tokens, D width.
"""

import copy
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.arguments import is_number, require_count
from kb.lm import DecoderLM, NoCache
from kb.lm.model import Block
from kb.nn import inverse_frequencies, rotary_tables
from kb.training import in_mode


class SentenceEncoder(nn.Module):
    """States of frozen layers to one row a text, not normalised.

    Args:
        model: Of which copies of layers are trained; it stays as it is.
        frozen: How many layers :meth:`states` runs, without dropout and gradient.
        trained: How many layers above them are trained.
        dropout: On the states that come in, and on what attention and feed-forward network add.

    Raises:
        ValueError: a count is wrong, the model has not so many layers, or the dropout is not from 0 to below 1.
    """

    def __init__(self, model: DecoderLM, *, frozen: int = 5, trained: int = 1, dropout: float = 0.1) -> None:
        super().__init__()
        require_count("frozen", frozen, least=0)
        require_count("trained", trained)
        if frozen + trained > len(model.layers):
            raise ValueError(f"frozen and trained must be at most {len(model.layers)} layers, got {frozen + trained}")
        if not is_number(dropout) or not 0 <= dropout < 1:
            raise ValueError(f"dropout must be a number from 0 to below 1, got {dropout!r}")
        self._below = (model.embed_tokens, list(model.layers)[:frozen])  # in a tuple: no parameters of this module
        self._rope, self._head = model.config.rope, model.config.head_dim
        self.layers = nn.ModuleList(copy.deepcopy(list(model.layers)[frozen : frozen + trained])).requires_grad_()
        self.dropout = dropout

    @torch.no_grad()
    def states(self, ids: Sequence[Sequence[int]], *, batch_size: int = 16) -> list[Tensor]:
        """What the frozen layers make of each text, [T, D]; texts of like length run together.

        Raises:
            ValueError: there is no text, or one without a token.
        """
        if not ids or not all(ids):
            raise ValueError("ids must hold at least one text, and each a token")
        found, (embed, layers) = dict[int, Tensor](), self._below
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            texts = [torch.tensor(list(ids[i]), device=embed.weight.device) for i in places]
            x_BTD = embed(nn.utils.rnn.pad_sequence(texts, batch_first=True))
            tables = self._tables(x_BTD)
            for layer in layers:
                x_BTD = layer(x_BTD, tables, NoCache())
            found |= {i: x_TD[: len(ids[i])].clone() for i, x_TD in zip(places, x_BTD, strict=True)}
        return [found[i] for i in range(len(ids))]

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """One row a text, [B, D], from what :meth:`states` gave."""
        x_BTD = nn.utils.rnn.pad_sequence(list(states), batch_first=True)
        lengths_B = torch.tensor([len(one) for one in states], device=x_BTD.device)
        x_BTD, tables = self._drop(x_BTD), self._tables(x_BTD)
        for block in cast(Sequence[Block], self.layers):
            x_BTD = x_BTD + self._drop(block.self_attn(block.input_layernorm(x_BTD), tables, NoCache()))
            x_BTD = x_BTD + self._drop(block.mlp(block.post_attention_layernorm(x_BTD)))
        return pooled(x_BTD, lengths_B)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)

    def _tables(self, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
        frequencies_P, factor = inverse_frequencies(self._rope, self._head, length=x_BTD.shape[1])
        places_BT = torch.arange(x_BTD.shape[1], device=x_BTD.device)[None]
        return rotary_tables(places_BT, frequencies_P.to(x_BTD.device), factor)


def pooled(x_BTD: Tensor, lengths_B: Tensor) -> Tensor:
    """Means of the first tokens' states, as many as a text is long, each divided by its root mean square."""
    size_BT1 = x_BTD.square().mean(2, keepdim=True).sqrt().clamp_min(torch.finfo(x_BTD.dtype).tiny)
    inside_BT = torch.arange(x_BTD.shape[1], device=x_BTD.device) < lengths_B[:, None]
    return torch.where(inside_BT[..., None], x_BTD / size_BT1, 0).sum(1) / lengths_B[:, None]


@torch.no_grad()
def embed(encoder: SentenceEncoder, states: Sequence[Tensor], *, batch_size: int = 32) -> Tensor:
    """Rows of all texts, [N, D], texts of like length together, without dropout.

    Raises:
        ValueError: there is no text.
    """
    if not states:
        raise ValueError("states must hold at least one text, got none")
    order = sorted(range(len(states)), key=lambda place: len(states[place]))
    with in_mode(encoder, training=False):
        rows = [encoder([states[i] for i in order[at : at + batch_size]]) for at in range(0, len(order), batch_size)]
    return torch.cat(rows)[torch.tensor(order).argsort()]
