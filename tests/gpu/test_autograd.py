"""On a GPU, torch's tensors and CuPy's arrays give torch's values and gradients: operations, models, training.

The cases of the operations are those of ``tests/autograd/op_cases``, with fewer examples of each.
"""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kb.autograd import functional as F
from kb.autograd import models, nn, optim
from tests.autograd.conftest import Comparison
from tests.autograd.test_ops_table import CASES

pytestmark = pytest.mark.gpu


class OnDevice(Comparison):
    """The comparison with our arrays on a device."""

    def __init__(self, library: str, device: torch.device) -> None:
        super().__init__(library)
        self.device = device

    def array(self, values: np.ndarray) -> Any:
        """The values as an array of the library, on the device."""
        if self.library == "torch":
            return torch.from_numpy(values).to(self.device)
        return pytest.importorskip("cupy").asarray(values)


@pytest.fixture(params=["torch", "cupy"])
def compare(request: pytest.FixtureRequest, device: torch.device) -> OnDevice:
    """The comparison for each library in turn; CuPy's arrays need CUDA."""
    if request.param == "cupy" and device.type != "cuda":
        pytest.skip("CuPy's arrays need a CUDA device")
    made = OnDevice(request.param, device)
    made.array(np.zeros(1))
    return made


@pytest.mark.parametrize("name", sorted(CASES))
@settings(max_examples=4, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_each_operation_equals_torch_on_the_cpu(compare: OnDevice, name: str, data: Any) -> None:
    ours, theirs, values = CASES[name](data, compare)
    compare.same(ours, theirs, *values)


MODELS = {
    "mlp": (lambda: models.mlp(nn, (12, 9, 5), dtype=np.float64), (16, 12), 5),
    "cnn": (lambda: models.cnn(nn, 4, dtype=np.float64), (8, 1, 8, 8), 4),
    "gpt": (lambda: models.gpt(nn, F, 11, context=6, width=8, heads=2, dtype=np.float64), (3, 6), 11),
}


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_training_gives_the_losses_of_numpy(compare: OnDevice, kind: str) -> None:
    make, shape, classes = MODELS[kind]
    generator = np.random.default_rng(0)
    inputs = generator.integers(0, classes, shape) if kind == "gpt" else generator.standard_normal(shape)
    targets = generator.integers(0, classes, shape if kind == "gpt" else shape[:1])
    here = make()
    there = make()
    there.load_state_dict(here.state_dict())
    there.to(compare.library, device=compare.device if compare.library == "torch" else None)
    wanted = losses(here, inputs, targets)
    assert wanted[-1] < wanted[0]
    np.testing.assert_allclose(losses(there, compare.array(inputs), compare.array(targets)), wanted, 1e-9, 1e-9)


def losses(model: Any, inputs: Any, targets: Any) -> list[float]:
    """The cross-entropy of each of eight steps of AdamW."""
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    found = []
    for _ in range(8):
        out = model(inputs)
        loss = F.cross_entropy(out.reshape(-1, out.shape[-1]), targets.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.item()))
    return found
