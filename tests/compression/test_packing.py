"""Two codes in a byte: every pair there and back, and an explicit byte."""

import pytest
import torch

from kb.compression import pack_int4, unpack_int4


def test_one_byte_by_hand() -> None:
    assert pack_int4(torch.tensor([3, 10])).tolist() == [3 + 16 * 10]
    assert pack_int4(torch.tensor([-1, 7], dtype=torch.int8)).tolist() == [15 + 16 * 7]


@pytest.mark.parametrize("signed", [False, True])
def test_all_pairs_come_back(signed: bool) -> None:
    values = torch.arange(-8, 8, dtype=torch.int8) if signed else torch.arange(16, dtype=torch.uint8)
    pairs = torch.cartesian_prod(values, values)
    packed = pack_int4(pairs)
    assert packed.dtype == torch.uint8
    assert packed.shape == (256, 1)
    assert len(packed.unique()) == 256
    back = unpack_int4(packed, signed=signed)
    assert back.dtype == values.dtype
    assert torch.equal(back, pairs)


def test_bad_codes_are_refused() -> None:
    with pytest.raises(ValueError, match="even last axis"):
        pack_int4(torch.tensor([1, 2, 3]))
    for bad in ([16, 0], [-9, 0], [-1, 8]):
        with pytest.raises(ValueError, match="must lie in"):
            pack_int4(torch.tensor(bad))
    with pytest.raises(TypeError, match="integers"):
        pack_int4(torch.tensor([1.0, 2.0]))
    with pytest.raises(TypeError, match="uint8"):
        unpack_int4(torch.tensor([1], dtype=torch.int8))
