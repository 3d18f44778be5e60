"""A training that was killed goes on from its file bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kb.autograd import Tensor, nn, optim
from kb.autograd.checkpoint_file import load, save


class Training:
    """A small training with all that has a state: momentum, dropout, a running mean, a generator of batches."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)
        self.dropout = nn.Dropout(0.3, generator=np.random.Generator(np.random.Philox(1)))
        self.model = nn.Sequential(
            nn.Linear(4, 8, generator=np.random.default_rng(2)),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            self.dropout,
            nn.Linear(8, 3, generator=np.random.default_rng(3)),
        )
        self.optimizer = optim.Adam(self.model.parameters(), lr=0.01)
        self.step = 0

    def train(self, steps: int) -> list[float]:
        losses = []
        for _ in range(steps):
            x, y = self.generator.normal(size=(6, 4)), self.generator.integers(0, 3, 6)
            loss = nn.functional.cross_entropy(self.model(Tensor(x.astype(np.float32))), Tensor(y))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
            self.step += 1
        return losses

    def save(self, path: Path) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "batches": self.generator.bit_generator.state,
            "dropout": self.dropout.generator.bit_generator.state,
            "step": self.step,
        }
        save(path, state, {"note": "a training", "sizes": [4, 8, 3]})

    def load(self, path: Path) -> None:
        state = load(path).state
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.bit_generator.state = state["batches"]
        self.dropout.generator.bit_generator.state = state["dropout"]
        self.step = state["step"]


def test_a_resumed_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, first, second = Training(), Training(), Training()
    losses = whole.train(12)
    assert first.train(5) == losses[:5]
    first.save(tmp_path / "a.safetensors")
    second.load(tmp_path / "a.safetensors")
    assert second.step == 5
    assert second.train(7) == losses[5:]
    for one, other in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert np.array_equal(one.data, other.data)


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_resuming import Training
training = Training()
while True:
    training.train(1)
    training.save(Path(sys.argv[1]))
    print(training.step, flush=True)
"""


def test_a_training_that_was_killed_goes_on_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "killed.safetensors"
    command = [sys.executable, "-c", SCRIPT, str(path), str(Path(__file__).parent)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(20):
        reported = int(process.stdout.readline())
    time.sleep(0.0123)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    reported = max([reported, *(int(line) for line in process.stdout.read().split())])
    resumed, whole = Training(), Training()
    resumed.load(path)
    assert reported <= resumed.step <= reported + 1
    losses = whole.train(resumed.step + 5)
    assert resumed.train(5) == losses[-5:]


@pytest.mark.filterwarnings("ignore:This process")
def test_killed_at_any_call_of_the_system_the_old_or_the_new_file_is_there(tmp_path: Path) -> None:
    """A child that dies at the n-th of the calls that write, for every n until it comes through."""
    path = tmp_path / "file.safetensors"
    outcomes = []
    for fatal in range(20):
        save(path, {"x": np.zeros(1000)})
        child = os.fork()
        if child == 0:  # nothing but the write happens here, and the process ends without cleaning up
            _die_at(fatal)
            save(path, {"x": np.ones(1000)})
            os._exit(0)
        _, status = os.waitpid(child, 0)
        outcomes.append((os.WIFSIGNALED(status), float(load(path).state["x"].mean())))
        if not os.WIFSIGNALED(status):
            break
    assert outcomes[0] == (True, 0.0)
    assert outcomes[-1] == (False, 1.0)
    assert outcomes == sorted(outcomes, key=lambda outcome: outcome[1])
    assert len(outcomes) >= 4


def _die_at(fatal: int) -> None:
    """From now on, be killed before the n-th sync, replacement or opening of a file."""
    import builtins

    left = [fatal]

    def deadly(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return function(*args, **kwargs)

        return call

    builtins.open = deadly(builtins.open)
    os.fsync, os.replace, os.open = deadly(os.fsync), deadly(os.replace), deadly(os.open)
