"""vLLM's interface, and its answers to what is not plain greedy decoding: beams, edited logits, a whole script.

Recorded so that the tests and a page can hold ``kb.serving`` against them where there is no vLLM. What is compared is
names, ids and scores, not speed, so vLLM does not compile here, except for the script, which is left as a reader would
write it.
"""

import hashlib
from typing import Any

import torch

from benchmarks.foreign.vllm_driver import Vllm, run_script, signatures
from benchmarks.measurement import Measurement
from benchmarks.measurements.vllm_tokens import TEXTS, line
from benchmarks.record import BENCHMARKS
from kb import checkpoints

DEVICES = ("cpu",)
PROMPTS = TEXTS[:4]
NEW_TOKENS = 16
BEAMS: dict[str, Any] = {"beam_width": 4, "max_tokens": 12}
EDITS: dict[str, dict[str, Any]] = {  # what JSON has: ids that are keys are strings
    "repetition_penalty": {"repetition_penalty": 1.3},
    "frequency_penalty": {"frequency_penalty": 0.9},
    "presence_penalty": {"presence_penalty": 1.5},
    "logit_bias": {"logit_bias": {"28": 6.0, "30": -100.0, "253": 2.5}},
    "allowed_token_ids": {"allowed_token_ids": [28, 30, 198, 216, *range(32, 42)]},
    "bad_words": {"bad_words": ["Paris", "was", "the", "100"]},
    "min_tokens": {"min_tokens": 9, "stop_token_ids": [28, 30, 198, 253]},
    "together": {"repetition_penalty": 1.2, "presence_penalty": 0.5, "bad_words": ["a"], "logit_bias": {"28": 1.5}},
}
SCRIPT = BENCHMARKS / "scripts" / "quickstart.py"
OURS, THEIRS = "from kb.serving import", "from vllm import"
LONGEST_DEFAULT = 60  # characters; vLLM's configurations are none of a script's business


def measure(device: torch.device) -> Measurement:
    """Ask vLLM for all of it."""
    folder = checkpoints.load("smollm2-135m", device=device).folder
    script = SCRIPT.read_text(encoding="utf-8")
    assert script.count(OURS) == 1
    lines = run_script(script.replace(OURS, THEIRS), str(folder))
    with Vllm(folder, enable_prefix_caching=False, enforce_eager=True) as vllm:
        edited = {
            name: vllm.generate(PROMPTS, temperature=0.0, max_tokens=NEW_TOKENS, ignore_eos=True, **edits)
            for name, edits in EDITS.items()
        }
        beams = vllm.beam_search(PROMPTS, **BEAMS)
    return Measurement(
        title="vLLM's interface, and its greedy tokens and beams with edited logits, SmolLM2-135M, float32",
        method=f"{len(PROMPTS)} texts: up to {NEW_TOKENS} greedy tokens with each of {len(EDITS)} edits, and "
        f"{BEAMS['beam_width']} beams of {BEAMS['max_tokens']} tokens; one script; signatures of public classes",
        facts={
            "signatures": {name: _short(taken) for name, taken in signatures().items()},
            "script": lines,
            "script_sha256": hashlib.sha256(script.encode()).hexdigest(),
            "prompts": list(PROMPTS),
            "edited": {name: [line(tokens) for tokens in answers] for name, answers in edited.items()},
            "edits": EDITS,
            "beams": [[_beam(one) for one in found] for found in beams],
            "beam_params": BEAMS,
            "vllm": vllm.about,
        },
    )


def _beam(one: dict[str, object]) -> dict[str, object]:
    tokens, score = one["tokens"], one["cum_logprob"]
    assert isinstance(tokens, list)
    assert isinstance(score, float)
    return {"tokens": line(tokens), "cum_logprob": round(score, 4)}


def _short(taken: dict[str, str | None]) -> list[str]:
    """Names in their order, each with its default where it has one: an object of JSON would be sorted."""
    shown = {name: "..." if default and len(default) > LONGEST_DEFAULT else default for name, default in taken.items()}
    return [name if default is None else f"{name}={default}" for name, default in shown.items()]
