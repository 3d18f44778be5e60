"""From logits to the next token: filters that reshape a distribution, and one draw from it.

Each filter takes logits [B, V] and gives logits [B, V] of which some are minus infinity; names, meaning and order are
those of transformers' logits processors. Unusual: the draw is an exponential race, argmax(p_i / e_i) with e_i drawn
from Exp(1), which is exact and needs one row of noise per token from the row's own generator, so that a request draws
the same tokens whatever else is in its batch.

Sources: Keskar et al. 2019, CTRL, section 4.1 (repetition penalty); Fan et al. 2018 (top-k); Holtzman et al. 2020
(top-p); Nguyen et al. 2024 (min-p). The race: Gumbel-max (Maddison et al. 2014) in another form.
Shapes: B sequences, T tokens so far, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_LEAST_TEMPERATURE = 1e-6


def require_logits(logits_BV: Tensor) -> None:
    """Refuse what is no matrix of logits.

    Raises:
        TypeError: no floating-point numbers.
        ValueError: not two dimensions.
    """
    if not logits_BV.is_floating_point():
        raise TypeError(f"logits must be floating-point numbers, got {logits_BV.dtype}")
    if logits_BV.dim() != 2:
        raise ValueError(f"wanted logits [B, V], got {tuple(logits_BV.shape)}")


def _require(holds: bool, name: str, value: float, wanted: str) -> None:
    if not holds:
        raise ValueError(f"{name} must be {wanted}, got {value}")


@dataclass(frozen=True)
class SamplingParams:
    """How the next token is chosen; the defaults change nothing and draw from the model's own distribution.

    Args:
        temperature: Logits are divided by it; 0 means greedy, the most likely token. Between 0 and 1e-6 is refused:
            the quotients would overflow.
        top_k: Keep the k most likely tokens; 0 keeps all.
        top_p: Keep the smallest set of most likely tokens with at least this probability; 1 keeps all.
        min_p: Keep tokens with at least this share of the most likely token's probability; 0 keeps all.
        repetition_penalty: Divide positive and multiply negative logits of tokens seen before; 1 changes nothing.

    Raises:
        TypeError: what should be a number is none.
        ValueError: a number is out of its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} must be a number, got {value!r}")
        temperature, top_k = self.temperature, self.top_k
        usable = temperature == 0 or _LEAST_TEMPERATURE <= temperature < math.inf
        _require(usable, "temperature", temperature, f"0 (greedy) or a number of at least {_LEAST_TEMPERATURE}")
        whole = isinstance(top_k, int) and top_k >= 0
        _require(whole, "top_k", top_k, "0 (keep all) or a positive integer")
        _require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1")
        _require(0 <= self.min_p <= 1, "min_p", self.min_p, "between 0 and 1")
        penalty = self.repetition_penalty
        _require(0 < penalty < math.inf, "repetition_penalty", penalty, "a positive number")

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is taken and nothing is drawn."""
        return self.temperature == 0


GREEDY = SamplingParams(temperature=0.0)


def penalize_repetition(logits_BV: Tensor, tokens_BT: Tensor, penalty: float) -> Tensor:
    """Divide the logit of every token seen in its row by ``penalty`` where positive, multiply where negative."""
    require_logits(logits_BV)
    _require(0 < penalty < math.inf, "penalty", penalty, "a positive number")
    seen_BT = logits_BV.gather(1, tokens_BT)
    return logits_BV.scatter(1, tokens_BT, torch.where(seen_BT < 0, seen_BT * penalty, seen_BT / penalty))


def keep_top_k(logits_BV: Tensor, k: int) -> Tensor:
    """Drop all but the k largest of each row; ties with the k-th stay."""
    require_logits(logits_BV)
    _require(k >= 1, "k", k, "at least 1")
    kth_B1 = logits_BV.topk(min(k, logits_BV.shape[-1])).values[:, -1:]
    return logits_BV.masked_fill(logits_BV < kth_B1, -torch.inf)


def keep_top_p(logits_BV: Tensor, p: float, *, least: int = 1) -> Tensor:
    """Drop the least likely tokens as long as together they have at most 1 - p; the ``least`` most likely stay."""
    require_logits(logits_BV)
    _require(0 < p <= 1, "p", p, "above 0 and at most 1")
    _require(least >= 1, "least", least, "at least 1")
    ascending_BV, order_BV = logits_BV.sort(descending=False)
    drop_BV = ascending_BV.softmax(dim=-1).cumsum(dim=-1) <= 1 - p
    drop_BV[:, -least:] = False
    return logits_BV.masked_fill(drop_BV.scatter(1, order_BV, drop_BV), -torch.inf)


def keep_min_p(logits_BV: Tensor, min_p: float, *, least: int = 1) -> Tensor:
    """Drop tokens less likely than ``min_p`` times the most likely of their row; the ``least`` most likely stay."""
    require_logits(logits_BV)
    _require(0 <= min_p <= 1, "min_p", min_p, "between 0 and 1")
    _require(least >= 1, "least", least, "at least 1")
    probabilities_BV = logits_BV.softmax(dim=-1)
    drop_BV = probabilities_BV < min_p * probabilities_BV.amax(-1, keepdim=True)
    if least > 1:
        drop_BV = drop_BV.scatter(1, probabilities_BV.topk(min(least, logits_BV.shape[-1])).indices, False)
    return logits_BV.masked_fill(drop_BV, -torch.inf)


def process(logits_BV: Tensor, tokens_BT: Tensor, params: SamplingParams) -> Tensor:
    """All filters that ``params`` asks for: penalty, temperature, top-k, top-p, min-p, in transformers' order.

    Args:
        logits_BV: Of the next token, any floating dtype.
        tokens_BT: Prompt and tokens so far, for the repetition penalty.
        params: Greedy params get the penalty alone, as nothing else changes which token is largest.

    Raises:
        TypeError: the logits are not of a floating dtype.
        ValueError: logits and tokens are not two matrices with the same number of rows.
    """
    require_logits(logits_BV)
    if tokens_BT.dim() != 2 or len(logits_BV) != len(tokens_BT):
        raise ValueError(f"wanted logits [B, V] and tokens [B, T], got {logits_BV.shape} and {tokens_BT.shape}")
    if params.repetition_penalty != 1:
        logits_BV = penalize_repetition(logits_BV, tokens_BT, params.repetition_penalty)
    if params.greedy:
        return logits_BV
    if params.temperature != 1:
        logits_BV = logits_BV / params.temperature
    if params.top_k:
        logits_BV = keep_top_k(logits_BV, params.top_k)
    if params.top_p < 1:
        logits_BV = keep_top_p(logits_BV, params.top_p)
    if params.min_p > 0:
        logits_BV = keep_min_p(logits_BV, params.min_p)
    return logits_BV


def require_finite(logits_BV: Tensor) -> None:
    """Refuse rows without a distribution: with a NaN, with plus infinity, or minus infinity throughout.

    Raises:
        ValueError: there is such a row; the first is named.
    """
    wrong_B = ~logits_BV.amax(dim=-1).isfinite()  # amax hands a NaN on
    if bool(wrong_B.any()):
        row = int(wrong_B.nonzero()[0])
        raise ValueError(f"the logits of row {row} hold NaN, plus infinity or nothing finite: no token can be chosen")


def draw(logits_BV: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """One token per row with probability softmax(logits), [B], by an exponential race.

    Args:
        logits_BV: Filtered logits; minus infinity is never drawn.
        generators: One per row, on the logits' device. A row takes V numbers from its own and from no other.

    Raises:
        TypeError: a generator is something else.
        ValueError: not one generator per row, or a row holds NaN or plus infinity or nothing that is finite.
    """
    require_logits(logits_BV)
    if not all(isinstance(one, torch.Generator) for one in generators):
        raise TypeError("generators must be torch.Generators, one per row: no hidden global state")
    if len(generators) != len(logits_BV):
        raise ValueError(f"wanted {len(logits_BV)} generators, one per row, got {len(generators)}")
    require_finite(logits_BV)
    # From uniform noise: older releases of torch take the numbers of Tensor.exponential_ from MKL where they have it,
    # so that a seed means other tokens there. In float64, as one of 2^24 steps would be 0 too often, and 0 always wins.
    uniform_BV = torch.empty_like(logits_BV, dtype=torch.float64)
    for row_V, generator in zip(uniform_BV, generators, strict=True):
        row_V.uniform_(generator=generator)
    noise_BV = -torch.log1p(-uniform_BV)
    # A 0 would still give 0/0 for a dropped token: the smallest normal number is as good.
    noise_BV = noise_BV.clamp_min(torch.finfo(torch.float64).tiny)
    return (logits_BV.double().softmax(dim=-1) / noise_BV).argmax(dim=-1)
