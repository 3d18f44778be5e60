"""Log-probabilities of the tokens of a response, and means over them: what every loss of alignment is made of.

Unusual: one convention for all. A tensor [B, S] with S = T - 1 belongs to the *choices* of a sequence [B, T]: place s
is the choice of token s + 1, made on seeing tokens 0 to s. A mask [B, T] is true at the tokens of the response, its end
token included, false at prompt and padding; ``choices`` moves it to the places of the choices. Most bugs of RLHF are
this step left out, or taken twice.

Source: Ouyang et al. 2022, InstructGPT, section 3.5; Huang et al. 2024, The N+ Implementation Details of RLHF with PPO,
arXiv 2403.17031 (whitening with and without the mean).
Shapes: B sequences, T tokens, S = T - 1 choices, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def require_mask(name: str, mask: Tensor, like: Tensor) -> None:
    """Refuse a mask that is not boolean, not of the shape of ``like``, or true nowhere.

    Raises:
        TypeError: it is not a boolean tensor.
        ValueError: it has another shape, or masks everything out.
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        raise TypeError(f"{name} must be a boolean tensor, got {getattr(mask, 'dtype', type(mask).__name__)}")
    if mask.shape != like.shape:
        raise ValueError(f"{name} must have the shape {tuple(like.shape)}, got {tuple(mask.shape)}")
    if not bool(mask.any()):
        raise ValueError(f"{name} is true nowhere: there is nothing to average")


def require_same_shape(**tensors: Tensor) -> None:
    """Refuse tensors of several shapes.

    Raises:
        ValueError: their shapes differ; all are named.
    """
    if len({tuple(tensor.shape) for tensor in tensors.values()}) > 1:
        told = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
        raise ValueError(f"wanted one shape, got {told}")


def choices(mask_BT: Tensor) -> Tensor:
    """A mask of tokens [B, T] as a mask of the choices that made them, [B, T - 1]."""
    return mask_BT[:, 1:]


def token_log_probs(logits_BTV: Tensor, tokens_BT: Tensor) -> Tensor:
    """Log-probability of each token but the first, given those before it.

    Args:
        logits_BTV: What the model says on the same tokens.
        tokens_BT: int64 ids.

    Returns:
        [B, T - 1]: place s holds log p(token s + 1 | tokens 0 to s).

    Raises:
        ValueError: the shapes do not fit, or there is no second token.
    """
    if logits_BTV.dim() != 3 or logits_BTV.shape[:2] != tokens_BT.shape:
        raise ValueError(
            f"wanted logits [B, T, V] of tokens [B, T], got {tuple(logits_BTV.shape)} and {tuple(tokens_BT.shape)}"
        )
    if tokens_BT.shape[1] < 2:
        raise ValueError(f"tokens: {tokens_BT.shape[1]} in a sequence, at least 2 are needed for one choice")
    log_probs_BSV = logits_BTV[:, :-1].log_softmax(dim=-1)
    return log_probs_BSV.gather(-1, tokens_BT[:, 1:, None]).squeeze(-1)


def token_log_probs_loop(logits_BTV: Tensor, tokens_BT: Tensor) -> Tensor:
    """The same, one token at a time."""
    rows = []
    for logits_TV, tokens_T in zip(logits_BTV, tokens_BT, strict=True):
        row = [logits_TV[t - 1, int(tokens_T[t])] - logits_TV[t - 1].exp().sum().log() for t in range(1, len(tokens_T))]
        rows.append(torch.stack(row))
    return torch.stack(rows)


def entropy(logits_BTV: Tensor) -> Tensor:
    """Entropy of the distribution before each choice, in nats, [B, T - 1]."""
    log_probs_BSV = logits_BTV[:, :-1].log_softmax(dim=-1)
    return -(log_probs_BSV.exp() * log_probs_BSV).sum(-1)


def masked_mean(values_BS: Tensor, mask_BS: Tensor) -> Tensor:
    """Mean over the places of a mask: each counts the same, whichever sequence it is in.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: it has another shape, or is true nowhere.
    """
    require_mask("mask", mask_BS, values_BS)
    return torch.where(mask_BS, values_BS, 0.0).sum() / mask_BS.sum()


def masked_sums(values_BS: Tensor, mask_BS: Tensor) -> Tensor:
    """Sum over the places of a mask within each sequence, [B]: of log-probabilities, that of the response.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: it has another shape, or is true nowhere.
    """
    require_mask("mask", mask_BS, values_BS)
    return torch.where(mask_BS, values_BS, 0.0).sum(-1)


def whiten(values_BS: Tensor, mask_BS: Tensor, *, shift_mean: bool = True, eps: float = 1e-8) -> Tensor:
    """Divide by the standard deviation over the places of a mask, and move their mean to 0 or leave it.

    Advantages are whitened with ``shift_mean``. Rewards, where they are whitened, without: their mean decides whether
    a long response is worth more than a short one. Variance with Bessel's correction; masked places come out as 0.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: it has another shape, or fewer than two places.
    """
    require_mask("mask", mask_BS, values_BS)
    count = int(mask_BS.sum())
    if count < 2:
        raise ValueError(f"mask is true at {count} place, at least 2 are needed for a variance")
    mean = masked_mean(values_BS, mask_BS)
    variance = masked_mean((values_BS - mean) ** 2, mask_BS) * (count / (count - 1))
    whitened_BS = (values_BS - mean) * (variance + eps).rsqrt() + (0.0 if shift_mean else mean)
    return torch.where(mask_BS, whitened_BS, 0.0)


def whiten_loop(
    values: Sequence[Sequence[float]], mask: Sequence[Sequence[bool]], *, shift_mean: bool = True, eps: float = 1e-8
) -> list[list[float]]:
    """The same in Python's floats."""
    kept = [
        value for row, of in zip(values, mask, strict=True) for value, inside in zip(row, of, strict=True) if inside
    ]
    mean = sum(kept) / len(kept)
    scale = (sum((value - mean) ** 2 for value in kept) / (len(kept) - 1) + eps) ** -0.5
    back = 0.0 if shift_mean else mean
    return [
        [(value - mean) * scale + back if inside else 0.0 for value, inside in zip(row, of, strict=True)]
        for row, of in zip(values, mask, strict=True)
    ]


def last_places(mask_BT: Tensor) -> Tensor:
    """Index of the last true place of each row, int64 [B]: of the response's last token, wherever the padding is.

    Raises:
        TypeError: the mask is not boolean.
        ValueError: it is no [B, T], or a row is true nowhere.
    """
    if not isinstance(mask_BT, Tensor) or mask_BT.dtype != torch.bool:
        raise TypeError(f"mask must be a boolean tensor, got {getattr(mask_BT, 'dtype', type(mask_BT).__name__)}")
    if mask_BT.dim() != 2 or not bool(mask_BT.any(-1).all()):
        raise ValueError("mask must be a [B, T] with a true place in every row")
    return mask_BT.shape[1] - 1 - mask_BT.flip(-1).int().argmax(-1)
