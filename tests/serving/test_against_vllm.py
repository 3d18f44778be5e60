"""``kb.serving`` held against what vLLM 0.32 answered, as recorded: interface, tokens, beams, a script."""

import dataclasses
import hashlib
import json
import runpy
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.agreement import TIE, agree
from benchmarks.foreign.vllm_worker import parameters, run_script
from benchmarks.measurements.vllm_interface import BEAMS, EDITS, NEW_TOKENS, OURS, SCRIPT, THEIRS
from benchmarks.record import RESULTS
from benchmarks.serving import by_kb, reference_gap
from book import notebooks
from kb import checkpoints, serving
from kb.lm import DecoderLM
from kb.serving import LLM, BeamSearchParams, SamplingParams
from kb.serving.engine_args import EngineArgs
from kb.serving.logits_edits import SamplingRow, edit

# Of the 32 prompts and their 64 tokens on record, for the time that all of them take; a race compares them all.
RANDOM_PROMPTS, RANDOM_TOKENS = 8, 8

# What only one of both has, by class; for vLLM's classes everything that is not listed is shared, with its default.
ONLY_OURS = {
    "EngineArgs": {
        "device",
        "kv_offloading_disk_size",
        "kv_offloading_folder",
        "preemption",
        "swap_space",
    }
}
NOT_HERE = {
    "SamplingParams": {"output_text_buffer_length", "_eos_token_id", "_all_stop_token_ids", "_bad_words_token_ids"}
    | {"_watermarking_skipped"},
    "BeamSearchParams": set(),
    "RequestOutput": {"lora_request", "encoder_prompt", "encoder_prompt_token_ids", "num_cache_creation_tokens"}
    | {"prompt_token_id_logprobs", "kv_transfer_params", "ec_transfer_params"},
    "CompletionOutput": {"routed_experts", "lora_request", "sampling_mask", "spec_decode_metrics", "weight_versions"},
    "Logprob": set(),
    "BeamSearchOutput": set(),
    "BeamSearchSequence": {"orig_prompt", "lora_request"},
}
OTHER_DEFAULTS = {
    # Frozen params hold tuples; vLLM turns None into an empty list.
    "SamplingParams": {"stop": "()", "stop_token_ids": "()", "bad_words": "()"},
    "BeamSearchSequence": {"logprobs": "<factory>"},
    # A cache of fixed size and a step of fixed size, where vLLM looks at the machine; no model unless one is named.
    "EngineArgs": {
        "model": None,
        "block_size": "16",
        "disable_log_stats": "True",
        "enable_chunked_prefill": "True",
        "enable_prefix_caching": "True",
        "gpu_memory_utilization": "0.9",
        "kv_offloading_size": "0",
        "max_num_seqs": "256",
    },
}


def facts(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}-cpu.json").read_text(encoding="utf-8"))["facts"]
    return found


def signature(name: str) -> dict[str, str | None]:
    """What vLLM takes, in its order, with the default of each or None."""
    found = [one.partition("=") for one in facts("vllm_interface")["signatures"][name]]
    return {one: default if equals else None for one, equals, default in found}


def ids(line: str) -> list[int]:
    return [int(token) for token in line.split()]


@pytest.fixture(scope="module")
def folder() -> str:
    return str(checkpoints.load("smollm2-135m").folder)


@pytest.fixture(scope="module")
def llm(folder: str) -> LLM:
    return LLM(folder, dtype="float32", enable_prefix_caching=False, max_num_seqs=32)


@pytest.fixture(scope="module")
def plain() -> DecoderLM:
    return DecoderLM.from_checkpoint(checkpoints.load("smollm2-135m"), share=True)


@pytest.mark.parametrize("name", [*NOT_HERE, "EngineArgs"])
def test_classes_take_what_vllms_take(name: str) -> None:
    theirs = signature(name)
    ours = parameters(EngineArgs if name == "EngineArgs" else getattr(serving, name))
    absent = set(theirs) - set(ours)
    assert absent == NOT_HERE.get(name, absent)
    assert set(ours) - set(theirs) == ONLY_OURS.get(name, set())
    shared = [one for one in theirs if one in ours]
    if name != "EngineArgs":  # all of these options are keywords
        assert [one for one in ours if one in theirs] == shared
    assert {one: ours[one] for one in shared if ours[one] != theirs[one]} == OTHER_DEFAULTS.get(name, {})


def test_methods_take_what_vllms_take() -> None:
    theirs = facts("vllm_interface")["signatures"]
    public = {name for name in vars(LLM) if not name.startswith("_")}
    assert {name for name in public if f"LLM.{name}" not in theirs} == {"close"}
    for name in public - {"close"}:
        ours = parameters(getattr(LLM, name))
        shared = {one: default for one, default in signature(f"LLM.{name}").items() if one in ours}
        assert list(ours.items()) == list(shared.items())


