"""The heart of speculative decoding: accept or reject what a draft proposed so that the target's distribution remains.

A token x drawn from the draft's q is kept with probability min(1, p(x) / q(x)); if it is not, another is drawn from the
residual norm(max(0, p - q)). The token that results has distribution p exactly. Unusual: greedy decoding needs no rule
of its own, for it is sampling from a distribution that is 1 at the argmax: a draft is kept exactly where the target
would say the same.

Sources: Leviathan et al. 2023, Fast Inference from Transformers via Speculative Decoding, algorithm 1 and
equation 1; Chen et al. 2023, Accelerating Large Language Model Decoding with Speculative Sampling.
Here as in Leviathan et al. p is the target's distribution and q the draft's. Shapes: g drafts, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kb.arguments import is_number, require_count
from kb.lm.sampling import draw


def acceptance_rate(p_V: Tensor, q_V: Tensor) -> Tensor:
    """Probability that a token drawn from q is kept: sum of min(p, q), which is 1 less their total variation.

    Args:
        p_V: The target's probabilities, [..., V].
        q_V: The draft's, of the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    _require_alike(p_V, q_V)
    return torch.minimum(p_V, q_V).sum(dim=-1)


def _require_alike(p_V: Tensor, q_V: Tensor) -> None:
    if p_V.shape != q_V.shape:
        raise ValueError(f"p and q must have one shape [..., V], got {tuple(p_V.shape)} and {tuple(q_V.shape)}")


def residual(p_V: Tensor, q_V: Tensor) -> Tensor:
    """norm(max(0, p - q)), [..., V]: what a rejected token is replaced from; p itself where p and q are alike.

    Raises:
        ValueError: the shapes differ.
    """
    _require_alike(p_V, q_V)
    excess_V = (p_V - q_V).clamp_min(0)
    total_1 = excess_V.sum(dim=-1, keepdim=True)
    # Alike up to rounding, nothing is left to draw from, and a rejection has probability 0 up to rounding.
    return torch.where(total_1 > 0, excess_V / total_1.where(total_1 > 0, 1), p_V)


def expected_tokens(alpha: float, gamma: int) -> float:
    """Tokens that one pass of the target yields on average, (1 - alpha^(gamma + 1)) / (1 - alpha): equation 1.

    Args:
        alpha: Probability that a draft is kept, the same and independent at every position.
        gamma: Drafts per pass, at least 0.

    Raises:
        TypeError: ``alpha`` is no finite number.
        ValueError: it is not between 0 and 1, or ``gamma`` is a negative or no integer.
    """
    if not is_number(alpha):
        raise TypeError(f"alpha must be a finite number, got {alpha!r}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha}")
    require_count("gamma", gamma, least=0)
    return float(gamma + 1) if alpha == 1 else (1 - alpha ** (gamma + 1)) / (1 - alpha)


def expected_speedup(alpha: float, gamma: int, cost: float) -> float:
    """Expected improvement of the wall time, (1 - alpha^(gamma + 1)) / ((1 - alpha) (gamma c + 1)): Theorem 3.8.

    Args:
        alpha: Probability that a draft is kept.
        gamma: Drafts per pass of the target.
        cost: c, time of one pass of the draft over one of the target; the target takes as long for gamma + 1 tokens as
            for one, which holds while it waits for memory and not for arithmetic.

    Raises:
        TypeError: ``alpha`` or ``cost`` is no finite number.
        ValueError: one is out of its range.
    """
    if not is_number(cost):
        raise TypeError(f"cost must be a finite number, got {cost!r}")
    if cost < 0:
        raise ValueError(f"cost must be at least 0, got {cost}")
    return expected_tokens(alpha, gamma) / (gamma * cost + 1)


def verify_loop(
    p: Sequence[Sequence[float]], q: Sequence[Sequence[float]], drafts: Sequence[int], uniforms: Sequence[float]
) -> tuple[int, list[float]]:
    """Reference of algorithm 1 over lists: how many drafts are kept, and the distribution of the token after them.

    Args:
        p: The target's distribution at each of the g + 1 positions.
        q: The draft's at each of the g.
        drafts: The g tokens proposed.
        uniforms: g numbers of [0, 1).
    """
    for place, (token, uniform) in enumerate(zip(drafts, uniforms, strict=True)):
        if uniform * q[place][token] >= p[place][token]:
            left = [max(0.0, mine - other) for mine, other in zip(p[place], q[place], strict=True)]
            total = sum(left)
            return place, [one / total for one in left] if total else list(p[place])
    return len(drafts), list(p[len(drafts)])


def verify(p_GV: Tensor, q_gV: Tensor, drafts_g: Tensor, generator: torch.Generator | None) -> tuple[int, int]:
    """One step of algorithm 1: how many of the drafts are kept, and the token after them.

    Args:
        p_GV: The target's distributions at the g + 1 positions, [g + 1, V].
        q_gV: The draft's at the g positions that it proposed for, [g, V].
        drafts_g: What it proposed, int64 [g], each drawn from its row of q; g may be 0.
        generator: Source of the noise; None where all distributions are 0 or 1, as in greedy decoding.

    Raises:
        TypeError: the drafts are no int64.
        ValueError: the shapes do not fit each other, or a draft is outside the vocabulary (looked at on a CPU only).
    """
    g = len(drafts_g)
    if drafts_g.dtype != torch.int64:
        raise TypeError(f"drafts must be int64, got {drafts_g.dtype}")
    if p_GV.dim() != 2 or p_GV.shape[0] != g + 1 or q_gV.shape != (g, p_GV.shape[1]):
        raise ValueError(f"wanted p [{g + 1}, V] and q [{g}, V], got {tuple(p_GV.shape)} and {tuple(q_gV.shape)}")
    if g and drafts_g.device.type == "cpu" and not 0 <= int(drafts_g.min()) <= int(drafts_g.max()) < p_GV.shape[1]:
        raise ValueError(f"drafts must be in 0 to {p_GV.shape[1] - 1}, got {drafts_g.tolist()}")
    p_GV, q_gV = p_GV.double(), q_gV.double()
    uniforms_g = p_GV.new_zeros(g)
    if generator is not None:
        uniforms_g.uniform_(generator=generator)
    chosen_g1 = drafts_g[:, None]
    # As a product, since q may be 0 where a draft was chosen by something other than its distribution.
    kept_g = uniforms_g * q_gV.gather(1, chosen_g1)[:, 0] < p_GV[:g].gather(1, chosen_g1)[:, 0]
    kept = int(kept_g.long().cumprod(dim=0).sum())
    after_V = p_GV[g] if kept == g else residual(p_GV[kept], q_gV[kept])
    if generator is None:
        return kept, int(after_V.argmax())
    return kept, int(draw(after_V.log()[None], (generator,)))
