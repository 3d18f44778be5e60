"""Stage one, supervised fine-tuning: cross-entropy of the response's tokens, the prompt's left out.

Unusual: two means are offered, as they are two objectives. Over tokens, a long demonstration weighs more than a short
one; over sequences, each demonstration weighs the same, and so a token of a long one less.

Source: Ouyang et al. 2022, section 3.5 (SFT), which names no mask. That the prompt is given and not learnt is what
most code does since: trl 1.16 trains on the completion alone where the data has prompt and completion.
Shapes: B sequences, T tokens, S = T - 1 choices, V vocabulary.
"""

import torch
from torch import Tensor

from kb.alignment.sequences import choices, masked_mean, masked_sums, require_mask, token_log_probs

AVERAGES = ("token", "sequence")


def sft_loss(logits_BTV: Tensor, tokens_BT: Tensor, mask_BT: Tensor, *, average: str = "token") -> Tensor:
    """Mean of -log p of the response's tokens.

    Args:
        logits_BTV: Of the model on the tokens.
        tokens_BT: Prompt, response, end token, padding.
        mask_BT: True at the response and its end token.
        average: "token" or "sequence".

    Raises:
        TypeError: the mask is not boolean.
        ValueError: shapes do not fit, nothing is left, or ``average`` is not known.
    """
    if average not in AVERAGES:
        raise ValueError(f"average must be one of {', '.join(AVERAGES)}, got {average!r}")
    require_mask("mask", mask_BT, tokens_BT)
    log_probs_BS, mask_BS = token_log_probs(logits_BTV, tokens_BT), choices(mask_BT)
    if average == "token":
        return -masked_mean(log_probs_BS, mask_BS)
    counts_B = mask_BS.sum(-1)
    if not bool(counts_B.all()):
        raise ValueError("mask: a sequence without a response has no mean")
    return -(masked_sums(log_probs_BS, mask_BS) / counts_B).mean()


def sft_loss_loop(logits_BTV: Tensor, tokens_BT: Tensor, mask_BT: Tensor, *, average: str = "token") -> Tensor:
    """The same, one token at a time."""
    rows = []
    for logits_TV, tokens_T, mask_T in zip(logits_BTV, tokens_BT.tolist(), mask_BT.tolist(), strict=True):
        terms = [
            logits_TV[t - 1].exp().sum().log() - logits_TV[t - 1, tokens_T[t]]
            for t in range(1, len(tokens_T))
            if mask_T[t]
        ]
        rows.append(terms)
    if average == "token":
        return torch.stack([term for terms in rows for term in terms]).mean()
    return torch.stack([torch.stack(terms).mean() for terms in rows]).mean()
