"""Every processor equals transformers' of its name, in value and gradient, and its own loop over a list."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kb.lm.decoding import (
    Epsilon,
    Eta,
    FrequencyPenalty,
    MinLength,
    MinNewTokens,
    MinP,
    NoRepeatNGram,
    PresencePenalty,
    Processors,
    RepetitionPenalty,
    Temperature,
    TopK,
    TopP,
    Typical,
    kept_in_both_orders,
)
from kb.lm.decoding import processor_loops as loops

NAMES = {
    Temperature: "TemperatureLogitsWarper",
    TopK: "TopKLogitsWarper",
    TopP: "TopPLogitsWarper",
    MinP: "MinPLogitsWarper",
    Typical: "TypicalLogitsWarper",
    Epsilon: "EpsilonLogitsWarper",
    Eta: "EtaLogitsWarper",
    RepetitionPenalty: "RepetitionPenaltyLogitsProcessor",
    NoRepeatNGram: "NoRepeatNGramLogitsProcessor",
    MinLength: "MinLengthLogitsProcessor",
    MinNewTokens: "MinNewTokensLengthLogitsProcessor",
}
inside = st.floats(0.0, 1.0, exclude_min=True, exclude_max=True) | st.sampled_from([1e-9, 0.25, 0.5, 1 - 1e-9])
least = st.integers(1, 6)
ARGUMENTS: dict[type, st.SearchStrategy[tuple[Any, ...]]] = {
    Temperature: st.tuples(st.floats(1e-4, 1e4)),
    TopK: st.tuples(st.integers(1, 60), least),
    TopP: st.tuples(inside | st.just(1.0), least),
    MinP: st.tuples(st.floats(0.0, 1.0), least),
    Typical: st.tuples(inside, least),
    Epsilon: st.tuples(inside, least),
    Eta: st.tuples(inside, least),
    RepetitionPenalty: st.tuples(st.floats(1e-3, 1e3)),
    NoRepeatNGram: st.tuples(st.integers(1, 8)),
    MinLength: st.tuples(st.integers(0, 9), st.integers(0, 3)),
    MinNewTokens: st.tuples(st.integers(0, 9), st.integers(0, 9), st.tuples(st.integers(0, 3), st.integers(0, 3))),
}


def theirs(kind: type, arguments: tuple[Any, ...]) -> Any:
    if kind in (MinLength, MinNewTokens) and isinstance(arguments[-1], tuple):
        arguments = (*arguments[:-1], list(arguments[-1]))
    if len(arguments) == 2 and kind in (TopK, TopP, MinP, Typical, Epsilon, Eta):
        return getattr(transformers, NAMES[kind])(arguments[0], min_tokens_to_keep=arguments[1])
    return getattr(transformers, NAMES[kind])(*arguments)


def drawn(B: int, T: int, V: int, seed: int, spread: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, V, (B, T), generator=generator), spread * torch.randn(B, V, generator=generator)


@st.composite
def batches(draw: Any) -> tuple[Tensor, Tensor]:
    """Ids and scores, some with ties, with minus infinity, all equal, or far apart."""
    B, T, V = draw(st.integers(1, 4)), draw(st.integers(1, 9)), draw(st.integers(4, 50))
    ids, scores = drawn(B, T, V, draw(st.integers(0, 2**31)), draw(st.sampled_from([0.0, 0.1, 3.0, 100.0])))
    if draw(st.booleans()):
        ids = ids % 3  # so that n-grams come again
    if draw(st.booleans()):
        scores = scores.round()
    if draw(st.booleans()):
        scores[:, draw(st.integers(1, V - 1)) :] = -torch.inf
    return ids, scores


@pytest.mark.parametrize("kind", NAMES, ids=lambda kind: kind.__name__)
@settings(max_examples=25)
@given(batch=batches(), data=st.data())
def test_each_equals_transformers(kind: type, batch: tuple[Tensor, Tensor], data: st.DataObject) -> None:
    arguments = data.draw(ARGUMENTS[kind])
    ids, scores = batch
    before = scores.clone()
    ours = kind(*arguments)(ids, scores)
    assert torch.equal(scores, before)
    assert torch.equal(ours, theirs(kind, arguments)(ids, scores.clone()))


@pytest.mark.parametrize(
    ("processor", "arguments"),
    [
        (Temperature(0.7), (0.7,)),
        (TopK(5), (5, 1)),
        (TopP(0.8), (0.8, 1)),
        (MinP(0.05), (0.05, 1)),
        (Typical(0.6), (0.6, 1)),
        (Epsilon(0.01), (0.01, 1)),
        (Eta(0.05), (0.05, 1)),
        (RepetitionPenalty(1.3), (1.3,)),
        (NoRepeatNGram(2), (2,)),
        (MinLength(12, 3), (12, 3)),
        (MinNewTokens(4, 9, (3, 5)), (4, 9, (3, 5))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_changes_something_and_hands_gradients_on_as_transformers(
    processor: Any, arguments: tuple[Any, ...]
) -> None:
    ids, scores = drawn(3, 9, 40, 0)
    ids = ids % 3
    gradients = []
    for one in (processor, theirs(type(processor), arguments)):
        leaf = scores.clone().requires_grad_()
        out = one(ids, leaf)
        assert not torch.equal(out.detach(), scores)
        (out.softmax(-1) * torch.arange(40.0)).sum().backward()
        gradients.append(leaf.grad)
    assert gradients[0] is not None
    assert float(gradients[0].abs().max()) > 0
    assert torch.equal(gradients[0], gradients[1])


LOOPS: list[tuple[type, tuple[Any, ...], Callable[[list[float], list[int]], list[float]]]] = [
    (Temperature, (0.7,), lambda row, ids: loops.temperature_loop(row, 0.7)),
    (TopK, (5,), lambda row, ids: loops.top_k_loop(row, 5)),
    (TopP, (0.83,), lambda row, ids: loops.top_p_loop(row, 0.83)),
    (MinP, (0.07,), lambda row, ids: loops.min_p_loop(row, 0.07)),
    (Typical, (0.57,), lambda row, ids: loops.typical_loop(row, 0.57)),
    (Epsilon, (0.013,), lambda row, ids: loops.epsilon_loop(row, 0.013)),
    (Eta, (0.11,), lambda row, ids: loops.eta_loop(row, 0.11)),
    (RepetitionPenalty, (1.3, 2), lambda row, ids: loops.repetition_loop(row, ids[2:], 1.3)),
    (PresencePenalty, (0.6, 3), lambda row, ids: loops.presence_frequency_loop(row, ids[3:], 0.6, 0)),
    (FrequencyPenalty, (-0.6, 3), lambda row, ids: loops.presence_frequency_loop(row, ids[3:], 0, -0.6)),
    (NoRepeatNGram, (2,), lambda row, ids: loops.no_repeat_ngram_loop(row, ids, 2)),
    (NoRepeatNGram, (1,), lambda row, ids: loops.no_repeat_ngram_loop(row, ids, 1)),
    (MinLength, (20, 3), lambda row, ids: loops.no_end_loop(row, len(ids), 20, {3})),
    (MinNewTokens, (4, 9, (3, 5)), lambda row, ids: loops.no_end_loop(row, len(ids) - 4, 9, {3, 5})),
]


@pytest.mark.parametrize(("kind", "arguments", "loop"), LOOPS, ids=lambda value: getattr(value, "__name__", ""))
@settings(max_examples=6)
@given(T=st.integers(4, 12), V=st.integers(6, 40), hole=st.booleans(), seed=st.integers(0, 2**31))
def test_each_equals_its_loop(
    kind: type, arguments: tuple[Any, ...], loop: Any, T: int, V: int, hole: bool, seed: int
) -> None:
    ids, scores = drawn(2, T, V, seed)
    ids, scores = ids % 4, scores.double()
    if hole:
        scores[:, 1] = -torch.inf
    ours = kind(*arguments)(ids, scores)
    wanted = [loop(row, tokens) for row, tokens in zip(scores.tolist(), ids.tolist(), strict=True)]
    torch.testing.assert_close(ours, torch.tensor(wanted, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def row(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities]).log()


def kept(scores: Tensor) -> list[int]:
    return [v for v, score in enumerate(scores[0].tolist()) if score > -math.inf]


NONE = torch.zeros(1, 1, dtype=torch.long)


def test_four_tokens_on_paper() -> None:
    scores = row(0.5, 0.3, 0.15, 0.05)
    assert kept(TopK(2)(NONE, scores)) == [0, 1]
    assert kept(TopP(0.7)(NONE, scores)) == [0, 1]
    assert kept(MinP(0.25)(NONE, scores)) == [0, 1, 2]
    assert kept(Epsilon(0.2)(NONE, scores)) == [0, 1]
    # Entropy 1.142 nats; informations 0.693, 1.204, 1.897, 2.996; distances 0.449, 0.062, 0.755, 1.854.
    assert kept(Typical(0.3 - 1e-6)(NONE, scores)) == [1]
    assert kept(Typical(0.7)(NONE, scores)) == [0, 1]
    # sqrt(0.2) exp(-1.142) = 0.143 is below epsilon.
    assert kept(Eta(0.2)(NONE, scores)) == [0, 1, 2]
    torch.testing.assert_close(Eta(0.2).thresholds(scores), torch.tensor([[0.1427]]), atol=1e-4, rtol=0)


def test_penalties_on_paper() -> None:
    ids, scores = torch.tensor([[0, 1, 2, 1]]), torch.tensor([[2.0, -2.0, 0.5, 1.0]])
    assert RepetitionPenalty(2.0)(ids, scores).tolist() == [[1.0, -4.0, 0.25, 1.0]]
    assert RepetitionPenalty(2.0, prompt_ignore_length=2)(ids, scores).tolist() == [[2.0, -4.0, 0.25, 1.0]]
    assert PresencePenalty(0.5)(ids, scores).tolist() == [[1.5, -2.5, 0.0, 1.0]]
    assert FrequencyPenalty(0.5)(ids, scores).tolist() == [[1.5, -3.0, 0.0, 1.0]]
    assert FrequencyPenalty(0.5, prompt_length=2)(ids, scores).tolist() == [[2.0, -2.5, 0.0, 1.0]]
    assert kept(NoRepeatNGram(2)(ids, scores)) == [0, 1, 3]  # 1 2 was there
    assert kept(NoRepeatNGram(1)(ids, scores)) == [3]


def test_repetition_penalty_may_ignore_a_prompt_as_transformers() -> None:
    ids, scores = drawn(3, 9, 40, 1)
    their = transformers.RepetitionPenaltyLogitsProcessor(1.7, prompt_ignore_length=4)
    assert torch.equal(RepetitionPenalty(1.7, 4)(ids, scores), their(ids, scores.clone()))


def test_a_temperature_before_top_p_keeps_another_set_than_after_but_not_top_k() -> None:
    scores = row(0.5, 0.3, 0.15, 0.05)
    hot = Temperature(2.0)  # 0.379, 0.293, 0.207, 0.120
    first, second = kept_in_both_orders(hot, TopP(0.75), NONE, scores)
    assert first.tolist() == [[True, True, True, False]]
    assert second.tolist() == [[True, True, False, False]]
    first, second = kept_in_both_orders(hot, TopK(2), NONE, scores)
    assert torch.equal(first, second)


def test_a_chain_is_transformers_chain_and_counts_what_it_keeps() -> None:
    ids, scores = drawn(4, 9, 200, 3)
    ours = Processors([RepetitionPenalty(1.2), Temperature(0.8), TopK(50), TopP(0.9), MinP(0.02)])
    chain = transformers.LogitsProcessorList(
        [
            transformers.RepetitionPenaltyLogitsProcessor(1.2),
            transformers.TemperatureLogitsWarper(0.8),
            transformers.TopKLogitsWarper(50),
            transformers.TopPLogitsWarper(0.9),
            transformers.MinPLogitsWarper(0.02),
        ]
    )
    assert torch.equal(ours(ids, scores), chain(ids, scores.clone()))
    counts = ours.kept(ids, scores)
    assert len(counts) == len(ours) + 1 == len(list(ours)) + 1
    assert counts[0].tolist() == counts[2].tolist() == [200] * 4
    assert counts[3].tolist() == [50] * 4
    assert counts[-1].tolist() == (ours(ids, scores) > -torch.inf).sum(-1).tolist()
    assert torch.equal(Processors()(ids, scores), scores)


def test_theirs_may_stand_in_our_chain() -> None:
    ids, scores = drawn(2, 5, 20, 0)
    mixed = Processors([transformers.TopKLogitsWarper(3), Temperature(2.0)])
    assert torch.equal(mixed(ids, scores), Temperature(2.0)(ids, TopK(3)(ids, scores)))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Temperature(0.0), ValueError, "temperature must be in"),
        (lambda: Temperature(math.nan), TypeError, "temperature must be a finite number"),
        (lambda: TopK(0), ValueError, "top_k"),
        (lambda: TopK(2, 0), ValueError, "min_tokens_to_keep"),
        (lambda: TopP(0.0), ValueError, "top_p"),
        (lambda: TopP("0.9"), TypeError, "top_p"),  # type: ignore[arg-type]
        (lambda: MinP(1.1), ValueError, "min_p"),
        (lambda: Typical(1.0), ValueError, "mass"),
        (lambda: Epsilon(0), ValueError, "epsilon"),
        (lambda: Eta(True), TypeError, "epsilon"),
        (lambda: RepetitionPenalty(-1), ValueError, "penalty"),
        (lambda: RepetitionPenalty(1.1, -1), ValueError, "prompt_ignore_length"),
        (lambda: PresencePenalty(math.inf), TypeError, "penalty"),
        (lambda: FrequencyPenalty(1.0, 1.5), ValueError, "prompt_length"),  # type: ignore[arg-type]
        (lambda: NoRepeatNGram(0), ValueError, "ngram_size"),
        (lambda: MinLength(-1, 0), ValueError, "min_length"),
        (lambda: MinLength(1, ()), ValueError, "eos_token_id"),
        (lambda: MinNewTokens(1, 1, "2"), TypeError, "eos_token_id"),  # type: ignore[arg-type]
        (lambda: Processors([TopK(1), 3]), TypeError, "processors"),  # type: ignore[list-item]
    ],
)
def test_bad_parameters_are_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("ids", "scores", "error", "message"),
    [
        (torch.zeros(1, 2), torch.zeros(1, 4), TypeError, "input_ids must be int64"),
        (torch.zeros(2, 2, dtype=torch.long), torch.zeros(1, 4), ValueError, "wanted input_ids"),
        (torch.zeros(1, 2, dtype=torch.long), torch.zeros(4), ValueError, "wanted logits"),
        (torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 4, dtype=torch.long), TypeError, "floating-point"),
        (torch.tensor([[1, 4]]), torch.zeros(1, 4), ValueError, "0 to 3, got 4"),
        (torch.tensor([[1, -1]]), torch.zeros(1, 4), ValueError, "0 to 3, got -1"),
    ],
)
def test_bad_calls_are_refused(ids: Tensor, scores: Tensor, error: type[Exception], message: str) -> None:
    for processor in (TopK(1), RepetitionPenalty(1.1), NoRepeatNGram(1), Processors([Temperature(1.0)])):
        with pytest.raises(error, match=message):
            processor(ids, scores)
