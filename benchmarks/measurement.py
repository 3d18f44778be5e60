"""What a measurement script hands over: samples of one system, or facts about it; no second contender."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Samples:
    """Repeated values of one quantity.

    Args:
        unit: Of every value, such as "ms" or "GB/s".
        values: In the order in which they were taken.
    """

    unit: str
    values: Sequence[float]


@dataclass(frozen=True)
class Measurement:
    """What was measured; its medians and ratios are computed from it, and again by whoever checks the record.

    Args:
        title: What was measured, on which model and precision.
        method: How, in words.
        samples: Repeated values by the name of their quantity.
        ratios: Name of a ratio to the two quantities whose samples, taken in pairs, it divides.
        facts: What has no samples, in values that JSON has: tokens, counts, sizes, settings.
    """

    title: str
    method: str
    samples: Mapping[str, Samples] = field(default_factory=dict)
    ratios: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
