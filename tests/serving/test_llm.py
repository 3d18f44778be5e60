"""vLLM's interface: what goes in, what comes out, what is refused, on small models and on the real one."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kb import checkpoints
from kb.lm import DecoderLM, generate
from kb.serving import LLM, BeamSearchParams, Engine, EngineConfig, RequestOutputKind, SamplingParams, SchedulerConfig
from kb.serving.beam_search import beam_search_loop

Answers = Callable[[DecoderLM, list[int], SamplingParams], list[list[int]]]
GREEDY = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)


@pytest.fixture(scope="module")
def small(tiny: DecoderLM) -> LLM:
    return LLM(tiny, block_size=4, num_gpu_blocks_override=60, max_num_seqs=8)


@pytest.fixture(scope="module")
def real() -> LLM:
    return LLM("smollm2-135m", max_num_seqs=32)


# What comes out.


def test_prompts_of_every_kind_in_their_order(small: LLM, tiny: DecoderLM, answers: Answers) -> None:
    wanted = answers(tiny, [5, 6, 7], GREEDY)[0]
    prompts = [[5, 6, 7], {"prompt_token_ids": [5, 6, 7]}, torch.tensor([5, 6, 7]), (5, 6, 7)]
    outputs = small.generate(prompts, GREEDY)
    assert [list(output.outputs[0].token_ids) for output in outputs] == [wanted] * 4
    assert [list(output.outputs[0].token_ids) for output in small.generate([5, 6, 7], GREEDY)] == [wanted]
    assert small.generate([], GREEDY) == []
    assert outputs[0].prompt_token_ids == [5, 6, 7]
    assert outputs[0].outputs[0].finish_reason == "length"
    assert all(output.finished for output in outputs)


def test_params_for_each_prompt(small: LLM, tiny: DecoderLM, answers: Answers) -> None:
    each = [SamplingParams(temperature=0, max_tokens=3 + i, ignore_eos=True) for i in range(3)]
    outputs = small.generate([[1, 2]] * 3, each)
    assert [len(output.outputs[0].token_ids) for output in outputs] == [3, 4, 5]


def test_samples_of_one_prompt_share_it_and_have_seeds_of_their_own(
    small: LLM, tiny: DecoderLM, answers: Answers
) -> None:
    params = SamplingParams(n=4, seed=11, max_tokens=6, ignore_eos=True)
    used = []
    small.llm_engine.core.observers.append(lambda plan, now: used.append((now.used_blocks, now.shared_blocks)))
    (output,) = small.generate([list(range(1, 15))], params)
    small.llm_engine.core.observers.clear()
    assert [list(one.token_ids) for one in output.outputs] == answers(tiny, list(range(1, 15)), params)
    assert [one.index for one in output.outputs] == [0, 1, 2, 3]
    # 14 tokens take 4 blocks, all shared at first; then three of four copy the last, and each takes another.
    assert used[0] == (4, 4)
    assert max(used) == (3 + 4 * 2, 3)


def test_unseeded_requests_differ_and_follow_the_seed_of_the_engine(tiny: DecoderLM) -> None:
    params = SamplingParams(max_tokens=12, ignore_eos=True)

    def run(seed: int) -> list[tuple[int, ...]]:
        llm = LLM(tiny, block_size=4, num_gpu_blocks_override=60, seed=seed)
        return [tuple(output.outputs[0].token_ids) for output in llm.generate([[3, 4]] * 3, params)]

    first = run(0)
    assert len(set(first)) == 3
    assert run(0) == first
    assert run(1) != first


def test_ends_by_end_of_sequence_stop_id_or_length(tiny: DecoderLM, answers: Answers) -> None:
    llm = LLM(tiny, block_size=4, num_gpu_blocks_override=60, max_model_len=20)
    free = llm.generate([[7, 8, 9]], SamplingParams(temperature=0, max_tokens=10, ignore_eos=True))[0].outputs[0]
    tokens = list(free.token_ids)
    stop = tokens[3]
    (output,) = llm.generate([[7, 8, 9]], SamplingParams(temperature=0, max_tokens=10, stop_token_ids=[stop]))
    one = output.outputs[0]
    first = tokens.index(stop)
    assert (list(one.token_ids), one.finish_reason, one.stop_reason) == (tokens[: first + 1], "stop", stop)
    (output,) = llm.generate([[7, 8, 9]], SamplingParams(temperature=0, max_tokens=500, ignore_eos=True))
    assert len(output.outputs[0].token_ids) == 17  # max_model_len
    assert output.outputs[0].finish_reason == "length"
    (output,) = llm.generate([[7, 8, 9]], SamplingParams(temperature=0, max_tokens=None, ignore_eos=True))
    assert len(output.outputs[0].token_ids) == 17


def test_an_end_of_sequence_token_ends_it_unless_ignored_or_too_early(model_maker: Callable[..., DecoderLM]) -> None:
    model = model_maker()
    tokens = generate(model, [7, 8, 9], 8, stop_ids=()).tolist()[3:]
    ending = model_maker(eos_ids=(tokens[2],))
    llm = LLM(ending, block_size=4, num_gpu_blocks_override=60)

    def run(**options: Any) -> Any:
        return llm.generate([[7, 8, 9]], SamplingParams(temperature=0, max_tokens=8, **options))[0].outputs[0]

    one = run()
    assert list(one.token_ids) == tokens[: tokens.index(tokens[2]) + 1]
    assert (one.finish_reason, one.stop_reason) == ("stop", None)
    assert list(run(ignore_eos=True).token_ids) == tokens
    late = run(min_tokens=5)
    assert tokens[2] not in list(late.token_ids)[:5]


def test_log_probabilities_are_those_of_the_model(small: LLM, tiny: DecoderLM) -> None:
    params = SamplingParams(temperature=0.7, seed=3, max_tokens=5, logprobs=3, prompt_logprobs=2, ignore_eos=True)
    (output,) = small.generate([[9, 8, 7, 6, 5]], params)
    one = output.outputs[0]
    tokens = [9, 8, 7, 6, 5, *one.token_ids]
    wanted = tiny(torch.tensor([tokens]))[0].float().log_softmax(dim=-1)
    assert one.logprobs is not None
    assert output.prompt_logprobs is not None
    assert output.prompt_logprobs[0] is None
    places = [*output.prompt_logprobs[1:], *one.logprobs]
    assert len(places) == len(tokens) - 1
    for place, described in enumerate(places):
        assert described is not None
        chosen = tokens[place + 1]
        assert described[chosen].logprob == pytest.approx(float(wanted[place, chosen]), abs=1e-5)
        top = wanted[place].topk(3 if place >= 4 else 2).indices.tolist()
        assert set(described) == {chosen, *top}
    assert one.cumulative_logprob == pytest.approx(
        sum(float(wanted[4 + i, token]) for i, token in enumerate(one.token_ids)), abs=1e-4
    )


def test_prompt_log_probabilities_come_whole_through_chunks_preemption_and_cached_prefixes(tiny: DecoderLM) -> None:
    prompt = [1 + i % 50 for i in range(30)]
    params = SamplingParams(temperature=0, max_tokens=20, prompt_logprobs=0, ignore_eos=True)
    llm = LLM(tiny, block_size=4, num_gpu_blocks_override=16, max_num_batched_tokens=8, max_num_seqs=4)
    wanted = tiny(torch.tensor([prompt]))[0].float().log_softmax(dim=-1)
    for output in llm.generate([prompt, prompt[:17], prompt], params):
        ids = output.prompt_token_ids or []
        found = [next(iter(place.values())).logprob for place in (output.prompt_logprobs or [])[1:] if place]
        assert found == pytest.approx([float(wanted[i, ids[i + 1]]) for i in range(len(ids) - 1)], abs=1e-5)


def test_a_cached_prefix_is_counted_and_changes_nothing(small: LLM) -> None:
    small.reset_prefix_cache()
    prompt = [1 + i % 7 for i in range(22)]
    first, second = small.generate([prompt], GREEDY)[0], small.generate([prompt], GREEDY)[0]
    salted = small.generate([{"prompt_token_ids": prompt, "cache_salt": "mine"}], GREEDY)[0]
    assert (first.num_cached_tokens, second.num_cached_tokens, salted.num_cached_tokens) == (0, 20, 0)
    assert list(first.outputs[0].token_ids) == list(second.outputs[0].token_ids) == list(salted.outputs[0].token_ids)


def test_a_prefix_survives_on_disk_from_one_engine_to_the_next(tiny: DecoderLM, tmp_path: Path) -> None:
    per_block = tiny.config.kv_elements_per_token * 4 * 8
    options: dict[str, Any] = {
        "block_size": 4,
        "num_gpu_blocks_override": 10,
        "max_model_len": 40,
        "kv_offloading_folder": tmp_path / "pages",
        "kv_offloading_disk_size": 50 * per_block / 2**30,
    }
    prompt = [1 + i % 9 for i in range(25)]
    first = LLM(tiny, **options)
    wanted = list(first.generate([prompt], GREEDY)[0].outputs[0].token_ids)
    first.generate([[50 - i for i in range(31)]], GREEDY)  # takes all blocks, so that the first prompt's go to disk
    first.close()
    again = LLM(tiny, **options)
    (output,) = again.generate([prompt], GREEDY)
    assert output.num_cached_tokens == 24
    assert list(output.outputs[0].token_ids) == wanted
    again.close()
    for page in (tmp_path / "pages").iterdir():  # a flipped bit in every page: computed again, not believed
        if page.is_file() and page.stat().st_size > 100:
            content = bytearray(page.read_bytes())
            content[-5] ^= 1
            page.write_bytes(content)
    third = LLM(tiny, **options)
    (output,) = third.generate([prompt], GREEDY)
    assert list(output.outputs[0].token_ids) == wanted
    third.close()


# Beams.


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


# Streams and aborts.


def make_engine(model: DecoderLM, **limits: Any) -> Engine:
    return Engine(model, EngineConfig(60, 4, scheduler=SchedulerConfig(**{"max_num_seqs": 8, **limits})))


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


# What is refused, and what harms nobody else.


class Poisoned(torch.nn.Module):
    """An output head that gives NaN where the hidden state is that of one request."""

    def __init__(self, head: torch.nn.Module, trigger: torch.Tensor) -> None:
        super().__init__()
        self.head, self.trigger = head, trigger

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(x)
        bad = ((x - self.trigger).abs().amax(dim=-1) < 1e-6)[..., None]
        return torch.where(bad, torch.nan, logits)


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


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([[1, 2], []], r"prompts\[1\] is empty"),
        ([[1, 61]], r"prompts\[0\]: token ids must be in 0 to 60, got 61"),
        ([[1, -1]], "must be in 0 to 60, got -1"),
        ([[1] * 96], "has 96 tokens, and at most 95 leave room"),
        (["a text"], "there is no tokenizer"),
        ([{"prompt_token_ids": [1], "image": 3}], "has 'image'"),
        ([{}], "must have prompt or prompt_token_ids"),
        ([{"prompt_token_ids": [1], "cache_salt": ""}], "cache_salt must not be empty"),
    ],
)
def test_a_bad_prompt_is_named_before_anything_runs(small: LLM, prompts: Any, message: str) -> None:
    steps = small.llm_engine.core.statistics
    with pytest.raises(ValueError, match=message):
        small.generate([[1, 2], *prompts] if prompts[0] != [1, 2] and "0" not in message[:11] else prompts, GREEDY)
    assert small.llm_engine.core.statistics is steps
    assert not small.llm_engine.has_unfinished_requests()


@pytest.mark.parametrize("prompts", [7, [1.5], [[1, "a"]], [[True]], [b"bytes"], [None]])
def test_a_prompt_of_another_kind_is_a_type_error(small: LLM, prompts: Any) -> None:
    with pytest.raises(TypeError, match="prompt"):
        small.generate(prompts, GREEDY)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (SamplingParams(stop_token_ids=[99]), r"prompts\[0\]: stop_token_ids must be ids from 0 to 60"),
        (SamplingParams(logprobs=21), "at most 20"),
        (SamplingParams(n=9, seed=0), "n must be at most max_num_seqs = 8, got 9"),
        (SamplingParams(stop="x"), "stop needs a tokenizer"),
        (SamplingParams(min_tokens=95, max_tokens=None), "min_tokens"),
        ([GREEDY, GREEDY], "wanted sampling_params for 1 prompts, got 2"),
    ],
)
def test_params_that_cannot_be_are_refused(small: LLM, params: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small.generate([[1, 2]], params)
    assert not small.llm_engine.has_unfinished_requests()


def test_params_of_another_kind_are_refused(small: LLM) -> None:
    with pytest.raises(TypeError, match="must be SamplingParams, got dict"):
        small.generate([[1, 2]], {"temperature": 0})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be BeamSearchParams"):
        small.beam_search([[1, 2]], GREEDY)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (BeamSearchParams(9, 4), "beam_width must be at most max_num_seqs = 8"),
        (BeamSearchParams(2, 95), "exceed max_model_len = 96"),
        (BeamSearchParams(8, 40), "may need 88 blocks, of 60"),
    ],
)
def test_beams_that_do_not_fit_are_refused(small: LLM, params: BeamSearchParams, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small.beam_search([[1, 2]], params)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"quantization": "awq"}, TypeError, "quantization is not an option"),
        ({"tensor_parallel_size": 2}, ValueError, "tensor_parallel_size must be 1"),
        ({"block_size": 0}, ValueError, "block_size must be an integer of at least 1, got 0"),
        ({"max_model_len": 97}, ValueError, "context of 96, got 97"),
        ({"num_gpu_blocks_override": 5, "max_model_len": 96}, ValueError, "needs 6 blocks"),
        ({"num_gpu_blocks_override": 10**12}, ValueError, "num_blocks"),
        ({"kv_cache_memory_bytes": 100}, ValueError, "one block of 16 tokens takes"),
        ({"swap_space": -1}, ValueError, "swap_space must be a number of GiB"),
        ({"preemption": "swap"}, ValueError, "swap_space"),
        ({"kv_offloading_disk_size": 1}, ValueError, "need each other"),
        ({"max_num_batched_tokens": 4}, ValueError, "under max_num_seqs"),
        ({"dtype": "int3"}, ValueError, "dtype must be one of"),
        ({"tokenizer": 3}, TypeError, "tokenizer must be a folder"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(
    tiny: DecoderLM, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        LLM("smollm2-135m" if "dtype" in options else tiny, **options)


def test_models_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a checkpoint"):
        LLM("no-such-model")
    with pytest.raises(TypeError, match="model must be"):
        LLM(7)  # type: ignore[arg-type]


def test_a_rope_whose_angles_depend_on_the_length_is_refused(model_maker: Callable[..., DecoderLM]) -> None:
    from kb.nn import RopeParameters

    model = model_maker(rope=RopeParameters(type="dynamic", factor=2.0, max_positions=32))
    with pytest.raises(ValueError, match="rope_type 'dynamic'"):
        LLM(model, num_gpu_blocks_override=60)


# The real model.


def test_the_real_model_writes_what_generate_writes(real: LLM) -> None:
    prompts = ["The sun rises in the", "Once upon a time", "def fibonacci(n):"]
    plain = DecoderLM.from_checkpoint(checkpoints.load("smollm2-135m"))
    tokenizer = real.get_tokenizer()
    params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
    for prompt, output in zip(prompts, real.generate(prompts, params), strict=True):
        wanted = generate(plain, tokenizer.encode(prompt), 12, stop_ids=()).tolist()
        assert [*(output.prompt_token_ids or []), *output.outputs[0].token_ids] == wanted
        assert output.prompt == prompt
        assert prompt + output.outputs[0].text == tokenizer.decode(wanted)


def test_a_stop_string_cuts_the_text(real: LLM) -> None:
    (output,) = real.generate("The sun rises in the", SamplingParams(temperature=0, max_tokens=20, stop=["golden"]))
    one = output.outputs[0]
    assert one.text == " sky, casting a "
    assert (one.finish_reason, one.stop_reason) == ("stop", "golden")


def test_a_conversation_goes_through_the_template(real: LLM) -> None:
    messages = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    (output,) = real.chat(messages, SamplingParams(temperature=0, max_tokens=10))
    assert "Paris" in output.outputs[0].text
    assert (output.prompt or "").endswith("<|im_start|>assistant\n")
    assert output.outputs[0].finish_reason == "stop"


def test_logprobs_name_their_tokens(real: LLM) -> None:
    (output,) = real.generate("The sun rises in the", SamplingParams(temperature=0, max_tokens=1, logprobs=2))
    (place,) = output.outputs[0].logprobs or []
    assert next(iter(place.values())).decoded_token == " sky"
    assert math.exp(next(iter(place.values())).logprob) > 0.1


# What an outsider found.


def test_prompt_log_probabilities_are_computed_even_where_the_prefix_is_cached(tiny: DecoderLM) -> None:
    engine = make_engine(tiny)
    prompt = [1 + i % 50 for i in range(20)]
    wanted = tiny(torch.tensor([prompt]))[0].float().log_softmax(dim=-1)
    for skip in (None, False):
        params = SamplingParams(temperature=0, max_tokens=2, prompt_logprobs=0, skip_reading_prefix_cache=skip)
        for _ in range(2):
            engine.add_request("a", prompt, params)
            (output,) = [one for _ in range(9) for one in engine.step() if one.finished]
            found = [next(iter(place.values())).logprob for place in (output.prompt_logprobs or [])[1:] if place]
            assert found == pytest.approx([float(wanted[i, prompt[i + 1]]) for i in range(19)], abs=1e-5)


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


def test_a_reset_forgets_the_tiers_too(model_maker: Callable[..., DecoderLM], answers: Answers) -> None:
    model = model_maker()
    llm = LLM(model, block_size=4, num_gpu_blocks_override=10, max_model_len=40, kv_offloading_size=0.001)
    prompt, other = [1 + i % 9 for i in range(25)], [50 - i for i in range(31)]
    llm.generate([prompt], GREEDY)
    llm.generate([other], GREEDY)  # so that the first prompt's blocks go to host memory
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    assert llm.reset_prefix_cache()
    (output,) = llm.generate([prompt], GREEDY)
    assert output.num_cached_tokens == 0
    assert list(output.outputs[0].token_ids) == answers(model, prompt, GREEDY)[0]


def test_waste_counts_a_shared_block_once(tiny: DecoderLM) -> None:
    engine = Engine(tiny, EngineConfig(60, 16, scheduler=SchedulerConfig(max_num_seqs=8)))
    engine.add_request("a", [1], SamplingParams(n=8, seed=0, max_tokens=3, ignore_eos=True))
    engine.step()
    assert engine.core.statistics is not None
    assert engine.core.statistics.waste == pytest.approx(15 / 16)
