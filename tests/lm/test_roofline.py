"""The roofline of a pass: bounds by hand for Llama 3 8B on an H100, and the batch at which batching stops paying."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.lm import (
    BFLOAT16,
    FLOAT32,
    Machine,
    ModelConfig,
    PassTime,
    Widths,
    compute_bound_batch,
    decode_rate,
    largest_batch,
    measured_machine,
    pass_time,
)
from kb.lm.cost import forward_work
from kb.lm.roofline import parameters

LLAMA_3_8B = ModelConfig(128_256, 4096, 14_336, 32, 32, 8, 128, 8192)
H100 = Machine("H100 SXM", 989e12, 3.35e12, 80e9)


def test_llama_3_8b_has_its_parameters() -> None:
    assert parameters(LLAMA_3_8B) == 8_030_261_248  # as its card and its tensors say


def test_the_parameters_are_those_of_a_model(tiny: Any) -> None:
    assert parameters(tiny.ours.config) == sum(p.numel() for p in tiny.ours.parameters())


def test_decoding_alone_is_bound_by_the_weights_and_prefill_by_arithmetic() -> None:
    one = pass_time(H100, LLAMA_3_8B, new=1, total=1024)
    assert one.bound == "memory"
    assert one.seconds == pytest.approx(2 * 7.505e9 / 3.35e12, rel=0.02)
    prompt = pass_time(H100, LLAMA_3_8B, new=2048, total=2048)
    assert prompt.bound == "compute"
    assert prompt.seconds == pytest.approx(2 * 6.98e9 * 2048 / 989e12, rel=0.1)
    assert PassTime(1.0, 1.0).bound == "compute"


@settings(max_examples=50)
@given(total=st.integers(1, 3000), ridge=st.floats(1, 1000))
def test_the_batch_that_binds_is_the_first_one(total: int, ridge: float) -> None:
    machine = Machine("any", ridge * 1e12, 1e12)
    first = compute_bound_batch(machine, LLAMA_3_8B, total=total)
    if math.isinf(first):
        assert pass_time(machine, LLAMA_3_8B, new=1, total=total, batch=10**7).bound == "memory"
    else:
        assert pass_time(machine, LLAMA_3_8B, new=1, total=total, batch=int(first)).bound == "compute"
        if first > 1:
            assert pass_time(machine, LLAMA_3_8B, new=1, total=total, batch=int(first) - 1).bound == "memory"


def test_past_some_context_no_batch_makes_decoding_compute_bound() -> None:
    assert compute_bound_batch(H100, LLAMA_3_8B, total=128) < 1000
    assert math.isinf(compute_bound_batch(H100, LLAMA_3_8B, total=1024))


def test_the_largest_batch_fits_and_the_next_does_not() -> None:
    batch = largest_batch(H100, LLAMA_3_8B, total=8192, share=1)
    taken = parameters(LLAMA_3_8B) * 2 + batch * 8192 * 131_072
    assert batch == 59
    assert taken <= 80e9 < taken + 8192 * 131_072
    assert largest_batch(Machine("small", 1e12, 1e12, 10e9), LLAMA_3_8B, total=100) == 0
    assert largest_batch(H100, LLAMA_3_8B, total=8192, widths=Widths(0.5, 1, 2)) > 2 * batch


def test_fewer_bytes_are_faster_in_decoding_and_not_in_prefill() -> None:
    four = Widths(weights=0.5)
    plain, quantised = (decode_rate(H100, LLAMA_3_8B, total=512, widths=w) for w in (BFLOAT16, four))
    assert 3.5 < quantised / plain < 4
    long = [pass_time(H100, LLAMA_3_8B, new=2048, total=2048, widths=w).seconds for w in (BFLOAT16, four)]
    assert long[0] == long[1]


def test_equal_widths_are_the_work_of_the_cost_formulas(tiny: Any) -> None:
    config, machine = tiny.ours.config, Machine("unit", 1.0, 1.0)
    work = forward_work(config, new=3, total=7, batch=2, itemsize=4)
    assert pass_time(machine, config, new=3, total=7, batch=2, widths=FLOAT32) == PassTime(work.flops, work.bytes)


def test_a_machine_can_be_measured() -> None:
    machine = measured_machine(size=128, repeats=2)
    assert machine.flops_per_second > 0 < machine.bytes_per_second
    assert machine.ridge == machine.flops_per_second / machine.bytes_per_second
    assert machine.name == "cpu, float32"
    with pytest.raises(ValueError, match="size"):
        measured_machine(size=0)
    with pytest.raises(ValueError, match="repeats"):
        measured_machine(dtype=torch.float32, repeats=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Machine("x", 0, 1), "flops_per_second"),
        (lambda: Machine("x", 1, math.inf), "bytes_per_second"),
        (lambda: Machine("x", 1, 1, -1), "memory_bytes"),
        (lambda: Widths(weights=0), "weights"),
        (lambda: largest_batch(H100, LLAMA_3_8B, total=0), "total"),
        (lambda: largest_batch(H100, LLAMA_3_8B, total=1, share=1.5), "share"),
        (lambda: pass_time(H100, LLAMA_3_8B, new=2, total=1), "new"),
    ],
)
def test_bad_input_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
