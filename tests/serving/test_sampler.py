"""Rows are sampled together as each is alone, and alone as kb.lm does it; the rest has vLLM's meaning."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.lm import DecoderLM, generate
from kb.lm.sampling import draw, process
from kb.serving.logits_edits import SamplingRow
from kb.serving.sampler import Sampled, prompt_logprobs, row_generator, sample, sample_loop
from kb.serving.sampling_params import SamplingParams
from tests.serving.sampling_rows import fresh, random_logits, sampling_rows, told


@settings(max_examples=120)
@given(rows=st.lists(sampling_rows(), min_size=1, max_size=6), seed=st.integers(0, 999), ties=st.booleans())
def test_together_is_one_by_one(rows: list[SamplingRow], seed: int, ties: bool) -> None:
    logits_RV = random_logits(len(rows), seed, ties=ties)
    assert told(sample(logits_RV, fresh(rows))) == told(sample_loop(logits_RV, fresh(rows)))


@settings(max_examples=80)
@given(rows=st.lists(sampling_rows(), min_size=2, max_size=6), seed=st.integers(0, 999), data=st.data())
def test_batch_mates_change_nothing(rows: list[SamplingRow], seed: int, data: st.DataObject) -> None:
    logits_RV = random_logits(len(rows), seed)
    together = told(sample(logits_RV, fresh(rows)))
    order = data.draw(st.permutations(range(len(rows))))[: data.draw(st.integers(1, len(rows)))]
    some = told(sample(logits_RV[list(order)], fresh([rows[r] for r in order])))
    assert some == [together[r] for r in order]


def test_many_rows_of_a_large_vocabulary_are_as_each_alone() -> None:
    logits_RV = 3 * torch.randn(20, 70_000, generator=torch.Generator().manual_seed(0))
    kinds = [SamplingParams(logprobs=2), SamplingParams(temperature=0, logprobs=2), SamplingParams(top_k=9)]
    rows = [SamplingRow(kinds[r % 5 % 3], [r], []) for r in range(20)]
    alone = [sample(logits_RV[r : r + 1], fresh(rows[r : r + 1]))[0] for r in range(20)]
    assert sample(logits_RV, fresh(rows)) == alone
    assert len({one.token for one in alone if isinstance(one, Sampled)}) == 20


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 2},
        {"top_p": 0.3},
        {"min_p": 0.5},
        {"temperature": 0.3},
        {"logit_bias": {1: 4.0}},
        {"allowed_token_ids": [1, 2]},
        {"min_tokens": 4, "stop_token_ids": [0, 5, 7]},
        {"repetition_penalty": 3.0},
        {"frequency_penalty": 2.0},
        {"presence_penalty": -2.0},
        {"bad_words": ["x"]},
    ],
    ids=lambda options: next(iter(options)),
)
def test_one_parameter_alone_has_its_effect_beside_a_row_without_it(options: dict[str, Any]) -> None:
    logits_RV = random_logits(1, 0).expand(400, -1)
    best = int(logits_RV[0].argmax())
    prompt, output = [1, 2], [best, best, 0]
    bad = [[0, best]] if "bad_words" in options else []
    half = [
        SamplingRow(SamplingParams(**options), prompt, output, bad_words=bad),
        SamplingRow(SamplingParams(), [2], []),
    ]

    def rows() -> list[SamplingRow]:
        return [replace(row, generator=torch.Generator().manual_seed(seed)) for seed in range(200) for row in half]

    results = sample(logits_RV, rows())
    assert results == sample_loop(logits_RV, rows())
    assert results[0::2] != results[1::2]  # each pair has the same noise


@settings(max_examples=100)
@given(row=sampling_rows(), seed=st.integers(0, 999))
def test_the_five_parameters_of_kb_lm_are_its_own(row: SamplingRow, seed: int) -> None:
    asked = row.params
    five = SamplingParams(
        temperature=asked.temperature,
        top_k=asked.top_k,
        top_p=asked.top_p,
        min_p=asked.min_p,
        repetition_penalty=asked.repetition_penalty,
    )
    [ours] = fresh([SamplingRow(five, row.prompt, row.output)])
    [theirs] = fresh([ours])
    assert theirs.generator is not None
    logits_1V, tokens_1T = random_logits(1, seed), torch.tensor([[*row.prompt, *row.output]])
    processed_1V = process(logits_1V, tokens_1T, five.to_lm())
    wanted = processed_1V.argmax() if five.greedy else draw(processed_1V, [theirs.generator])
    assert sample(logits_1V, [ours]) == [Sampled(int(wanted))]
    if not five.greedy:  # and it took as many numbers from its generator
        assert ours.generator is not None
        assert torch.equal(ours.generator.get_state(), theirs.generator.get_state())


@pytest.mark.parametrize(
    "asked",
    [
        SamplingParams(temperature=0, max_tokens=24),
        SamplingParams(temperature=0, repetition_penalty=1.4, max_tokens=24),
        SamplingParams(seed=5, max_tokens=24),
        SamplingParams(seed=6, temperature=0.8, top_k=9, top_p=0.9, min_p=0.05, repetition_penalty=1.2, max_tokens=24),
    ],
)
def test_tokens_are_those_of_generate(tiny: DecoderLM, asked: SamplingParams) -> None:
    prompt = [3, 14, 15, 9, 2, 6]
    given_by_lm = None if asked.seed is None else torch.Generator().manual_seed(asked.seed)
    wanted = generate(tiny, prompt, 24, sampling=asked.to_lm(), generator=given_by_lm, stop_ids=()).tolist()
    generator = row_generator(asked, 0, torch.Generator())
    tokens = list(prompt)
    while len(tokens) < len(wanted):
        logits_1V = tiny(torch.tensor([tokens]), last_only=True)[:, -1]
        [one] = sample(logits_1V, [SamplingRow(asked, prompt, tokens[len(prompt) :], generator)])
        assert isinstance(one, Sampled)
        tokens.append(one.token)
    assert tokens == wanted


def test_draws_follow_the_edited_and_filtered_distribution() -> None:
    asked = SamplingParams(temperature=0.8, logit_bias={1: 1.0}, presence_penalty=0.5, allowed_token_ids=[0, 1, 2, 4])
    logits_V = torch.tensor([2.0, 1.0, 0.0, 5.0, -1.0])
    count, generator = 4000, torch.Generator().manual_seed(0)
    rows = [SamplingRow(asked, [3], [0, 0], generator)] * count
    drawn = Counter(one.token for one in sample(logits_V.expand(count, -1), rows) if isinstance(one, Sampled))
    wanted_V = (torch.tensor([1.5, 2.0, 0.0, -torch.inf, -1.0]) / 0.8).softmax(dim=-1)
    assert set(drawn) <= {0, 1, 2, 4}
    chi_squared = sum((drawn[v] - count * float(wanted_V[v])) ** 2 / (count * float(wanted_V[v])) for v in (0, 1, 2, 4))
    assert chi_squared < 16.3  # the 99.9 % point with 3 degrees of freedom


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_row_without_a_distribution_harms_no_other(wrong: float) -> None:
    rows = [
        SamplingRow(SamplingParams(temperature=0, logprobs=1), [0], []),
        SamplingRow(SamplingParams(temperature=0, logprobs=1), [0], []),
        SamplingRow(SamplingParams(), [1], []),
        SamplingRow(SamplingParams(), [2], []),
        SamplingRow(SamplingParams(temperature=0, allowed_token_ids=[5], logprobs=1), [3], []),
        SamplingRow(SamplingParams(temperature=0, allowed_token_ids=[5], min_tokens=1, stop_token_ids=[5]), [3], []),
    ]
    logits_RV = random_logits(len(rows), 0)
    sound = told(sample(logits_RV, fresh(rows)))
    logits_RV[[0, 2, 4], 7] = wrong
    broken = fresh(rows)
    results = sample(logits_RV, broken)
    assert [isinstance(one, ValueError) for one in results] == [True, False, True, False, True, True]
    assert [told(results)[r] for r in (1, 3)] == [sound[r] for r in (1, 3)]
    assert told(results) == told(sample_loop(logits_RV, fresh(rows)))
    untouched = fresh(rows)[2].generator
    assert untouched is not None
    assert broken[2].generator is not None
    assert torch.equal(broken[2].generator.get_state(), untouched.get_state())


def test_a_row_without_a_generator_harms_no_other() -> None:
    rows = fresh([SamplingRow(SamplingParams(), [1], []), SamplingRow(SamplingParams(), [2], [])])
    alone = sample(random_logits(2, 0)[1:], fresh(rows[1:]))
    results = sample(random_logits(2, 0), [replace(rows[0], generator=None), rows[1]])
    assert "needs a generator" in str(results[0])
    assert results[1:] == alone


def test_generators_of_the_n_completions_have_seeds_in_a_row() -> None:
    fresh_seeds = torch.Generator().manual_seed(0)
    before = fresh_seeds.get_state()
    made = [row_generator(SamplingParams(seed=7, n=3), index, fresh_seeds) for index in range(3)]
    assert [one.initial_seed() for one in made if one is not None] == [7, 8, 9]
    assert row_generator(SamplingParams(temperature=0), 0, fresh_seeds) is None
    assert torch.equal(fresh_seeds.get_state(), before)


def test_requests_without_a_seed_get_other_ones_that_the_engine_can_repeat() -> None:
    def seeds() -> list[int]:
        fresh_seeds = torch.Generator().manual_seed(1)
        made = [row_generator(SamplingParams(), 0, fresh_seeds) for _ in range(100)]
        return [one.initial_seed() for one in made if one is not None]

    assert seeds() == seeds()
    assert len(set(seeds())) == 100


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sample(torch.zeros(2, 4), []), ValueError, "R rows"),
        (lambda: sample(torch.zeros(4), [SamplingRow(SamplingParams(), [0], [])]), ValueError, r"logits \[R, V\]"),
        (lambda: sample(torch.zeros(0, 4).long(), []), TypeError, "floating-point"),
        (lambda: sample_loop(torch.zeros(2, 4), []), ValueError, "R rows"),
        (lambda: prompt_logprobs(torch.zeros(2, 4), [1], 2), ValueError, "next_tokens must be 2 ids"),
        (lambda: prompt_logprobs(torch.zeros(2, 4), [1, 4], 2), ValueError, "next_tokens must be 2 ids from 0 to 3"),
        (lambda: prompt_logprobs(torch.zeros(2, 4), [1, 3], 5), ValueError, "count must be from 0 to 4"),
        (lambda: prompt_logprobs(torch.full((1, 4), torch.nan), [1], 1), ValueError, "NaN"),
    ],
)
def test_refuses_what_does_not_fit(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_no_rows_give_nothing() -> None:
    assert sample(torch.zeros(0, 4), []) == []


def test_greedy_rows_cost_one_pass_over_the_logits() -> None:
    logits_RV = torch.randn(32, 49_152, generator=torch.Generator().manual_seed(0))
    rows = [SamplingRow(SamplingParams(temperature=0), [0], [1]) for _ in range(32)]
    costs: dict[str, float] = {"ours": float("inf"), "argmax": float("inf")}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the processor's time of one thread is its own, whatever else runs
    try:
        for _ in range(7):
            for name, call in (("ours", lambda: sample(logits_RV, rows)), ("argmax", lambda: logits_RV.argmax(dim=-1))):
                begin = time.process_time()
                call()
                costs[name] = min(costs[name], time.process_time() - begin)
    finally:
        torch.set_num_threads(threads)
    assert costs["ours"] < 3 * costs["argmax"] + 1e-3


def test_16_bit_logits_are_sampled_in_float32() -> None:
    logits_RV = random_logits(3, 0).bfloat16()
    rows = [SamplingRow(SamplingParams(top_p=0.9, logprobs=1), [seed], []) for seed in range(3)]
    assert sample(logits_RV, fresh(rows)) == sample(logits_RV.float(), fresh(rows))
