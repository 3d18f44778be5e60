"""Bad arguments are refused by name, on every rank alike."""

import pytest
import torch.distributed as dist

from kb.distributed import Collectives, Ranks
from tests.distributed import cases

REFUSED = {
    "columns": "ValueError: 3 outputs cannot be divided evenly among 2 ranks: 1 left over",
    "rows": "ValueError: 3 inputs cannot be divided evenly",
    "vocabulary": "ValueError: 3 tokens of the vocabulary cannot be divided evenly",
    "ids": "ValueError: token ids must be in 0 to 3",
    "targets": "ValueError: targets must be in 0 to 7",
    "kind of targets": "ValueError: targets must be int64, got torch.int32",
    "padding": "ValueError: whole must be without padding_idx",
    "count": "ValueError: tokens must be an integer of at least 0, got -3",
    "shapes": "ValueError: wanted logits [N, V / R] and targets [N]",
    "stage": "ValueError: stage must be 0, 1, 2 or 3, got 4",
    "shared": "ValueError: units must not share a parameter",
    "missing": "ValueError: units must hold every parameter of the model, and lack lm_head.weight",
    "frozen": "ValueError: a unit must have trainable parameters of one dtype",
    "norm": "ValueError: max_norm must be a positive number, got -1.0",
    "bucket": "ValueError: most_bytes must be an integer",
    "layers": "ValueError: stage 0 of 2 cannot be cut from 1 layers",
    "schedule": "ValueError: schedule is of 2 stages and 2 micro-batches, got 2 ranks and 1",
    "attention": "ValueError: q, k and v must be of one shape [B, T, N, H]",
    "scatter": "ValueError: whole must be a vector that 2 ranks divide, got (3,)",
    "heads": "ValueError: num_heads 3 cannot be divided evenly among 2 ranks",
    "tied": "ValueError: model must not tie its embeddings",
}


def test_bad_arguments(two: Ranks) -> None:
    for found in two.call(cases.refused):
        assert found.keys() == REFUSED.keys()
        for name, message in REFUSED.items():
            assert found[name].startswith(message), name


@pytest.mark.skipif(dist.is_initialized(), reason="this process is in a group")
def test_without_a_group() -> None:
    with pytest.raises(RuntimeError, match="not initialised"):
        Collectives()
