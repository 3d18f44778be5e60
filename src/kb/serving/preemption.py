"""What it costs to bring a preempted sequence back: computing its tokens again, or copying its blocks out and in.

Both are measured while the engine runs, as the seconds of one token and of one block, smoothed over steps. vLLM swapped
until version 0.8 where a request had several sequences and recomputes always since; which is cheaper depends on the
model and on the machine, and here it is asked.

Source: Kwon et al. 2023, PagedAttention, sections 4.5 (both ways) and 7.3 (where they cross).
"""

from dataclasses import dataclass
from typing import Literal

Preemption = Literal["auto", "recompute", "swap"]

_SMOOTHING = 0.25  # weight of the newest measurement


@dataclass
class PreemptionCosts:
    """Measured seconds; None where nothing was measured yet.

    Args:
        seconds_per_token: Of computing one token among many.
        seconds_per_block: Of copying one block between device and host, one way.
    """

    seconds_per_token: float | None = None
    seconds_per_block: float | None = None

    def computed(self, tokens: int, seconds: float) -> None:
        """Take note of a step that computed ``tokens`` tokens."""
        self.seconds_per_token = _smoothed(self.seconds_per_token, seconds / tokens)

    def copied(self, blocks: int, seconds: float) -> None:
        """Take note that ``blocks`` blocks were copied one way."""
        self.seconds_per_block = _smoothed(self.seconds_per_block, seconds / blocks)

    def swap_is_cheaper(self, tokens: int, blocks: int) -> bool:
        """Whether copying ``blocks`` blocks out and in again takes less time than computing ``tokens`` tokens again.

        Without measurements of both it is not known, and the answer is no: recomputing needs no room on the host.
        """
        if self.seconds_per_token is None or self.seconds_per_block is None:
            return False
        return 2 * blocks * self.seconds_per_block < tokens * self.seconds_per_token


def _smoothed(old: float | None, new: float) -> float:
    return new if old is None else old + _SMOOTHING * (new - old)
