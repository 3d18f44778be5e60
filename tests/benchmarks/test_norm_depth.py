"""The runs of the measurement of norms by place: one start for all, and what counts as having failed."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from benchmarks.measurements import norm_depth
from benchmarks.measurements.norm_depth import Outcome, Run, Setting, measurement, runs, xavier
from kb import training
from kb.lm import AblationConfig, AblationLM

TINY = Setting(layers=2, width=16, heads=2, length=8, batch=2, steps=4, warmup=2, rates=(1e-3,), seeds=1, judged=4)
CPU = torch.device("cpu")


def test_every_placement_starts_from_the_same_matrices() -> None:
    states = []
    for place in norm_depth.PLACES:
        model = AblationLM(AblationConfig(256, 16, 2, 2, norm_place=place))
        xavier(model, 3)
        states.append({name: value for name, value in model.state_dict().items() if value.dim() > 1})
    for other in states[1:]:
        assert other.keys() == states[0].keys()
        for name, value in other.items():
            torch.testing.assert_close(value, states[0][name], rtol=0, atol=0)
    wanted = {"layers.0.mlp.up_proj.weight": math.sqrt(2 / (16 + 42)), "embed_tokens.weight": 1.0}
    for name, std in wanted.items():
        assert float(states[0][name].std()) == pytest.approx(std, rel=0.1)


def test_a_setting_has_each_kind_of_run_once() -> None:
    made = runs(Setting(), CPU)
    assert len(set(made)) == len(made) == 3 * 2 * 3 * 3


def test_runs_are_made_and_recorded() -> None:
    jobs = runs(TINY, CPU)
    made = measurement(TINY, {run: norm_depth.train(run) for run in jobs}, norm_depth.byte_entropy(TINY.length))
    facts: Any = made.facts
    assert len(made.samples) == len(jobs) == 6
    assert facts["failed"] == dict.fromkeys(made.samples, 1)  # nothing is learnt in four steps
    assert 3.2 < facts["loss of single bytes"] < 3.4
    assert [len(curve) for (curve,) in facts["curves"].values()] == [4] * 6


def test_a_run_that_breaks_off_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run("post", False, 1e-3, 0, "cpu", TINY)

    def explode(model: Any, batch: Any) -> torch.Tensor:
        return training.loop.next_token_loss(model, batch) * next(factors)

    factors: Iterator[float] = iter([1.0, 1.0, math.inf])
    monkeypatch.setattr(training, "next_token_loss", explode)
    outcome = norm_depth.train(run)
    assert math.isinf(outcome.loss)
    assert len(outcome.curve) == 2
    made = measurement(TINY, {run: outcome, replace(run, seed=1): Outcome(1.0, [], 1.0)}, 3.3)
    facts: Any = made.facts
    assert facts["failed"] == {"post, no warm-up, 0.001": 1}
    assert not made.samples
