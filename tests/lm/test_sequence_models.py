"""The copy task and the three small models: what they see, that seeds decide them, that they learn."""

import math
from itertools import islice
from typing import Any

import pytest
import torch

from kb.lm.copy_task import CopyBatch, CopyTask, copy_loss
from kb.lm.sequence_layers import exponential_dilations
from kb.lm.sequence_models import AttentionModel, ConvolutionModel, RecurrentModel, nearest_width
from kb.training import TrainConfig, evaluate, train

V, D = 5, 8


def models(seed: int = 0, *, length: int = 12) -> list[Any]:
    return [
        AttentionModel(V, D, max_length=length, seed=seed),
        RecurrentModel(V, D, seed=seed),
        ConvolutionModel(V, D, dilations=exponential_dilations(length, 2), seed=seed),
    ]


def test_a_batch_is_symbols_blanks_signal_blanks() -> None:
    task = CopyTask(delay=4, symbols=3, alphabet=2)
    batch = task.batch(5, torch.Generator().manual_seed(0))
    assert (task.length, task.vocab_size, len(batch)) == (10, 4, 5)
    assert batch.tokens.shape == (5, 10)
    assert torch.equal(batch.tokens[:, :3], batch.targets)
    assert batch.tokens[0, 3:].tolist() == [2, 2, 2, 3, 2, 2, 2]
    assert set(batch.targets.flatten().tolist()) == {0, 1}


def test_sizes_of_the_published_task() -> None:
    task = CopyTask(delay=100)
    assert (task.length, task.vocab_size) == (120, 10)
    # 10 ln 8 / (T + 20)
    assert task.blank_loss(task.chance_loss) == pytest.approx(10 * math.log(8) / 120)


def test_seeds_decide_the_batches_and_symbols_are_uniform() -> None:
    task = CopyTask(delay=1)
    one, same, other = (list(islice(task.batches(200, seed=seed), 2)) for seed in (1, 1, 2))
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[0].tokens, one[1].tokens)
    assert not torch.equal(one[0].tokens, other[0].tokens)
    shares = torch.bincount(one[0].targets.flatten(), minlength=8) / 2000
    assert (shares - 1 / 8).abs().max() < 4 * math.sqrt(1 / 8 * 7 / 8 / 2000)


