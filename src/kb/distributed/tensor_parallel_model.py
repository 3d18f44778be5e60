"""A whole language model under tensor parallelism: every matrix of every block cut, embedding and head by vocabulary.

Attention is cut by heads: queries, keys and values by outputs, whole heads to a rank, the output projection by inputs.
The feed-forward network is cut by inner units. f stands once before each of the two, not in every layer that reads
their input. The module of :mod:`kb.lm` is the same one: only its layers are swapped.

Source: Shoeybi et al. 2019, Megatron-LM, section 3, figure 3.
Shapes: B sequences, T tokens, V vocabulary, R ranks.
"""

import copy

from torch import Tensor, nn

from kb.distributed.collectives import Collectives
from kb.distributed.tensor_parallel import ColumnParallelLinear, RowParallelLinear, copy_to_ranks
from kb.distributed.vocab_parallel import VocabParallelEmbedding, vocab_parallel_cross_entropy
from kb.lm.model import DecoderLM

COLUMNS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
ROWS = ("o_proj", "down_proj")


def tensor_parallel_lm(model: DecoderLM, comm: Collectives) -> DecoderLM:
    """This rank's share of a model that it holds whole, as a new model.

    Its logits are [B, T, V / R]: this rank's part of the vocabulary.

    Args:
        model: Equal on all ranks; it is left as it is.
        comm: Of the ranks.

    Raises:
        ValueError: the ranks do not divide query heads, key-value heads, inner units or vocabulary; or embedding and
            head share their weight, which the two ends would cut into two tensors.
        TypeError: a layer to be cut is not a plain linear layer (it wears an adapter, or is quantized).
    """
    config = model.config
    if config.tie_embeddings:
        raise ValueError("model must not tie its embeddings: this cut makes two tensors of them")
    for name in ("num_heads", "num_kv_heads", "intermediate_size", "vocab_size"):
        if getattr(config, name) % comm.ranks:
            raise ValueError(f"{name} {getattr(config, name)} cannot be divided evenly among {comm.ranks} ranks")
    part = copy.deepcopy(model)
    for block in part.layers:
        for module in (block.get_submodule("self_attn"), block.get_submodule("mlp")):
            module.register_forward_pre_hook(lambda _, inputs: (copy_to_ranks(inputs[0], comm), *inputs[1:]))
            for name, layer in list(module.named_children()):
                if name not in COLUMNS + ROWS:
                    continue
                if not isinstance(layer, nn.Linear):
                    raise TypeError(f"model must have plain linear layers, its {name} is a {type(layer).__name__}")
                if name in COLUMNS:
                    setattr(module, name, ColumnParallelLinear(layer, comm, copies=False))
                else:
                    setattr(module, name, RowParallelLinear(layer, comm))
    part.embed_tokens = VocabParallelEmbedding(part.embed_tokens, comm)  # type: ignore[assignment]
    part.lm_head = ColumnParallelLinear(part.lm_head, comm)  # type: ignore[assignment]
    return part


def tensor_parallel_loss(part: DecoderLM, tokens_BT: Tensor, comm: Collectives) -> Tensor:
    """The mean cross-entropy of each next token, equal on all ranks.

    Raises:
        LostRankError: a rank died, or did not answer within the timeout of its group.
    """
    logits_BTW = part(tokens_BT[:, :-1])
    targets_N = tokens_BT[:, 1:].reshape(-1)
    return vocab_parallel_cross_entropy(logits_BTW.flatten(0, 1), targets_N, comm).mean()
