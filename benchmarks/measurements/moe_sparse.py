"""More experts at equal arithmetic: held-out loss by their number, beside dense models of equal work and equal size.

A dense feed-forward network has the inner width 64, an expert half of that, and a token visits two, so that a token
costs the same but for the router. The dense network that is four times as wide has as many parameters as eight experts.
"""

from itertools import pairwise

import torch

from benchmarks import small_moe
from benchmarks.measurement import Measurement

DEVICES = ("cpu",)
SEEDS, EXPERTS = 5, (2, 4, 8, 16, 32, 64)
DENSE, WIDE = "dense", "dense, 4 times as wide"


def measure(device: torch.device) -> Measurement:
    """Assert that eight experts beat the dense model of equal work, and lose to that of equal size."""
    runs = []
    for seed in range(SEEDS):
        runs += [small_moe.Run(DENSE, seed), small_moe.Run(WIDE, seed, inner=4 * small_moe.INNER)]
        runs += [small_moe.Run(named(experts), seed, experts) for experts in EXPERTS]
    found = small_moe.outcomes(runs)
    pairs = [(named(experts), DENSE) for experts in EXPERTS] + [(named(8), WIDE)]
    pairs += [(named(more), named(fewer)) for fewer, more in pairwise(EXPERTS)]
    made = small_moe.measurement(
        "Small decoders on Shakespeare: loss by the number of experts, two of which a token visits",
        found,
        pairs,
        {"experts": list(EXPERTS), "steps": runs[0].steps, "load of seed 0": found[named(8)][0].load},
    )
    lies = made.facts[small_moe.DIFFERENCES]
    assert isinstance(lies, dict)
    assert lies[f"{named(8)} - {DENSE}"]["95 % interval"][1] < 0, f"8 experts are not better than dense: {lies}"
    assert lies[f"{named(8)} - {WIDE}"]["95 % interval"][0] > 0, f"8 experts are not worse than wide: {lies}"
    return made


def named(experts: int) -> str:
    """Of a contender."""
    return f"{experts} experts"
