"""What experts specialise in: how often each is chosen by the label of a token, and how much the two tell together.

A label is anything that is known of a token: its domain, or what kind of character it is. Pairs are counted, so a token
with K experts counts K times.

Source: Strehl and Ghosh 2002, Cluster Ensembles (normalised mutual information; here by the mean of the two
entropies, as in scikit-learn).
Shapes: T tokens, K choices, E experts, X labels, N bytes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kb.arguments import require_count
from kb.lm import DecoderLM
from kb.moe.balance import load_entropy
from kb.moe.language_model import recorded
from kb.moe.routing import Routing

CLASSES = ("letters", "digits", "punctuation", "space", "line ends and indentation", "other")


def byte_classes(tokens_N: Tensor) -> Tensor:
    """[N]: which of :data:`CLASSES` each byte is of; blanks that follow a line's end are indentation.

    Raises:
        ValueError: the tokens are not [N] of 0 to 255.
    """
    if tokens_N.ndim != 1 or tokens_N.is_floating_point() or tokens_N.dtype == torch.bool:
        raise ValueError(f"tokens must be integers [N], got {tokens_N.dtype} {tuple(tokens_N.shape)}")
    if len(tokens_N) and not 0 <= int(tokens_N.min()) <= int(tokens_N.max()) < 256:
        raise ValueError(f"tokens must be bytes, got {int(tokens_N.min())} to {int(tokens_N.max())}")
    table_V = torch.tensor([_class_of(byte) for byte in range(256)], device=tokens_N.device)
    classes_N = table_V[tokens_N.long()]
    positions_N = torch.arange(len(tokens_N), device=tokens_N.device)
    blank_N = (tokens_N == 32) | (tokens_N == 9)
    # Where the last byte that is no blank is a line's end, the blanks since are indentation.
    last_N = torch.where(blank_N, -1, positions_N).cummax(0).values if len(tokens_N) else positions_N
    indented_N = blank_N & (last_N >= 0) & (tokens_N[last_N.clamp_min(0)] == 10)
    return torch.where(indented_N, CLASSES.index("line ends and indentation"), classes_N)


def _class_of(byte: int) -> int:
    character = chr(byte)
    if byte >= 128:
        return CLASSES.index("other")
    if character.isalpha():
        return CLASSES.index("letters")
    if character.isdigit():
        return CLASSES.index("digits")
    if character in "\n\r":
        return CLASSES.index("line ends and indentation")
    if character in " \t":
        return CLASSES.index("space")
    return CLASSES.index("punctuation") if character.isprintable() else CLASSES.index("other")


def usage(routing: Routing, labels_T: Tensor, num_labels: int) -> Tensor:
    """[X, E] int64: how many pairs of tokens of a label chose an expert.

    Args:
        routing: Of one layer.
        labels_T: int64, 0 to X - 1, of the same tokens in the same order.
        num_labels: X.

    Raises:
        ValueError: there is not one label for each token, or one is out of range.
    """
    require_count("num_labels", num_labels)
    T, _K = routing.experts_TK.shape
    if labels_T.shape != (T,) or labels_T.dtype != torch.int64:
        raise ValueError(f"labels must be int64 [{T}], got {labels_T.dtype} {tuple(labels_T.shape)}")
    if T and not 0 <= int(labels_T.min()) <= int(labels_T.max()) < num_labels:
        raise ValueError(f"labels must be of 0 to {num_labels - 1}, got {int(labels_T.min())} to {int(labels_T.max())}")
    E = routing.num_experts
    cells_P = (labels_T[:, None] * E + routing.experts_TK).reshape(-1)
    return torch.bincount(cells_P, minlength=num_labels * E).view(num_labels, E)


def normalised_mutual_information(counts_XE: Tensor) -> float:
    """Mutual information of label and expert over the mean of their entropies, 0 to 1.

    0 where neither tells anything of the other, and where there is but one label or one expert.

    Raises:
        ValueError: the counts are not [X, E] of which one is positive and none negative.
    """
    countable = counts_XE.ndim == 2 and bool(((counts_XE >= 0) & counts_XE.isfinite()).all())
    if not countable or not counts_XE.numel() or not bool(counts_XE.sum()):
        raise ValueError(f"counts must be [X, E], finite, some above 0 and none below, got {tuple(counts_XE.shape)}")
    counts_XE = counts_XE.double()
    of_labels, of_experts = load_entropy(counts_XE.sum(1)), load_entropy(counts_XE.sum(0))
    together = load_entropy(counts_XE.reshape(-1))
    mean = (of_labels + of_experts) / 2
    return float(((of_labels + of_experts - together) / mean).clamp(0, 1)) if mean > 0 else 0.0


@torch.no_grad()
def usage_over(model: DecoderLM, texts: Sequence[Tensor], length: int) -> tuple[Tensor, Tensor]:
    """Who goes where in texts of several domains: [L, texts, E] by domain and [L, 6, E] by class of byte, int64.

    Args:
        model: With L layers of experts.
        texts: Bytes [N] of each domain; of each, whole windows are read.
        length: Tokens of a window.

    Raises:
        ValueError: there is no text, one has no whole window, or the model no such layer.
    """
    require_count("length", length)
    if not texts:
        raise ValueError("texts must hold at least one text, got none")
    by_domain, by_class = [], []
    for number, text_N in enumerate(texts):
        if len(text_N) < length:
            raise ValueError(f"text {number} of {len(text_N)} bytes holds no window of length {length}")
        whole_N = text_N[: len(text_N) // length * length]
        with recorded(model) as routings:
            model(whole_N.view(-1, length))
        domain_N = torch.full_like(whole_N, number)
        by_domain.append(torch.stack([usage(one, domain_N, len(texts)) for one in routings]))
        by_class.append(torch.stack([usage(one, byte_classes(whole_N), len(CLASSES)) for one in routings]))
    return torch.stack(by_domain).sum(0), torch.stack(by_class).sum(0)