def test_loss_and_accuracy_of_models_that_know_and_that_guess() -> None:
    task = CopyTask(delay=2, symbols=3, alphabet=4)
    batch = task.batch(6, torch.Generator().manual_seed(0))

    def knowing(tokens_BL: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(*tokens_BL.shape, task.vocab_size)
        logits[:, -3:] = 100.0 * torch.nn.functional.one_hot(tokens_BL[:, :3], task.vocab_size)
        return logits

    loss, measured = copy_loss(knowing, batch)
    assert (float(loss), float(measured["accuracy"])) == pytest.approx((0.0, 1.0))

    def guessing(tokens_BL: torch.Tensor) -> torch.Tensor:
        logits = torch.full((*tokens_BL.shape, task.vocab_size), -100.0)
        logits[..., :4] = 0.0
        return logits

    assert float(copy_loss(guessing, batch)[0]) == pytest.approx(task.chance_loss)


@pytest.mark.parametrize("index", range(3))
def test_logits_depend_on_the_past_alone_and_on_all_of_it(index: int) -> None:
    model = models()[index]
    tokens = torch.randint(V, (2, 12), generator=torch.Generator().manual_seed(0))
    logits = model(tokens)
    assert logits.shape == (2, 12, V)
    for position in (0, 7):
        changed = tokens.clone()
        changed[:, position] = (tokens[:, position] + 1) % V
        moved = (model(changed) - logits).abs().amax(dim=(0, 2))
        assert (moved[:position] == 0).all()
        assert moved[-1] > 0


def test_a_stack_that_is_too_shallow_cannot_see_the_first_token() -> None:
    model = ConvolutionModel(V, D, dilations=(1, 2, 4))
    assert model.receptive_field == 8
    other = ConvolutionModel(V, D, dilations=(2**layer for layer in range(3)))
    assert (other.receptive_field, len(other.layers)) == (8, 3)
    tokens = torch.zeros(1, 9, dtype=torch.int64)
    changed = tokens.clone()
    changed[:, 0] = 1
    assert torch.equal(model(tokens)[:, -1], model(changed)[:, -1])
    assert not torch.equal(model(tokens)[:, -2], model(changed)[:, -2])


def test_seeds_decide_the_weights_and_nothing_else_does() -> None:
    for one, same, other in zip(models(3), models(3), models(4), strict=True):
        weights = [model.state_dict() for model in (one, same, other)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
        assert any(not torch.equal(weights[0][name], weights[2][name]) for name in weights[0])
        assert 0.5 < one(torch.arange(V)[None]).std() < 2


@pytest.mark.parametrize("index", range(3))
def test_each_learns_a_short_copy(index: int) -> None:
    task = CopyTask(delay=2, symbols=1, alphabet=3)
    model = models()[index]
    config = TrainConfig(60, learning_rate=1e-2, weight_decay=0.0)
    train(model, task.batches(16, seed=0), copy_loss, config)
    loss = evaluate(model, list(islice(task.batches(64, seed=1), 2)), copy_loss)
    assert loss < 0.5 * task.chance_loss


@pytest.mark.parametrize(
    ("options", "message"),
    [({"delay": 0}, "delay"), ({"delay": 1, "symbols": 1.5}, "symbols"), ({"delay": 1, "alphabet": True}, "alphabet")],
)
def test_refuses_impossible_tasks(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CopyTask(**options)


def test_refuses_bad_batches_seeds_and_sizes() -> None:
    task = CopyTask(delay=1)
    with pytest.raises(ValueError, match="size"):
        task.batches(0, seed=0)
    with pytest.raises(ValueError, match="seed"):
        task.batches(1, seed=1.5)  # type: ignore[arg-type]
    for make in (
        lambda: AttentionModel(V, D, heads=3, max_length=4),
        lambda: AttentionModel(V, D, layers=0, max_length=4),
        lambda: AttentionModel(V, D, max_length=0),
        lambda: RecurrentModel(0, D),
        lambda: RecurrentModel(V, D, layers=1.5, fused=True),  # type: ignore[arg-type]
        lambda: RecurrentModel(V, D, seed="a"),  # type: ignore[arg-type]
        lambda: ConvolutionModel(V, D, dilations=()),
        lambda: ConvolutionModel(V, D, dilations=(1, 0)),
    ):
        with pytest.raises(ValueError, match="must"):
            make()


@pytest.mark.parametrize("index", range(3))
def test_refuses_bad_tokens(index: int) -> None:
    model = models()[index]
    for tokens in (torch.zeros(3, dtype=torch.int64), torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, 3)):
        with pytest.raises(ValueError, match="tokens must be"):
            model(tokens)
    with pytest.raises(ValueError, match="token ids"):
        model(torch.tensor([[V]]))
    if index == 0:
        with pytest.raises(ValueError, match="at most 12"):
            model(torch.zeros(1, 13, dtype=torch.int64))


def test_a_batch_counts_its_sequences() -> None:
    assert len(CopyBatch(torch.zeros(7, 3), torch.zeros(7, 1))) == 7


def test_torchs_gru_gives_the_answers_and_gradients_of_ours() -> None:
    tokens = torch.randint(V, (3, 7), generator=torch.Generator().manual_seed(0))
    ours, theirs = (RecurrentModel(V, D, layers=2, fused=fused, seed=5) for fused in (False, True))
    assert isinstance(theirs.recurrence, torch.nn.GRU)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    gradients = []
    for model in (ours, theirs):
        logits = model(tokens)
        gradients.append(torch.autograd.grad(logits.square().sum(), list(model.parameters())))
    torch.testing.assert_close(ours(tokens), theirs(tokens), rtol=1e-5, atol=1e-5)
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


def test_the_nearest_width_has_the_nearest_number_of_parameters() -> None:
    # An embedding of 5 words, a norm, a head, and a GRU of 6 D^2 + 6 D: 6 D^2 + 18 D + 5.
    assert nearest_width(lambda width: RecurrentModel(V, width), 6 * 64 + 18 * 8 + 5, range(1, 20)) == 8
    assert nearest_width(lambda width: torch.nn.Linear(width, 1, bias=False), 5, (4, 6, 9)) == 4
    made = nearest_width(lambda width: ConvolutionModel(V, width, dilations=(1, 2)), 1000, range(2, 40, 2))
    counts = {
        width: sum(one.numel() for one in ConvolutionModel(V, width, dilations=(1, 2)).parameters())
        for width in range(2, 40, 2)
    }
    assert abs(counts[made] - 1000) == min(abs(count - 1000) for count in counts.values())


def test_refuses_no_width_and_no_parameters() -> None:
    with pytest.raises(ValueError, match="widths"):
        nearest_width(lambda width: torch.nn.Linear(width, 1), 5, ())
    with pytest.raises(ValueError, match="parameters"):
        nearest_width(lambda width: torch.nn.Linear(width, 1), 0, (1,))
