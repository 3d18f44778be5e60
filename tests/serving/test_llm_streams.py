"""Streams, aborts and beams of one engine: each gets its own tokens, and leaving one disturbs no other."""

from collections.abc import Callable

import pytest

from kb.lm import DecoderLM, generate
from kb.serving import LLM, BeamSearchParams, RequestOutputKind, SamplingParams
from kb.serving.beam_search import beam_search_loop
from tests.serving.asking import GREEDY, Answers, make_engine


@pytest.mark.parametrize(("width", "penalty"), [(1, 1.0), (3, 1.0), (4, 0.0), (4, 2.0)])
def test_beams_are_those_of_the_search_without_a_cache(
    model_maker: Callable[..., DecoderLM], width: int, penalty: float
) -> None:
    model = model_maker(eos_ids=(11,))
    llm = LLM(model, block_size=4, num_gpu_blocks_override=60, max_num_seqs=8)
    params = BeamSearchParams(width, 7, length_penalty=penalty)
    prompts = [[5, 6, 7, 8, 9], [3], list(range(1, 20))]
    for prompt, output in zip(prompts, llm.beam_search(prompts, params), strict=True):
        wanted = beam_search_loop(model, prompt, params)
        assert [one.tokens for one in output.sequences] == [beam.tokens for beam in wanted]
        for one, beam in zip(output.sequences, wanted, strict=True):
            assert one.cum_logprob == pytest.approx(beam.cumulative, abs=1e-5)
            ended = one.tokens[-1] == 11 and len(one.tokens) > len(prompt)
            assert one.finish_reason == ("stop" if ended else "length")
            assert len(one.logprobs) == len(one.tokens) - len(prompt)
    assert llm.llm_engine.core.tables.num_used == 0


def test_a_beam_of_one_is_greedy(small: LLM, tiny: DecoderLM) -> None:
    (output,) = small.beam_search([[5, 6, 7]], BeamSearchParams(1, 8, ignore_eos=True))
    assert output.sequences[0].tokens == generate(tiny, [5, 6, 7], 8, stop_ids=()).tolist()


def test_streams_that_are_read_in_turn_give_their_own_tokens(tiny: DecoderLM, answers: Answers) -> None:
    engine = make_engine(tiny)
    params = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True, output_kind=RequestOutputKind.DELTA)
    prompts = [[1, 2, 3], [4, 5], [6] * 9]
    streams = [engine.stream(prompt, params) for prompt in prompts]
    found: list[list[int]] = [[], [], []]
    for outputs in zip(*streams, strict=True):
        for place, output in enumerate(outputs):
            assert len(output.outputs[0].token_ids) == 1
            found[place] += output.outputs[0].token_ids
    assert found == [answers(tiny, prompt, params)[0] for prompt in prompts]
    assert not engine.has_unfinished_requests()


def test_leaving_a_stream_aborts_it_and_nobody_else(tiny: DecoderLM, answers: Answers) -> None:
    engine = make_engine(tiny)
    engine.add_request("other", [9, 9], GREEDY)
    stream = engine.stream([1, 2, 3], SamplingParams(temperature=0, max_tokens=50, ignore_eos=True))
    next(stream)
    stream.close()
    outputs = []
    while engine.has_unfinished_requests():
        outputs += engine.step()
    assert list(outputs[-1].outputs[0].token_ids) == answers(tiny, [9, 9], GREEDY)[0]
    assert engine.core.tables.num_used == 0


def test_an_aborted_request_tells_what_it_had(tiny: DecoderLM, answers: Answers) -> None:
    engine = make_engine(tiny)
    params = SamplingParams(n=2, seed=0, max_tokens=9, ignore_eos=True)
    engine.add_request("a", [1, 2, 3], params)
    for _ in range(3):
        engine.step()
    (output,) = engine.abort_request(["a", "unknown"])
    assert [one.finish_reason for one in output.outputs] == ["abort", "abort"]
    assert [list(one.token_ids) for one in output.outputs] == [one[:3] for one in answers(tiny, [1, 2, 3], params)]
    assert (engine.step(), engine.has_unfinished_requests(), engine.core.tables.num_used) == ([], False, 0)
    engine.add_request("a", [1], params)  # the name is free again


def test_a_stream_whose_request_is_aborted_ends(tiny: DecoderLM) -> None:
    engine = make_engine(tiny)
    for end in (lambda: engine.abort_request("x"), engine.close):
        stream = engine.stream([1, 2, 3], SamplingParams(temperature=0, max_tokens=50, ignore_eos=True), request_id="x")
        next(stream)
        end()
        assert [output.outputs[0].finish_reason for output in stream] == ["abort"]
    with pytest.raises(ValueError, match="closed"):
        engine.add_request("y", [1], GREEDY)
    engine.close()  # a second time does nothing


def test_beams_cannot_be_collected_and_ids_may_come_twice(tiny: DecoderLM) -> None:
    engine = make_engine(tiny)
    engine.add_beam_search("b", [1, 2], BeamSearchParams(2, 3))
    with pytest.raises(ValueError, match="'b'"):
        engine.collect(["b"])
    engine.add_request("a", [1, 2], GREEDY)
    assert len([one for one in engine.collect(["a", "a"]) if one.finished]) == 1
