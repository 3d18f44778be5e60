"""A step of training of a perceptron 784-512-512-10 on 256 samples, float32: ``kb.autograd`` on NumPy, torch eager.

Forward, cross-entropy, backward and SGD, both from the same weights on the same batch, on one thread each. The same on
two threads is among the details of the record.
"""

import statistics
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
import torch
import torch.nn.functional as TF

from benchmarks.contest import Contest
from benchmarks.threads import limited
from kb import timing
from kb.autograd import fitting, models, nn, optim
from kb.autograd import functional as F

DEVICES = ("cpu",)
SIZES, SAMPLES = (784, 512, 512, 10), 256
STEPS = 15  # that one run takes


def contest(device: torch.device) -> Contest:
    """Assert that the losses of a run agree, step by step, and race on two threads for the record."""
    run_ours, run_theirs = _contenders()
    ours, theirs = run_ours(), run_theirs()
    assert np.allclose(ours, theirs, rtol=1e-4), f"the contenders' losses are {ours} and {theirs}"
    with limited(2):
        on_two = statistics.median(timing.race(run_ours, run_theirs).ratios)
    stack = ExitStack()
    stack.enter_context(limited(1))
    return Contest(
        title="Perceptron 784-512-512-10, a step on 256 samples, float32, one thread",
        ours="kb.autograd, NumPy arrays",
        theirs="torch eager",
        unit="step",
        units=STEPS,
        agreement=f"losses of {STEPS} steps within 1e-4",
        run_ours=run_ours,
        run_theirs=run_theirs,
        details={"ratio on two threads": round(on_two, 2)},
        close=stack.close,
    )


def _contenders() -> tuple[Callable[[], list[float]], Callable[[], list[float]]]:
    torch.manual_seed(0)
    theirs = models.mlp(torch.nn, SIZES)
    ours = models.mlp(nn, SIZES)
    ours.load_state_dict(theirs.state_dict())
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((SAMPLES, SIZES[0])).astype(np.float32)
    classes = generator.integers(0, SIZES[-1], SAMPLES)
    batches = [(rows, classes)] * STEPS
    their_batches = [(torch.from_numpy(rows), torch.from_numpy(classes))] * STEPS
    sgd = optim.SGD(ours.parameters(), lr=0.01)
    their_sgd = torch.optim.SGD(theirs.parameters(), lr=0.01)
    return (
        lambda: fitting.fit(ours, batches, F.cross_entropy, sgd),
        lambda: fitting.fit(theirs, their_batches, TF.cross_entropy, their_sgd),
    )
