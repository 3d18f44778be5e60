"""What goes wrong in an engine harms nobody else: no distribution, a step that raises, an interrupt, an observer."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from kb.lm import DecoderLM
from kb.serving import LLM, BeamSearchParams, SamplingParams
from tests.serving.asking import GREEDY, Answers, Poisoned, make_engine


def test_a_request_without_a_distribution_fails_alone(model_maker: Callable[..., DecoderLM], answers: Answers) -> None:
    model = model_maker()
    wanted = answers(model, [1, 2, 3], GREEDY)[0]
    bad = [8, 9, 10]
    from kb.lm import NoCache

    trigger = model.norm(model.hidden(torch.tensor([bad]), NoCache())[0, -1])
    model.lm_head = Poisoned(model.lm_head, trigger)  # type: ignore[assignment]
    llm = LLM(model, block_size=4, num_gpu_blocks_override=60)
    good, failed, other = llm.generate([[1, 2, 3], bad, [1, 2, 3]], GREEDY)
    assert list(good.outputs[0].token_ids) == list(other.outputs[0].token_ids) == wanted
    assert (failed.outputs[0].finish_reason, failed.finished) == ("error", True)
    assert "NaN" in str(failed.outputs[0].stop_reason)
    assert llm.llm_engine.core.tables.num_used == 0


def test_a_step_that_raises_loses_no_request(
    tiny: DecoderLM, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(tiny)
    for place, prompt in enumerate(([1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6, 7], [9])):
        engine.add_request(str(place), prompt, SamplingParams(n=2, seed=1, max_tokens=6, ignore_eos=True))
    runs = 0
    run = engine.core.runner.run

    def fail(*arguments: Any, **options: Any) -> torch.Tensor:
        nonlocal runs
        runs += 1
        if runs % 3 == 0:
            raise RuntimeError("out of memory, say")
        return run(*arguments, **options)

    monkeypatch.setattr(engine.core.runner, "run", fail)
    done = {}
    while engine.has_unfinished_requests():
        try:
            outputs = engine.step()
        except RuntimeError:
            continue
        done.update({output.request_id: output for output in outputs if output.finished})
    params = SamplingParams(n=2, seed=1, max_tokens=6, ignore_eos=True)
    assert runs > 6
    for place, prompt in enumerate(([1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6, 7], [9])):
        assert [list(one.token_ids) for one in done[str(place)].outputs] == answers(tiny, prompt, params)


def test_a_prompt_or_a_beam_without_a_distribution_fails_alone(
    model_maker: Callable[..., DecoderLM], answers: Answers
) -> None:
    from kb.lm import NoCache

    model = model_maker()
    wanted = answers(model, [1, 2, 3], GREEDY)[0]
    trigger = model.norm(model.hidden(torch.tensor([[8, 9, 10, 11]]), NoCache())[0, 1])
    model.lm_head = Poisoned(model.lm_head, trigger)  # type: ignore[assignment]
    llm = LLM(model, block_size=4, num_gpu_blocks_override=60)
    scored = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True, prompt_logprobs=1)
    good, failed = llm.generate([[1, 2, 3], [8, 9, 10, 11]], [GREEDY, scored])
    assert list(good.outputs[0].token_ids) == wanted
    assert failed.outputs[0].finish_reason == "error"
    fine, broken = llm.beam_search([[1, 2, 3], [8, 9]], BeamSearchParams(2, 3))
    assert len(fine.sequences) == 2
    assert {one.finish_reason for one in broken.sequences} == {"error"}
    assert llm.llm_engine.core.tables.num_used == 0


def test_an_interrupt_while_planning_leaves_no_wrong_block(
    tiny: DecoderLM, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = LLM(tiny, block_size=4, num_gpu_blocks_override=60)
    scheduler = llm.llm_engine.core.scheduler
    plan = scheduler.schedule

    def interrupted() -> Any:
        plan()
        raise KeyboardInterrupt

    prompt = list(range(1, 20))
    with monkeypatch.context() as patch:
        patch.setattr(scheduler, "schedule", interrupted)
        with pytest.raises(KeyboardInterrupt):
            llm.generate([prompt], GREEDY)
    (output,) = llm.generate([prompt], GREEDY)
    assert output.num_cached_tokens == 0
    assert list(output.outputs[0].token_ids) == answers(tiny, prompt, GREEDY)[0]


def test_an_observer_that_raises_loses_no_output(tiny: DecoderLM, answers: Answers) -> None:
    engine = make_engine(tiny)

    def fail(plan: Any, now: Any) -> None:
        raise RuntimeError("an observer")

    engine.core.observers.append(fail)
    engine.add_request("a", [1, 2, 3], GREEDY)
    outputs = []
    while engine.has_unfinished_requests():
        with pytest.raises(RuntimeError, match="an observer"):
            engine.step()
    engine.core.observers.clear()
    outputs = engine.step()
    assert list(outputs[-1].outputs[0].token_ids) == answers(tiny, [1, 2, 3], GREEDY)[0]
