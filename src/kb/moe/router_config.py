"""How tokens choose experts: one frozen dataclass, whose defaults are Mixtral's.

What differs between models is small: softmax or sigmoid, weights that sum to 1 or not, experts in groups, a bias that
moves the choice but never the weight, room for each expert or for all that come.

Sources: as in :mod:`kb.moe.routing`. Letters: T tokens, E experts, K choices of a token, G groups.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

from kb.arguments import is_number, require_count

ORDERS = ("position", "score")


@dataclass(frozen=True)
class RouterConfig:
    """How tokens choose experts.

    Args:
        num_experts: E.
        top_k: K, experts of a token; where experts choose, how many a token gets on average.
        scoring: "softmax" over the experts, or "sigmoid" of each logit.
        normalize: Whether the K weights of a token are divided by their sum.
        softmax_after_top_k: Softmax over the K chosen logits, in place of all E: the same as ``normalize``, which
            must be on.
        noisy: Noise on the logits while training, of a size that a second matrix learns (Shazeer et al. 2017).
        num_groups: G, equal runs of experts; a token chooses among the experts of its best groups only.
        top_groups: How many groups that is.
        group_score: What a group is worth: its highest score ("max", DeepSeek-V2) or its two highest ("top2", V3).
        scale: What all weights are multiplied with at the end.
        bias: Whether a buffer is added to the scores when choosing. It has no gradient and is in no weight.
        choice: "token": each token takes K experts. "expert": each expert takes as many tokens as its capacity.
        capacity_factor: Of an expert's even share T K / E, the part that it takes at most; None for all that come.
            Where experts choose, None stands for 1.
        drop: Who stays when an expert is full: the earlier ("position": first choices of all tokens go before second
            ones) or the higher weight ("score").
        check_logits: Whether logits that are not finite are refused. On a GPU this waits for the queue once a layer.
        logits_in_float32: Whether the linear layer is float32 whatever its inputs are (DeepSeek-V3), or is of their
            dtype, as in Mixtral and Qwen3; scores are float32 either way.

    Raises:
        ValueError: a value is out of its range, or two do not fit each other.
    """

    num_experts: int
    top_k: int
    scoring: str = "softmax"
    normalize: bool = True
    softmax_after_top_k: bool = False
    noisy: bool = False
    num_groups: int = 1
    top_groups: int = 1
    group_score: str = "max"
    scale: float = 1.0
    bias: bool = False
    choice: str = "token"
    capacity_factor: float | None = None
    drop: str = "position"
    check_logits: bool = True
    logits_in_float32: bool = True

    def __post_init__(self) -> None:
        for name in ("num_experts", "top_k", "num_groups", "top_groups"):
            require_count(name, getattr(self, name))
        for name, wanted in (
            ("scoring", ("softmax", "sigmoid")),
            ("group_score", ("max", "top2")),
            ("choice", ("token", "expert")),
            ("drop", ORDERS),
        ):
            if getattr(self, name) not in wanted:
                raise ValueError(f"{name} {getattr(self, name)!r} is not known; wanted {' or '.join(wanted)}")
        for name, given in (("scale", self.scale), ("capacity_factor", self.capacity_factor)):
            may_lack = name == "capacity_factor" and given is None
            if not may_lack and (given is None or not is_number(given) or given <= 0):
                raise ValueError(f"{name} must be a positive number, got {given!r}")
        for switch in ("normalize", "softmax_after_top_k", "noisy", "bias", "check_logits", "logits_in_float32"):
            if not isinstance(getattr(self, switch), bool):
                raise ValueError(f"{switch} must be True or False, got {getattr(self, switch)!r}")
        if self.top_k > self.num_experts:
            raise ValueError(f"top_k {self.top_k} is more than num_experts {self.num_experts}")
        if self.softmax_after_top_k and (self.scoring != "softmax" or not self.normalize):
            raise ValueError("softmax_after_top_k needs scoring 'softmax' and normalize, which it amounts to")
        self._check_groups()
        if self.choice == "expert" and (self.num_groups > 1 or self.bias or self.softmax_after_top_k):
            raise ValueError("choice 'expert' goes with no groups, no bias and no softmax_after_top_k")

    def _check_groups(self) -> None:
        size, left_over = divmod(self.num_experts, self.num_groups)
        if left_over or self.top_groups > self.num_groups:
            raise ValueError(
                f"num_groups {self.num_groups} must divide num_experts {self.num_experts} and be at least "
                f"top_groups {self.top_groups}"
            )
        if self.top_groups * size < self.top_k:
            raise ValueError(f"top_k {self.top_k} is more than the {self.top_groups * size} experts of top_groups")
        if self.num_groups > 1 and self.group_score == "top2" and size < 2:
            raise ValueError("group_score 'top2' needs groups of at least 2 experts")

    def capacity(self, tokens: int) -> int | None:
        """Most tokens that one expert takes of so many; None for all."""
        factor = self.capacity_factor
        if factor is None:
            if self.choice == "token":
                return None
            factor = 1.0
        # The factor as it is written: in floating point 1.1 x 10 is more than 11, and its ceiling 12.
        return min(tokens, math.ceil(Fraction(str(factor)) * tokens * self.top_k / self.num_experts))
