"""Too few tokens for each expert: fewer steps, and less text; and experts that are no feed-forward networks.

Three settings with the same models. "All": as in ``moe_sparse``. "Fewer steps": a quarter of them. "Little text": as
many steps on one part in sixteen of the text, which they see several times over.
"""

import torch

from benchmarks import small_moe
from benchmarks.measurement import Measurement

DEVICES = ("cpu",)
SEEDS, EXPERTS, FEWER, LITTLE = 5, (1, 8, 32), 100, 16
SETTINGS = ("fewer steps", "little text")
BANKS = {"linear": "8 linear maps", "mixed": "8 of five kinds"}


def measure(device: torch.device) -> Measurement:
    """Assert that 32 experts over-fit a little text more than a dense model does."""
    runs = []
    for seed in range(SEEDS):
        for experts in EXPERTS:
            runs.append(small_moe.Run(named(experts, "fewer steps"), seed, experts, steps=FEWER))
            runs.append(small_moe.Run(named(experts, "little text"), seed, experts, every=LITTLE))
        runs += [small_moe.Run(name, seed, 8, bank=bank) for bank, name in BANKS.items()]
        runs += [small_moe.Run(named(experts, "all"), seed, experts) for experts in (1, 8)]
    found = small_moe.outcomes(runs)
    pairs = [(named(experts, setting), named(1, setting)) for setting in SETTINGS for experts in (8, 32)]
    pairs += [(name, named(experts, "all")) for name in BANKS.values() for experts in (1, 8)]
    gaps = {experts: [one.held_out - one.train for one in found[named(experts, "little text")]] for experts in EXPERTS}
    assert min(gaps[32]) > max(gaps[1]), f"32 experts over-fit no more than a dense model: {gaps}"
    return small_moe.measurement(
        "Small decoders on Shakespeare: few steps, little text, and experts of other kinds",
        found,
        pairs,
        {
            "steps": small_moe.STEPS,
            "fewer steps": FEWER,
            "bytes of little text": len(small_moe.texts(LITTLE)[0]),
            "kinds": [type(module).__name__ for module in small_moe.mixed_experts()],
            "load of the five kinds": found[BANKS["mixed"]][0].load,
        },
    )


def named(experts: int, setting: str) -> str:
    """Of a contender."""
    return f"{'dense' if experts == 1 else f'{experts} experts'}, {setting}"
