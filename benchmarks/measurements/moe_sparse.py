"""More experts at equal arithmetic: held-out loss by their number and kind, beside dense models of equal work and size.

A dense feed-forward network has the inner width 64, an expert half of that, and a token visits two, so that a token
costs the same but for the router. The dense network that is four times as wide has as many parameters as eight experts.
Two banks are no feed-forward networks: eight linear maps, and eight experts of five kinds.
"""

from itertools import pairwise

import torch

from benchmarks import small_moe
from benchmarks.measurement import Measurement

DEVICES = ("cpu",)
SEEDS, EXPERTS = 5, (2, 4, 8, 16, 32)
DENSE, WIDE = "dense", "dense, 4 times as wide"
BANKS = {"linear": "8 linear maps", "mixed": "8 of five kinds"}


def measure(device: torch.device) -> Measurement:
    """Assert that eight experts beat the dense model of equal work, and lose to that of equal size."""
    runs = []
    for seed in range(SEEDS):
        runs += [small_moe.Run(DENSE, seed), small_moe.Run(WIDE, seed, inner=4 * small_moe.INNER)]
        runs += [small_moe.Run(named(experts), seed, experts) for experts in EXPERTS]
        runs += [small_moe.Run(name, seed, 8, bank=bank) for bank, name in BANKS.items()]
    found = small_moe.outcomes(runs)
    pairs = [(name, DENSE) for name in found if name != DENSE] + [(named(8), WIDE)]
    pairs += [(named(more), named(fewer)) for fewer, more in pairwise(EXPERTS)]
    pairs += [(name, named(8)) for name in BANKS.values()]
    made = small_moe.measurement(
        "Small decoders on Shakespeare: loss by the number of experts, two of which a token visits",
        found,
        pairs,
        {
            "experts": list(EXPERTS),
            "steps": small_moe.STEPS,
            "five kinds": [type(module).__name__ for module in small_moe.mixed_experts()],
            "load of the five kinds, by layer": found[BANKS["mixed"]][0].load,
        },
    )
    differences = made.facts[small_moe.DIFFERENCES]
    assert isinstance(differences, dict)
    better, worse = (differences[f"{named(8)} - {other}"]["95 % interval"] for other in (DENSE, WIDE))
    assert better[1] < 0, f"8 experts are not better than a dense model of equal work: {better}"
    assert worse[0] > 0, f"8 experts are not worse than a dense model of equal size: {worse}"
    return made


def named(experts: int) -> str:
    """Of a contender."""
    return f"{experts} experts"
