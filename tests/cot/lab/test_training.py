"""Training at equal arithmetic: what the loss sees, what a budget pays for, and runs that repeat."""

import copy
import math
from itertools import islice
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from kb.cot.lab.formats import Batch, Format, batch, sequence
from kb.cot.lab.task import held_out, is_held_out, stream
from kb.cot.lab.tasks import Parity, WordProblems
from kb.cot.lab.training import Corpus, Recipe, batches, masked_loss, sequence_flops
from kb.cot.lab.vocabulary import PAD, decode
from kb.counting import count

TINY = Recipe(3e7, width=16, layers=1, heads=2, batch=4, max_positions=64)
BITS = Corpus(Parity(), (3, 4, 5), "scratchpad")


def made(counted: Any = "completion") -> Batch:
    return batch([sequence(Parity().follow(bits), "scratchpad", counted) for bits in ("101", "11011")])


def test_the_loss_is_the_mean_over_counted_tokens_one_by_one() -> None:
    model, given = TINY.model(0), made()
    losses = []
    for tokens_T, counted_T in zip(given.tokens_BT, given.counted_BT, strict=True):
        for t in range(1, len(tokens_T)):
            if counted_T[t]:
                logits_V = model(tokens_T[None, :t])[0, -1]
                losses.append(-F.log_softmax(logits_V, dim=-1)[tokens_T[t]])
    assert len(losses) == int(given.counted_BT.sum()) == len("110#0$") + len("10010#0$")
    torch.testing.assert_close(masked_loss(model, given), torch.stack(losses).mean())


@pytest.mark.parametrize("counted", ["all", "completion", "answer"])
def test_no_gradient_comes_from_a_token_that_is_not_counted(counted: Any) -> None:
    given = made(counted)
    logits_BTV = torch.randn(2, given.tokens_BT.shape[1] - 1, 50, requires_grad=True)
    masked_loss(lambda _: logits_BTV, given).backward()
    assert logits_BTV.grad is not None
    assert torch.equal(logits_BTV.grad.abs().sum(-1) > 0, given.counted_BT[:, 1:])


def test_padding_changes_neither_loss_nor_gradient() -> None:
    model, given = TINY.model(0), made()
    wider = Batch(F.pad(given.tokens_BT, (0, 5), value=PAD), F.pad(given.counted_BT, (0, 5)))
    pairs = []
    for one in (given, wider):
        loss = masked_loss(model, one)
        pairs.append((loss, *torch.autograd.grad(loss, list(model.parameters()))))
    torch.testing.assert_close(*pairs)


def test_what_is_not_counted_does_not_train() -> None:
    with pytest.raises(ValueError, match="counted_BT must mark at least one token"):
        masked_loss(TINY.model(0), Batch(made().tokens_BT, torch.zeros_like(made().counted_BT)))


def test_the_operations_are_those_that_are_counted() -> None:
    for recipe in (TINY, Recipe(1, width=24, layers=2, heads=3)):
        model, tokens_BT = recipe.model(0), torch.ones(1, 11, dtype=torch.int64)
        with torch.no_grad():
            forward = count(lambda model=model, tokens_BT=tokens_BT: model(tokens_BT)).flops
        assert sequence_flops(recipe.config, 12) == 3 * forward


def test_a_budget_buys_as_many_batches_as_it_pays_for_and_fewer_of_longer_ones() -> None:
    spent = {}
    for how in ("direct", "scratchpad", "filler"):
        corpus = Corpus(Parity(), (6,), how)  # type: ignore[arg-type]
        found = TINY.affordable(corpus.batches(TINY.batch, 0))
        each = 4 * sequence_flops(TINY.config, found[0].tokens_BT.shape[1])
        assert len(found) == math.floor(TINY.flops / each)
        spent[how] = (len(found), len(found) * each)
    assert spent["direct"][0] > spent["scratchpad"][0] == spent["filler"][0]
    assert all(TINY.flops * 0.9 < flops <= TINY.flops for _, flops in spent.values())
    with pytest.raises(ValueError, match="flops 10 do not pay for one batch of 4"):
        Recipe(10, width=16, batch=4).affordable(BITS.batches(4, 0))


