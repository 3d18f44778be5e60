"""How models of several tasks are fed and judged: shuffled epochs, a loss that skips what is unknown, AUC by task.

Unusual: a target that is not known is NaN, and each task's loss is the mean over the rows where its own is known; so a
task with fewer rows weighs as much as one with many.

Source: Fawcett 2006, An introduction to ROC analysis, section 7 (AUC as the share of pairs in the right order).
Shapes: N rows, B of a batch, D width, S tasks.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor

from kb.arguments import is_integer, require_count
from kb.moe.multi_task.movielens import Rows


def binary_loss(model: Callable[[Tensor], tuple[Tensor, object]], batch: tuple[Tensor, Tensor]) -> Tensor:
    """The sum over tasks of the mean cross-entropy, in nats, where the target is known; 0 for a task without any.

    Args:
        model: From [B, D] to logits [B, S], and anything beside them.
        batch: Inputs [B, D] and targets [B, S]: 0, 1 or NaN.

    Raises:
        ValueError: logits and targets differ in shape, or a target is below 0 or above 1.
    """
    x_BD, target_BS = batch
    logits_BS = model(x_BD)[0]
    if logits_BS.shape != target_BS.shape:
        raise ValueError(f"targets must be {tuple(logits_BS.shape)} as the logits are, got {tuple(target_BS.shape)}")
    known_BS = ~target_BS.isnan()
    filled_BS = torch.where(known_BS, target_BS, 0)
    if not bool(((filled_BS >= 0) & (filled_BS <= 1)).all()):
        raise ValueError(f"targets must be 0 to 1 or NaN, got {float(filled_BS.min())} to {float(filled_BS.max())}")
    # Left out before the loss and not after it: a logit that is not finite there would make NaN of 0.
    loss_BS = F.binary_cross_entropy_with_logits(torch.where(known_BS, logits_BS, 0), filled_BS, reduction="none")
    return (torch.where(known_BS, loss_BS, 0).sum(0) / known_BS.sum(0).clamp(min=1)).sum()


def epochs(rows: Rows, batch: int, number: int, *, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of inputs [B, D] and targets [B, S]: all rows, in a new order each time; the last may be shorter.

    Args:
        rows: What is learnt from.
        batch: B.
        number: How many times over.
        seed: Of the orders.

    Raises:
        ValueError: a number is none.
    """
    require_count("batch", batch)
    require_count("number", number, least=0)
    if not is_integer(seed):
        raise ValueError(f"seed must be an integer, got {seed!r}")
    generator = torch.Generator().manual_seed(seed)
    orders = (torch.randperm(len(rows), generator=generator) for _ in range(number))
    return ((rows.x_NF[chosen_B], rows.targets_N2[chosen_B]) for order_N in orders for chosen_B in order_N.split(batch))


@torch.no_grad()
def ranking_quality(model: Callable[[Tensor], tuple[Tensor, object]], rows: Rows) -> list[float]:
    """Each task's AUC: of a row that is 1 and one that is 0, how often the first scores higher; ties count half.

    The model is asked as it is, in training mode too.

    Raises:
        ValueError: a target is none of 0, 1 and NaN, or a task has no row of one of the two.
    """
    logits_NS = model(rows.x_NF)[0]
    found = []
    for s in range(logits_NS.shape[1]):
        known_N = ~rows.targets_N2[:, s].isnan()
        is_one_N = rows.targets_N2[known_N, s] == 1
        if bool((rows.targets_N2[known_N, s] != is_one_N).any()):
            raise ValueError(f"targets of task {s} must be 0, 1 or NaN")
        ones, zeros = int(is_one_N.sum()), int((~is_one_N).sum())
        if not ones or not zeros:
            raise ValueError(f"rows must hold both targets of task {s}, got {ones} of 1 and {zeros} of 0")
        found.append(float(roc_auc_score(is_one_N.cpu(), logits_NS[known_N, s].float().cpu())))
    return found
