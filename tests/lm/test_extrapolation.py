"""Losses by position are the loop's and average to the training loss; new angles leave weights and short texts be."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kb.lm import DecoderLM, ModelConfig
from kb.lm.extrapolation import loss_by_position, with_positions
from kb.nn import RopeParameters
from kb.training import TrainConfig, initialize, next_token_loss, random_windows, train

CONFIG = ModelConfig(29, 16, 32, 2, 2, 2, 8, 16, tie_embeddings=True)


def decoder(seed: int = 0) -> DecoderLM:
    model = DecoderLM(CONFIG)
    initialize(model, seed=seed, std=0.3)
    return model


def windows(W: int = 5, T: int = 12) -> Tensor:
    return torch.randint(0, 29, (W, T + 1), generator=torch.Generator().manual_seed(1))


class Uniform(nn.Module):
    def forward(self, tokens_BT: Tensor) -> Tensor:
        return torch.zeros(*tokens_BT.shape, 29)


def test_a_model_that_knows_nothing_loses_the_logarithm_of_the_vocabulary() -> None:
    losses = loss_by_position(Uniform(), windows())
    torch.testing.assert_close(losses, torch.full((12,), math.log(29), dtype=torch.float64), atol=1e-6, rtol=0)


def test_losses_are_those_of_one_window_at_a_time() -> None:
    model, given = decoder(), windows()
    wanted = torch.zeros(12, dtype=torch.float64)
    with torch.no_grad():
        for window in given:
            logits_TV = model(window[None, :-1])[0]
            for t in range(12):
                wanted[t] += float(F.cross_entropy(logits_TV[t], window[t + 1])) / len(given)
    losses = loss_by_position(model, given, batch=2)
    torch.testing.assert_close(losses, wanted, atol=1e-5, rtol=0)  # sums in another order
    assert float(losses.mean()) == pytest.approx(float(next_token_loss(model, given).detach()), abs=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_comes_back_in_its_mode(training: bool) -> None:
    model = decoder().train(training)
    loss_by_position(model, windows())
    assert model.training is training
    assert with_positions(model).training is training


def test_by_itself_it_is_the_same_function_of_the_same_tensors() -> None:
    model = decoder()
    other = with_positions(model)
    assert [id(p) for p in other.parameters()] == [id(p) for p in model.parameters()]
    assert other.lm_head.weight is other.embed_tokens.weight
    assert torch.equal(other(windows()), model(windows()))


def test_halved_positions_are_half_the_angles() -> None:
    model, given = decoder(), windows(T=11)
    halved = with_positions(model, rope=RopeParameters(type="linear", factor=2.0))

    class Halves:
        def positions(self, B: int, T: int, device: torch.device) -> Tensor:
            return (torch.arange(T, device=device) / 2).expand(B, T)

        def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, window: int | None = None) -> Tensor:
            from kb.nn import grouped_query_attention

            return grouped_query_attention(q, k, v, window=window)

        def advance(self, T: int) -> None: ...

    torch.testing.assert_close(halved(given), model(given, cache=Halves()), atol=1e-5, rtol=0)
    assert not torch.allclose(halved(given), model(given), atol=1e-3)


def test_ntk_leaves_what_is_not_too_long_alone() -> None:
    model = decoder()
    scaled = with_positions(model, rope=RopeParameters(type="dynamic", max_positions=12))
    assert torch.equal(scaled(windows()), model(windows())) is False  # 13 tokens
    assert torch.equal(scaled(windows(T=11)), model(windows(T=11)))


def test_in_a_window_a_token_of_one_layer_is_not_moved_by_what_lies_before() -> None:
    model = DecoderLM(ModelConfig(29, 16, 32, 1, 2, 2, 8, 16))
    initialize(model, seed=0, std=0.3)
    given = windows()
    near = with_positions(model, window=3)(given)
    changed = given.clone()
    changed[:, 0] = (changed[:, 0] + 1) % 29
    moved = (with_positions(model, window=3)(changed) - near).abs().amax((0, 2))
    assert (moved[:3] > 0).all()
    assert torch.equal(moved[3:], torch.zeros_like(moved[3:]))


def test_training_one_trains_the_other() -> None:
    model = decoder()
    stretched = with_positions(model, rope=RopeParameters(type="linear", factor=2.0))
    before = float(loss_by_position(model, windows()).mean())
    batches = random_windows(windows(60, 12).flatten(), 12, 4, seed=0)
    train(stretched, batches, next_token_loss, TrainConfig(3))
    assert float(loss_by_position(model, windows()).mean()) != before


@pytest.mark.parametrize(("shape", "message"), [((3,), "windows"), ((0, 4), "windows"), ((2, 1), "windows")])
def test_windows_without_a_token_to_predict_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss_by_position(Uniform(), torch.zeros(shape, dtype=torch.int64))


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="batch"):
        loss_by_position(Uniform(), windows(), batch=0)
    with pytest.raises(ValueError, match="window"):
        with_positions(decoder(), window=0)


def test_int32_tokens_lose_the_same() -> None:
    model, given = decoder(), windows()
    assert torch.equal(loss_by_position(model, given.int()), loss_by_position(model, given))


def test_other_models_and_other_angles_are_refused() -> None:
    with pytest.raises(TypeError, match="Uniform"):
        with_positions(Uniform(), window=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="dict"):
        with_positions(decoder(), rope={"type": "linear"})  # type: ignore[arg-type]
