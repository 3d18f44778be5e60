"""vLLM's interface on small models: what goes in and what comes out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kb.lm import DecoderLM, generate
from kb.serving import LLM, Engine, EngineConfig, SamplingParams, SchedulerConfig
from tests.serving.asking import GREEDY, Answers, make_engine


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
