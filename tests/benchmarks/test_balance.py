"""Runs that differ in what balances: they repeat, share what they should, and count what no expert serves by hand."""

import pytest
import torch

from benchmarks import balance
from benchmarks.balance import Arm, Setting
from kb.moe import RouterConfig
from kb.moe.language_model import Balancing, moe_layers, recorded

TINY = Setting(width=16, inner=16, experts=4, window=16, batch=4, steps=10, last=2)


@pytest.fixture
def small_text(monkeypatch: pytest.MonkeyPatch) -> None:
    text = torch.randint(97, 123, (4000,), generator=torch.Generator().manual_seed(0))
    halves = balance.hold_out(text, TINY.window)
    monkeypatch.setattr(balance, "texts", lambda setting: halves)


@pytest.fixture(autouse=True)
def threads() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_all_arms_begin_alike_and_have_what_they_ask_for() -> None:
    plain = balance.model(TINY, Arm(), 3)
    other = balance.model(TINY, Arm(router={"bias": True, "noisy": True}, shared_inner=8), 3)
    own = dict(other.named_parameters())
    for name, parameter in balance.model(TINY, Arm(router={"bias": True}), 3).named_parameters():
        assert torch.equal(parameter, dict(plain.named_parameters())[name])
        assert own[name].shape == parameter.shape
    assert moe_layers(plain)[0].router.config == RouterConfig(4, 2, scoring="sigmoid", check_logits=False)
    assert all(layer.shared is not None and layer.router.bias is not None for layer in moe_layers(other))


@pytest.mark.usefixtures("small_text")
def test_a_run_repeats_and_another_seed_does_not() -> None:
    arm = Arm(Balancing(bias_rate=0.01), {"bias": True, "noisy": True})
    first, again, other = (balance.run(TINY, arm, seed) for seed in (0, 0, 1))
    assert first == again
    assert first.loss != other.loss
    assert len(first.global_L) == len(first.batch_L) == len(first.last_L) == len(first.idle_L) == TINY.layers
    assert all(one <= many + 1e-4 for one, many in zip(first.global_L, first.batch_L, strict=True))
    assert (first.dropped, first.alone) == (0, 0)


@pytest.mark.parametrize("router", [{"capacity_factor": 0.5}, {"choice": "expert"}], ids=["capacity", "choice"])
@pytest.mark.usefixtures("small_text")
def test_what_no_expert_serves_is_counted(router: dict[str, object]) -> None:
    arm = Arm(router=router)
    made = balance.model(TINY, arm, 0)
    _, held_WT = balance.texts(TINY)
    dropped, alone = balance._unserved(made, held_WT, TINY.batch)
    pairs, lost, tokens, unserved = 0, 0, 0, 0
    for windows in held_WT.split(TINY.batch):
        with torch.no_grad(), recorded(made) as routings:
            made(windows[:, :-1])
        for routing in routings:
            assert routing.kept_TK is not None
            for row in routing.kept_TK.tolist():
                pairs, lost = pairs + len(row), lost + row.count(False)
                tokens, unserved = tokens + 1, unserved + (True not in row)
    assert (dropped, alone) == (lost / pairs, unserved / tokens)
    assert dropped > 0.4


def test_arms_run_in_processes_and_come_back_in_order() -> None:
    arms = {"none": Arm(seeds=2), "loss": Arm(Balancing(switch=0.1), seeds=1)}
    one_step = Setting(width=16, inner=8, experts=4, window=16, batch=256, steps=1, last=1)
    found = balance.run_all(one_step, arms, workers=2)
    assert {name: len(runs) for name, runs in found.items()} == {"none": 2, "loss": 1}
    assert found["none"][0] == balance.run(one_step, arms["none"], 0)
    assert found["none"][0].loss != found["none"][1].loss
    assert balance.facts(found["loss"][0])["dropped"] == 0