def test_options_that_are_not_here_are_refused_by_name(folder: str) -> None:
    absent = (set(signature("EngineArgs")) | set(signature("LLM"))) - {
        one.name for one in dataclasses.fields(EngineArgs)
    }
    assert len(absent) > 100
    for name in absent:
        with pytest.raises(TypeError, match=f"^{name} is not an option of kb.serving.LLM"):
            LLM(folder, **{name: None})


def test_the_script_says_the_same_on_both(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), folder])
    text, recorded = SCRIPT.read_text(encoding="utf-8"), facts("vllm_interface")
    assert text.count(OURS) == 1
    assert hashlib.sha256(text.encode()).hexdigest() == recorded["script_sha256"]
    assert runpy.run_path(str(SCRIPT))["lines"] == recorded["script"]


def test_the_page_shows_the_script() -> None:
    page = notebooks.read(notebooks.CHAPTERS / "serving" / "vllm.ipynb")
    shown = "\n\n".join(notebooks.source(cell) for cell in notebooks.code_cells(page))
    text = SCRIPT.read_text(encoding="utf-8")
    assert text[text.index("greedy = ") :].strip() in shown
    assert f"{OURS} LLM, SamplingParams" in shown


def test_the_worker_runs_a_script_as_from_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [])
    text = f"import sys\n{OURS} LLM\nlines = [*sys.argv[1:], LLM.__name__]\n"
    assert run_script(text, ["a", "b"]) == ["a", "b", "LLM"]
    with pytest.raises(ImportError):
        run_script(text.replace(OURS, THEIRS).replace("vllm", "no_such_engine"), [])


def test_beams_are_vllms(llm: LLM) -> None:
    recorded = facts("vllm_interface")
    assert recorded["beam_params"] == BEAMS
    outputs = llm.beam_search(recorded["prompts"], BeamSearchParams(**BEAMS))
    for output, wanted in zip(outputs, recorded["beams"], strict=True):
        assert [one.tokens for one in output.sequences] == [ids(beam["tokens"]) for beam in wanted]
        scores = [one.cum_logprob for one in output.sequences]
        assert scores == pytest.approx([beam["cum_logprob"] for beam in wanted], abs=TIE)


@pytest.mark.parametrize("name", EDITS)
def test_edited_logits_give_vllms_tokens(llm: LLM, plain: DecoderLM, name: str) -> None:
    recorded = facts("vllm_interface")
    edits = dict(EDITS[name])
    if "logit_bias" in edits:
        edits["logit_bias"] = {int(token): bias for token, bias in edits["logit_bias"].items()}
    params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True, **edits)
    outputs = llm.generate(recorded["prompts"], params, use_tqdm=False)
    prompts = [output.prompt_token_ids or [] for output in outputs]
    ours = [list(output.outputs[0].token_ids) for output in outputs]
    theirs = [ids(line) for line in recorded["edited"][name]]
    bad_words = params.bad_words_token_ids(llm.get_tokenizer())

    def gap(tokens: Any) -> float:
        (prompt,) = [one for one in prompts if list(tokens[: len(one)]) == one]
        with torch.inference_mode():
            logits_V = plain(torch.tensor([list(tokens)]), last_only=True)[0, -1]
        eos = plain.config.eos_ids
        row = SamplingRow(params, prompt, tokens[len(prompt) :], eos_ids=eos, bad_words=bad_words)
        best, second = edit(logits_V, row).topk(2).values
        return float(best - second)

    agree(prompts, ours, theirs, gap)


@pytest.mark.slow
def test_greedy_tokens_are_vllms(llm: LLM, plain: DecoderLM, record_property: Callable[[str, object], None]) -> None:
    recorded = facts("vllm_tokens")
    texts = recorded["texts"]
    params = SamplingParams(temperature=0, max_tokens=recorded["max_tokens"])
    outputs = llm.generate(recorded["prompts"], params, use_tqdm=False)
    prompts = [output.prompt_token_ids or [] for output in outputs]
    assert prompts == [ids(one["prompt"]) for one in texts]
    ours = [list(output.outputs[0].token_ids) for output in outputs]
    found = agree(prompts, ours, [ids(one["tokens"]) for one in texts], reference_gap(plain))
    record_property("ties", len(found.ties))
    some = recorded["random"][:RANDOM_PROMPTS]
    random = [ids(one["prompt"]) for one in some]
    theirs = [ids(one["tokens"])[:RANDOM_TOKENS] for one in some]
    found = agree(random, by_kb(llm, random, RANDOM_TOKENS), theirs, reference_gap(plain))
    record_property("ties among random ids", len(found.ties))
