"""On a GPU the metrics of tensors are those of arrays, and stay on the device."""

import numpy as np
import pytest
import torch

from kb import metrics
from kb.metrics import tensors

pytestmark = pytest.mark.gpu


def test_metrics_are_those_of_arrays(device: torch.device) -> None:
    rng = np.random.default_rng(0)
    y, score, weight = rng.integers(0, 2, 5000), rng.integers(0, 300, 5000) / 300, rng.integers(0, 3, 5000)
    on_device = [torch.from_numpy(part).to(device) for part in (y, score, weight)]
    for count in (2, 3):
        found = tensors.roc_auc_score(*on_device[:count])
        assert found.device.type == device.type
        wanted = metrics.roc_auc_score(y, score, sample_weight=weight if count == 3 else None)
        assert float(found) == pytest.approx(wanted, abs=1e-12)
    gain, order = rng.integers(0, 4, (50, 200)), rng.random((50, 200))
    for name in ("recall_at_k", "ndcg_at_k"):
        ours = getattr(tensors, name)(torch.from_numpy(gain).to(device), torch.from_numpy(order).to(device), 10)
        np.testing.assert_allclose(ours.cpu().numpy(), getattr(metrics, name)(gain, order, 10), atol=1e-6)
