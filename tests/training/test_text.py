"""Windows of text: every window that can be is drawn, each token of a held-out text is predicted once."""

from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kb.training import all_windows, encode_bytes, hold_out, random_windows


def test_bytes_are_the_text_in_utf8() -> None:
    assert encode_bytes("aé中").tolist() == list("aé中".encode())
    assert encode_bytes(b"\x00\xff").tolist() == [0, 255]
    assert encode_bytes("").shape == (0,)
    with pytest.raises(TypeError, match="text must be str or bytes, got list"):
        encode_bytes(["a"])  # type: ignore[arg-type]


@given(st.integers(2, 40), st.integers(1, 10), st.integers(1, 5))
def test_all_windows_predict_each_token_once(tokens: int, length: int, batch: int) -> None:
    if tokens <= length:
        with pytest.raises(ValueError, match=f"{tokens} tokens hold no window of length {length}"):
            all_windows(torch.arange(tokens), length, batch)
        return
    batches = list(all_windows(torch.arange(tokens), length, batch))
    assert all(len(windows) == batch for windows in batches[:-1])
    windows = torch.cat(batches)
    predicted = windows[:, 1:].flatten().tolist()
    assert predicted == list(range(1, len(predicted) + 1))
    assert tokens - 1 - len(predicted) < length


@given(st.integers(1, 400), st.integers(1, 5), st.integers(1, 4), st.integers(2, 6))
def test_held_out_blocks_and_the_rest_are_the_text(tokens: int, length: int, windows: int, every: int) -> None:
    block = windows * length + 1
    held = [number for number in range(tokens // block) if number % every == every // 2]
    if not held:
        with pytest.raises(ValueError, match="hold"):
            hold_out(torch.arange(tokens), length, windows=windows, every=every)
        return
    train_M, windows_WT = hold_out(torch.arange(tokens), length, windows=windows, every=every)
    wanted = [next(iter(all_windows(torch.arange(n * block, (n + 1) * block), length, windows))) for n in held]
    assert torch.equal(windows_WT, torch.cat(wanted))
    together = torch.cat([train_M, windows_WT.flatten()]).unique()
    assert torch.equal(together, torch.arange(tokens))
    assert len(train_M) == tokens - len(held) * block


def test_too_little_to_hold_out_and_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="8 tokens are too few to hold out one in 10 blocks of 5"):
        hold_out(torch.arange(8), 2, windows=2)
    with pytest.raises(ValueError, match="every must be an integer of at least 2"):
        hold_out(torch.arange(80), 2, every=1)
    with pytest.raises(ValueError, match="windows must be"):
        hold_out(torch.arange(80), 2, windows=0)


def test_random_windows_begin_everywhere_equally_often() -> None:
    tokens, length, draws = 12, 4, 8000
    (batch,) = random_windows(torch.arange(tokens), length, draws, seed=3, steps=1)
    assert batch.shape == (draws, length + 1)
    assert torch.equal(batch - batch[:, :1], torch.arange(length + 1).expand(draws, -1))
    counts = batch[:, 0].bincount(minlength=tokens)
    places = tokens - length
    assert counts[places:].sum() == 0
    expected = draws / places
    assert ((counts[:places] - expected).abs() < 5 * expected**0.5).all()


def test_a_seed_gives_its_batches_whatever_else_draws() -> None:
    tokens_N = torch.arange(100)
    first = list(random_windows(tokens_N, 5, 3, seed=1, steps=4))
    torch.manual_seed(99)
    again = list(islice(random_windows(tokens_N, 5, 3, seed=1), 4))
    other = list(random_windows(tokens_N, 5, 3, seed=2, steps=4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens_N": torch.zeros(3, 3)}, r"tokens must be \[N\], got \(3, 3\)"),
        ({"length": 0}, "length must be an integer of at least 1, got 0"),
        ({"length": 20}, "20 tokens hold no window of length 20"),
        ({"batch": 1.5}, "batch must be an integer of at least 1, got 1.5"),
        ({"seed": None}, "seed must be an integer, got None"),
        ({"steps": -1}, "steps must be an integer of at least 0, got -1"),
    ],
)
def test_bad_input_is_refused_before_the_first_batch(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"tokens_N": torch.arange(20), "length": 4, "batch": 2, "seed": 0} | change
    with pytest.raises(ValueError, match=message):
        random_windows(**arguments)
