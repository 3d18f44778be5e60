"""Too few tokens for each expert? The models of ``moe_sparse`` with a quarter of the steps, and with little text.

With little text the steps are as many as there, so that it is seen several times over: one part in 16 of it about
five times, one part in 64 about 20 times.
"""

import torch

from benchmarks import small_moe
from benchmarks.measurement import Measurement

DEVICES = ("cpu",)
SEEDS, EXPERTS, FEWER = 5, (1, 8, 32), 75
TEXTS = {"1/16 of the text": 16, "1/64 of the text": 64}


def measure(device: torch.device) -> Measurement:
    """Assert that 32 experts over-fit the least text more than a dense model does."""
    runs = []
    for seed in range(SEEDS):
        for experts in EXPERTS:
            runs.append(small_moe.Run(named(experts, "fewer steps"), seed, experts, steps=FEWER))
            runs += [small_moe.Run(named(experts, text), seed, experts, every=part) for text, part in TEXTS.items()]
    found = small_moe.outcomes(runs)
    made = small_moe.measurement(
        "Small decoders on Shakespeare: few steps, and little text, by the number of experts",
        found,
        [(named(more, name), named(1, name)) for name in ("fewer steps", *TEXTS) for more in EXPERTS[1:]],
        {
            "steps": small_moe.STEPS,
            "fewer steps": FEWER,
            "bytes of the texts": {name: len(small_moe.texts(part)[0]) for name, part in TEXTS.items()},
        },
    )
    differences = made.facts[small_moe.DIFFERENCES]
    assert isinstance(differences, dict)
    least = list(TEXTS)[-1]
    worse = differences[f"{named(32, least)} - {named(1, least)}"]["95 % interval"]
    assert worse[0] > 0, f"32 experts do not over-fit more than a dense model: {worse}"
    return made


def named(experts: int, setting: str) -> str:
    """Of a contender."""
    return f"{'dense' if experts == 1 else f'{experts} experts'}, {setting}"
