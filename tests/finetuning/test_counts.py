"""Bytes by formula, an adapter for each row, and the spectrum of an update."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.finetuning import (
    ALL_LINEAR,
    ATTENTION,
    NF4_BITS,
    NF4_BITS_SINGLE,
    LoraConfig,
    lora_by_row,
    lora_by_row_loop,
    lora_parameters,
    rank_of_share,
    training_memory,
    update_spectra,
    with_rank,
)
from kb.lm import ModelConfig

SEVEN_B = ModelConfig(32_000, 4096, 11_008, 32, 32, 32, 128, 4096)


def test_llama_2_7b_by_hand() -> None:
    assert lora_parameters(SEVEN_B, LoraConfig(8, targets=("q_proj", "v_proj"))) == 32 * 2 * 8 * 8192 == 4_194_304
    every = 32 * 16 * (4 * 8192 + 3 * 15_104)
    assert lora_parameters(SEVEN_B, LoraConfig(16, targets=ALL_LINEAR)) == every == 39_976_960
    with_magnitudes = lora_parameters(SEVEN_B, LoraConfig(16, targets=ATTENTION, dora=True))
    assert with_magnitudes == 32 * 4 * (16 * 8192 + 4096)
    with pytest.raises(ValueError, match="lm_head"):
        lora_parameters(SEVEN_B, LoraConfig(targets=("lm_head",)))


def test_bytes_of_training() -> None:
    full = training_memory(0, 1_000)
    assert (full.weights, full.gradients, full.state, full.total) == (2_000, 2_000, 12_000, 16_000)
    assert training_memory(0, 1_000, mixed=False).total == 16_000
    lora = training_memory(1_000, 10)
    assert lora.total == 2_000 + 160
    assert training_memory(64_000, 0, frozen_bits=NF4_BITS).total == round(64_000 * NF4_BITS / 8)
    assert pytest.approx(0.373, abs=5e-4) == NF4_BITS_SINGLE - NF4_BITS  # QLoRA, section 3
    for bad in (
        {"frozen": -1, "trained": 0},
        {"frozen": 1, "trained": 1.5},
        {"frozen": 1, "trained": 1, "frozen_bits": 0},
    ):
        with pytest.raises(ValueError, match=r"frozen|trained"):
            training_memory(**bad)  # type: ignore[arg-type]


@settings(max_examples=20)
@given(st.lists(st.integers(-1, 2), min_size=1, max_size=6), st.integers(1, 4), st.integers(0, 99))
def test_an_adapter_for_each_row_in_value_and_gradient(index: list[int], rank: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes = [(len(index), 3, 5), (3, rank, 5), (3, 4, rank)]
    given_ = [torch.randn(size, generator=generator, dtype=torch.float64).requires_grad_() for size in sizes]
    outs = [way(*given_, torch.tensor(index), 0.5) for way in (lora_by_row, lora_by_row_loop)]
    torch.testing.assert_close(*outs)
    if max(index) >= 0:
        upstream = torch.randn(outs[0].shape, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(*(torch.autograd.grad(out, given_, upstream) for out in outs))


def test_where_no_adapter_is_loaded_every_row_is_the_base() -> None:
    x, a, b = torch.ones(2, 3, 5), torch.ones(0, 2, 5), torch.ones(0, 4, 2)
    for way in (lora_by_row, lora_by_row_loop):
        out = way(x, a, b, torch.tensor([-1, -1]), 1.0)
        assert out.shape == (2, 3, 4)
        assert not out.any()


def test_bad_rows_are_refused() -> None:
    x, a, b = torch.ones(2, 3, 5), torch.ones(3, 2, 5), torch.ones(3, 4, 2)
    for index in ([0, 3], [0, -2], [0]):
        with pytest.raises(ValueError, match="index"):
            lora_by_row(x, a, b, torch.tensor(index), 1.0)
    with pytest.raises(ValueError, match="index"):
        lora_by_row(x, a, b, torch.tensor([0, 1], dtype=torch.int32), 1.0)
    with pytest.raises(ValueError, match="wanted x"):
        lora_by_row_loop(x, a, torch.ones(3, 4, 3), torch.tensor([0, 1]), 1.0)


def test_spectrum_of_a_known_update() -> None:
    before = {"w": torch.zeros(3, 3), "norm": torch.ones(3)}
    after = {"w": torch.diag(torch.tensor([1.0, -2.0, 0.0])), "norm": torch.full((3,), 2.0)}
    assert update_spectra(before, after)["w"].tolist() == pytest.approx([2.0, 1.0, 0.0])
    values = torch.tensor([2.0, 1.0, 0.0])
    assert [rank_of_share(values, share) for share in (0.5, 0.8, 0.81, 1.0)] == [1, 1, 2, 2]
    cut = with_rank(before, after, 1)
    torch.testing.assert_close(cut["w"], torch.diag(torch.tensor([0.0, -2.0, 0.0])))
    assert cut["norm"].tolist() == [2.0] * 3
    assert with_rank(before, after, 0)["norm"].tolist() == [1.0] * 3
    torch.testing.assert_close(with_rank(before, after, 9)["w"], after["w"])


def test_an_update_in_16_bits_is_decomposed_in_32() -> None:
    before = {"w": torch.zeros(3, 3, dtype=torch.bfloat16)}
    after = {"w": torch.diag(torch.tensor([1.0, -2.0, 0.0])).bfloat16()}
    assert update_spectra(before, after)["w"].tolist() == pytest.approx([2.0, 1.0, 0.0])
    cut = with_rank(before, after, 1)["w"]
    assert cut.dtype == torch.bfloat16
    assert cut.diagonal().tolist() == [0.0, -2.0, 0.0]


def test_bad_updates_are_refused() -> None:
    with pytest.raises(ValueError, match="same names"):
        update_spectra({"w": torch.zeros(2, 2)}, {"v": torch.zeros(2, 2)})
    with pytest.raises(ValueError, match="no matrix"):
        update_spectra({"w": torch.zeros(2)}, {"w": torch.zeros(2)})
    with pytest.raises(ValueError, match="rank"):
        with_rank({}, {}, -1)
    endless = torch.tensor([1.0, float("inf")])
    for values, share in ((torch.ones(2), 0.0), (torch.zeros(2), 0.5), (torch.ones(2, 2), 0.5), (endless, 0.5)):
        with pytest.raises(ValueError, match=r"share|values"):
            rank_of_share(values, share)
