"""One loss over more rows than fit: in parts on one device, and gathered from several.

A contrastive loss does not split into a sum over parts, as each row is compared with all others: the mean of the parts'
losses is another loss, with fewer negatives. But given the gradient in the embeddings, which are small, the rest does
split: encode all without a graph, take the loss's gradient in the embeddings, and encode again part by part with it.
That is one more forward pass, and the memory of one part. Unusual: random numbers are set back before a part is encoded
again, so that dropout drops the same; and several devices are simulated in one process, since what goes wrong there is
a gradient, not a message.

Sources: Gao et al. 2021, GradCache, arXiv 2101.06983, section 3; Radford et al. 2021, CLIP, arXiv 2103.00020, section
2.5 (a device computes the similarities of its own rows). Shapes: N rows, R devices, D width.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import get_device_states, set_device_states

from kb.contrastive.in_batch import info_nce


def cached_backward(
    encode: Callable[[Tensor], Tensor], parts: Sequence[Tensor], loss: Callable[[Tensor], Tensor]
) -> Tensor:
    """Add the gradient of a loss over all parts to the parameters, with the graph of one part at a time.

    What the loss itself learns, as a temperature, gets its gradient too.

    Args:
        encode: From a part to its rows; the first axis is joined over parts, as [n, 2, D] for pairs.
        parts: In a sequence, as each is encoded twice.
        loss: Of all rows.

    Returns:
        The loss, without a graph.

    Raises:
        ValueError: there are no parts.
    """
    if not len(parts):
        raise ValueError("parts must hold at least one part, got none")
    rows, states = list[Tensor](), []
    with torch.no_grad():
        for part in parts:
            states.append((torch.get_rng_state(), get_device_states(part)))
            rows.append(encode(part))
    states.append((torch.get_rng_state(), get_device_states(*parts)))
    leaf = torch.cat(rows).requires_grad_()
    value = loss(leaf)
    value.backward()
    assert leaf.grad is not None
    for number, piece in enumerate(leaf.grad.split([len(one) for one in rows])):
        _set_random(*states[number])
        torch.autograd.backward(encode(parts[number]), piece)
    _set_random(*states[-1])
    return value.detach()


def gathered_loss(query_RND: Tensor, positive_RND: Tensor, *, temperature: float, through: bool = True) -> Tensor:
    """InfoNCE over R devices: each finds its own queries' positives among those of all, and the mean is taken.

    ``through`` says whether a gradient goes back to rows that came from other devices, which the plain all_gather of
    ``torch.distributed`` does not do.

    Raises:
        ValueError: the two have not one shape [R, N, D], or there is no device.
    """
    if query_RND.ndim != 3 or query_RND.shape != positive_RND.shape or not len(query_RND):
        shapes = f"{tuple(query_RND.shape)} and {tuple(positive_RND.shape)}"
        raise ValueError(f"query_RND and positive_RND must have one shape [R, N, D] with R at least 1, got {shapes}")
    losses = []
    for own in range(len(query_RND)):
        others = [rows if through else rows.detach() for place, rows in enumerate(positive_RND) if place != own]
        negatives = torch.cat(others) if others else None
        losses.append(info_nce(query_RND[own], positive_RND[own], negatives, temperature=temperature))
    return torch.stack(losses).mean()


def _set_random(host: Tensor, devices: tuple[list[int], list[Tensor]]) -> None:
    torch.set_rng_state(host)
    set_device_states(*devices)
