"""Speculative decoding: greedy output is the target's, sampled output has the target's distribution, exactly."""

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from torch import Tensor
from transformers.generation.candidate_generator import PromptLookupCandidateGenerator

from kb.lm import SamplingParams, generate
from kb.lm.decoding import (
    ModelDraft,
    PromptLookup,
    acceptance_rate,
    expected_speedup,
    expected_tokens,
    residual,
    speculative_decode,
    verify,
    verify_loop,
)


def distributions(rows: int, V: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, V, generator=generator, dtype=torch.float64)
    logits[torch.rand(rows, V, generator=generator) < 0.2] = -torch.inf
    logits[:, 0] = logits[:, 0].clamp_min(-1.0)
    return logits.softmax(-1)


@settings(max_examples=40)
@given(V=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_one_step_gives_the_targets_distribution_and_accepts_one_less_total_variation(V: int, seed: int) -> None:
    p, q = distributions(2, V, seed)
    total = torch.zeros_like(p)
    kept = 0.0
    for token in range(V):  # all drafts, each kept or replaced: the whole probability space
        if q[token] == 0:
            continue
        keep = min(1.0, float(p[token] / q[token]))
        kept += float(q[token]) * keep
        total[token] += q[token] * keep
        total += q[token] * (1 - keep) * residual(p, q)
    torch.testing.assert_close(total, p)
    assert kept == pytest.approx(1 - 0.5 * float((p - q).abs().sum()))
    assert kept == pytest.approx(float(acceptance_rate(p, q)))


def test_acceptance_on_paper() -> None:
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.2, 0.6])
    assert float(acceptance_rate(p, q)) == pytest.approx(0.6)
    torch.testing.assert_close(residual(p, q), torch.tensor([0.75, 0.25, 0.0]))
    assert torch.equal(residual(p, p), p)