def test_a_batch_has_one_length_and_one_format_and_nothing_held_out() -> None:
    corpus = Corpus(Parity(), (3, 4, 5), {"direct": 1, "scratchpad": 3})
    found = list(islice(corpus.batches(8, 0), 200))
    texts = [[decode(row) for row in one.tokens_BT.tolist()] for one in found]
    assert all(len({len(text) for text in of}) == 1 for of in texts)
    assert all(len({"?" in text for text in of}) == 1 for of in texts)
    questions = {text.split("#")[0].split("?")[0] for of in texts for text in of}
    assert {len(question) for question in questions} == {3, 4, 5}
    assert not any(is_held_out(question) for question in questions)
    share = sum("?" in of[0] for of in texts) / len(texts)
    assert share == pytest.approx(0.75, abs=0.12)  # four standard deviations


def test_a_format_without_a_share_never_comes_and_examples_may_end() -> None:
    shares: dict[Format, float] = {"direct": 0, "filler": 0.5, "scratchpad": 0}
    examples = held_out(Parity(), 6, 5)
    found = list(batches(iter(examples), shares, "all", 2, 0))
    assert len(found) == 2
    assert all("?." in decode(row) for one in found for row in one.tokens_BT.tolist())


def test_a_run_repeats_and_another_seed_is_another_run() -> None:
    runs = {}
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        model, steps = TINY.trained(BITS, seed=seed)
        runs[name] = [step.loss for step in steps], model.state_dict()
    assert runs["first"][0] == runs["again"][0] != runs["other"][0]
    torch.testing.assert_close(runs["first"][1], runs["again"][1], rtol=0, atol=0)
    losses = runs["first"][0]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_training_goes_on_from_a_start_in_place() -> None:
    start = TINY.model(3)
    before = copy.deepcopy(start.state_dict())
    model, _ = TINY.trained(BITS, seed=0, start=start)
    assert model is start
    assert any(not torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_bad_corpora_and_recipes_are_refused() -> None:
    with pytest.raises(ValueError, match="format must be one of"):
        Corpus(Parity(), (3,), "cot")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shares must be numbers of at least 0, got -1 for direct"):
        Corpus(Parity(), (3,), {"direct": -1})
    with pytest.raises(ValueError, match="shares must have one above 0"):
        Corpus(Parity(), (3,), {"direct": 0.0})
    with pytest.raises(ValueError, match="shares must have one above 0"):
        Corpus(Parity(), (3,), {})
    with pytest.raises(TypeError, match="shares must be a format or a mapping"):
        Corpus(Parity(), (3,), ["direct"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="counted must be one of"):
        Corpus(Parity(), (3,), "direct", "none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="length must be an integer of at least 1"):
        Corpus(WordProblems(), (0,), "direct")
    with pytest.raises(ValueError, match="size must be an integer"):
        next(BITS.batches(0, 0))
    for name, wrong in {"flops": 0, "width": 0, "layers": 1.5, "batch": -1, "learning_rate": "x", "std": 0}.items():
        with pytest.raises(ValueError, match=f"{name} must be"):
            Recipe(**{"flops": 1e9, name: wrong})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="warmup must be a share"):
        Recipe(1e9, warmup=1)
    with pytest.raises(ValueError, match="width 10 is not a multiple of heads 4"):
        Recipe(1e9, width=10)


def test_a_sequence_beyond_the_positions_is_refused_before_training() -> None:
    short = Recipe(3e7, width=16, layers=1, heads=2, batch=4, max_positions=8)
    assert short.affordable(Corpus(Parity(), (5,), "direct").batches(4, 0))[0].tokens_BT.shape[1] == 8
    with pytest.raises(ValueError, match="max_positions 8 is too little for a sequence of 9 tokens"):
        short.trained(Corpus(Parity(), (6,), "direct"), seed=0)


def test_a_length_of_no_token_has_no_cost() -> None:
    assert sequence_flops(TINY.config, 1) == 0
    for wrong in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match="length must be an integer of at least 1"):
            sequence_flops(TINY.config, wrong)  # type: ignore[arg-type]


def test_a_stream_of_questions_is_what_a_corpus_shows() -> None:
    (first,) = islice(Corpus(Parity(), (5,), "direct").batches(3, 7), 1)
    wanted = [one.question for one in islice(stream(Parity(), (5,), 7, together=3), 3)]
    assert [decode(row).split("#")[0] for row in first.tokens_BT.tolist()] == wanted