@settings(max_examples=40)
@given(V=st.integers(1, 6), g=st.integers(0, 4), seed=st.integers(0, 2**31))
def test_verify_equals_its_loop(V: int, g: int, seed: int) -> None:
    p, q = distributions(g + 1, V, seed), distributions(g + 1, V, seed + 1)[:g]
    drafts = (
        torch.multinomial(q, 1, generator=torch.Generator().manual_seed(seed))[:, 0] if g else torch.empty(0).long()
    )
    uniforms = torch.rand(g, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    kept, after = verify(p, q, drafts, torch.Generator().manual_seed(seed))
    wanted, left = verify_loop(p.tolist(), q.tolist(), drafts.tolist(), uniforms.tolist())
    assert kept == wanted
    assert left[after] > 0


@settings(max_examples=40)
@given(alpha=st.floats(0, 1), gamma=st.integers(0, 12))
def test_expected_tokens_are_the_sum_over_how_many_are_kept(alpha: float, gamma: int) -> None:
    chances = [alpha**kept * (1 - alpha) for kept in range(gamma)] + [alpha**gamma]
    assert expected_tokens(alpha, gamma) == pytest.approx(
        math.fsum((kept + 1) * chance for kept, chance in enumerate(chances)), rel=1e-6
    )
    assert expected_speedup(alpha, gamma, 0.0) == expected_tokens(alpha, gamma)
    assert expected_speedup(alpha, gamma, 1.0) <= 1 + 1e-9


class Place:
    """A language model whose distribution depends on the last token alone; no DecoderLM, and any V."""

    def __init__(self, table_VV: Tensor) -> None:
        self.logits_VV = table_VV.log()

    def __call__(self, tokens_BT: Tensor) -> Tensor:
        return self.logits_VV[tokens_BT]


def test_several_tokens_follow_the_target_by_chi_square() -> None:
    V, n, runs = 3, 3, 500
    p, q = distributions(V, V, 1), distributions(V, V, 2)
    generator = torch.Generator().manual_seed(0)
    sampling = SamplingParams()
    counts: dict[tuple[int, ...], int] = {}
    kept = looked_at = 0
    for _ in range(runs):
        draft = ModelDraft(Place(q), capacity=4, sampling=sampling)
        out = speculative_decode(Place(p), draft, [0], n, gamma=2, sampling=sampling, generator=generator)
        text = tuple(out.tokens[1:].tolist())
        counts[text] = counts.get(text, 0) + 1
        kept += sum(out.accepted)
        looked_at += sum(one + (one < made) for made, one in zip(out.proposed, out.accepted, strict=True))
    wanted, seen = [0.0], [0]  # the first cell is for all that are too rare for a cell of their own
    for text in itertools.product(range(V), repeat=n):
        expected = runs * math.prod(float(p[a, b]) for a, b in itertools.pairwise((0, *text)))
        if expected < 5:
            wanted[0], seen[0] = wanted[0] + expected, seen[0] + counts.pop(text, 0)
        else:
            wanted.append(expected)
            seen.append(counts.pop(text, 0))
    assert not counts
    assert len(wanted) > 8
    statistic = sum((one - mean) ** 2 / mean for one, mean in zip(seen, wanted, strict=True))
    assert statistic < chi2.ppf(0.999, len(wanted) - 1)
    rates = acceptance_rate(p, q)
    assert float(rates.min()) - 0.1 < kept / looked_at < float(rates.max()) + 0.1


def test_tokens_per_pass_are_what_equation_1_expects() -> None:
    # The same two distributions at every place, so that drafts are kept independently with one alpha.
    p, q = distributions(2, 6, 5)
    alpha, gamma = float(acceptance_rate(p, q)), 3
    generator = torch.Generator().manual_seed(0)
    sampling = SamplingParams()
    draft = ModelDraft(Place(q.expand(6, 6)), capacity=1000, sampling=sampling)
    out = speculative_decode(
        Place(p.expand(6, 6)), draft, [0], 900, gamma=gamma, sampling=sampling, generator=generator
    )
    assert 0.2 < alpha < 0.9
    assert 900 / out.calls == pytest.approx(expected_tokens(alpha, gamma), rel=0.1)
    assert out.acceptance == pytest.approx(alpha, abs=0.05)


@pytest.mark.parametrize("gamma", [1, 3, 6])
@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_output_is_the_targets_whatever_the_draft(
    tiny: Any, make_pair: Any, gamma: int, use_cache: bool
) -> None:
    other = make_pair("llama", seed=3, num_hidden_layers=1).ours
    tokens = tiny.tokens(1, 6)
    wanted = generate(tiny.ours, tokens[0], 20)
    for draft in (
        ModelDraft(other, capacity=26, use_cache=use_cache),
        ModelDraft(tiny.ours, capacity=26, use_cache=use_cache),
        ModelDraft(tiny.ours, capacity=26, sampling=SamplingParams(temperature=3.0)),
        PromptLookup(61, 3),
    ):
        out = speculative_decode(tiny.ours, draft, tokens, 20, gamma=gamma, use_cache=use_cache)
        assert torch.equal(out.tokens, wanted)
        assert not out.tokens.is_inference()
        assert sum(out.accepted) + out.calls == 20
    assert out.calls <= 20


def test_a_draft_that_is_the_target_is_always_kept(tiny: Any) -> None:
    sampling = SamplingParams(temperature=0.8, top_k=20, repetition_penalty=1.2)
    draft = ModelDraft(tiny.ours, capacity=30, sampling=sampling)
    out = speculative_decode(
        tiny.ours, draft, tiny.tokens(1, 5), 20, sampling=sampling, generator=torch.Generator().manual_seed(0)
    )
    assert out.accepted == out.proposed == (4, 4, 4, 4)
    assert out.acceptance == 1


def test_it_ends_where_the_target_ends(tiny: Any) -> None:
    tokens = tiny.tokens(1, 5)
    free = generate(tiny.ours, tokens[0], 12)
    stop = int(free[9])
    wanted = generate(tiny.ours, tokens[0], 12, stop_ids=[stop])
    for draft in (ModelDraft(tiny.ours, capacity=20), PromptLookup(61)):
        assert torch.equal(speculative_decode(tiny.ours, draft, tokens, 12, stop_ids=[stop]).tokens, wanted)


@settings(max_examples=40)
@given(tokens=st.lists(st.integers(0, 3), min_size=1, max_size=14), count=st.integers(1, 5), most=st.integers(1, 4))
def test_lookup_proposes_what_transformers_proposes(tokens: list[int], count: int, most: int) -> None:
    theirs = PromptLookupCandidateGenerator(num_output_tokens=count, max_matching_ngram_size=most, max_length=100)
    wanted = theirs.get_candidates(torch.tensor([tokens]))[0][0, len(tokens) :]
    found, q = PromptLookup(4, most).propose(torch.tensor(tokens), count, None)
    assert torch.equal(found, wanted)
    assert q.shape == (len(found), 4)
    assert torch.equal(q.argmax(-1) if len(found) else found, found)


def test_bad_input_is_refused(tiny: Any) -> None:
    draft = PromptLookup(61)
    for options, error, message in (
        ({"gamma": 0}, ValueError, "gamma"),
        ({"max_new_tokens": 0}, ValueError, "max_new_tokens"),
        ({"draft": 3}, TypeError, "draft"),
        ({"sampling": "greedy"}, TypeError, "sampling"),
        ({"sampling": SamplingParams()}, ValueError, "needs a generator"),
        ({"generator": 0}, TypeError, "generator"),
        ({"tokens": [[1, 2], [3, 4]]}, ValueError, "one prompt"),
        ({"tokens": [61]}, ValueError, "token ids"),
        ({"max_new_tokens": 128}, ValueError, "context of 128"),
        ({"draft": PromptLookup(60), "tokens": [1, 2, 1]}, ValueError, "wanted p"),
    ):
        with pytest.raises(error, match=message):
            speculative_decode(
                **{"model": tiny.ours, "draft": draft, "tokens": [1, 2], "max_new_tokens": 3, **options}  # type: ignore
            )
    for call in (
        lambda: expected_tokens(1.1, 2),
        lambda: expected_tokens(0.5, -1),
        lambda: expected_speedup(0.5, 1, -1),
    ):
        with pytest.raises(ValueError, match=r"alpha|gamma|cost"):
            call()
    with pytest.raises(ValueError, match="max_ngram"):
        PromptLookup(4, 0)
    with pytest.raises(ValueError, match=r"0 to 1 \(vocab_size\), got \[3, 1\]"):
        PromptLookup(2).propose(torch.tensor([1, 3, 1]), 2, None)
    with pytest.raises(ValueError, match="0 to 1"):
        PromptLookup(2).propose(torch.tensor([1, -1, 1]), 2, None)


def test_bad_distributions_and_drafts_are_refused() -> None:
    p, q = distributions(2, 3, 0), distributions(2, 4, 0)
    for of in (acceptance_rate, residual):
        with pytest.raises(ValueError, match="one shape"):
            of(p[0], q[0])
        with pytest.raises(ValueError, match="one shape"):
            of(p, p[0])  # no silent broadcast
    for drafts, error, message in (
        ([3], ValueError, "0 to 2, got"),
        ([-1], ValueError, "0 to 2, got"),
        ([1.0], TypeError, "int64"),
    ):
        with pytest.raises(error, match=message):
            verify(p[:2], p[:1], torch.tensor(drafts), torch.Generator())
