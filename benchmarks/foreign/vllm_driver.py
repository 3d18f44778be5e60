"""vLLM as a contender: one ``LLM`` in a process of its own, in the settings that are fastest for it on a CPU.

Tried on two cores of an AMD EPYC (Zen 5) with the 32 requests of the race: compiling beats ``enforce_eager`` by a
fifth, Intel's OpenMP, which vLLM's installation brings along, beats GNU's by 5 %, and tcmalloc glibc's malloc by 3 %.
Both are preloaded, as its manual recommends; tcmalloc where the system has one. No block size or token budget that it
takes was faster than its defaults, 128 and 4096. To compile it needs a C++ compiler, and most of a minute, once.
"""

import ctypes.util
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from benchmarks import environments
from benchmarks.foreign.vllm_worker import Prompts
from benchmarks.foreign.worker import Worker
from book.notebooks import ROOT

LOAD_SECONDS = 600.0
RUN_SECONDS = 600.0
CACHE_GIB = 2  # for keys and values: 46,592 tokens of SmolLM2-135M in float32, more than any script here uses


class Vllm:
    """A model that vLLM serves in float32, with as many threads as torch uses here.

    Args:
        folder: Of the model, as Hugging Face lays it out.
        **settings: Further arguments of vLLM's ``LLM``.

    Attributes:
        about: Versions and threads there, the settings, and what was preloaded.

    Raises:
        NotInstalledError: its environment could not be made.
        WorkerError: it could not load the model.
    """

    def __init__(self, folder: Path, **settings: object) -> None:
        self._worker, preloaded = _start()
        try:
            asked = {"model": str(folder), "dtype": "float32", **settings}
            told: dict[str, object] = self._worker.call("load", timeout=LOAD_SECONDS, settings=asked)
        except BaseException:
            self._worker.close()
            raise
        self.about = {**told, "settings": {"dtype": "float32", **settings}, "preloaded": preloaded}

    def generate(self, prompts: Prompts, **sampling: object) -> list[list[int]]:
        """The tokens that each prompt is continued with; ``sampling`` are arguments of vLLM's ``SamplingParams``."""
        tokens: list[list[int]] = self._worker.call(
            "generate", timeout=RUN_SECONDS, prompts=_plain(prompts), sampling=sampling
        )
        return tokens

    def generate_with_gaps(self, prompts: Prompts, **sampling: object) -> list[dict[str, Any]]:
        """Of each prompt its ids (``prompt``), its ``tokens``, and the ``gaps`` between the two best logits."""
        found: list[dict[str, Any]] = self._worker.call(
            "generate_with_gaps", timeout=RUN_SECONDS, prompts=_plain(prompts), sampling=sampling
        )
        return found

    def beam_search(self, prompts: Prompts, **params: object) -> list[list[dict[str, Any]]]:
        """The beams of each prompt, best first: ``tokens``, prompt included, and ``cum_logprob``."""
        found: list[list[dict[str, Any]]] = self._worker.call(
            "beam_search", timeout=RUN_SECONDS, prompts=_plain(prompts), params=params
        )
        return found

    def cpu_seconds(self) -> float:
        """Processor time that vLLM has used so far."""
        return self._worker.cpu_seconds()

    def close(self) -> None:
        """End the process."""
        self._worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def signatures() -> dict[str, dict[str, str | None]]:
    """What vLLM's classes and the methods of its ``LLM`` take: by name its default, None where there is none."""
    worker, _ = _start()
    with worker:
        found: dict[str, dict[str, str | None]] = worker.call("signatures", timeout=LOAD_SECONDS)
        return found


def run_script(text: str, *arguments: str) -> list[str]:
    """Run a script in vLLM's environment; returns what it leaves in ``lines``."""
    worker, _ = _start()
    with worker:
        limit = LOAD_SECONDS + RUN_SECONDS
        lines: list[str] = worker.call("run_script", timeout=limit, text=text, argv=arguments)
        return lines


def _start() -> tuple[Worker, list[str]]:
    """A process in vLLM's environment, and the names of what was preloaded there."""
    python = environments.python(environments.VLLM)
    preloaded = _preloaded(python)
    command = [str(python), "-m", "benchmarks.foreign.vllm_worker"]
    worker = Worker("vLLM", command, environment=_variables(preloaded), folder=ROOT)
    return worker, [Path(library).name for library in preloaded]


def _plain(prompts: Prompts) -> Sequence[str | list[int]]:
    return [prompt if isinstance(prompt, str) else list(prompt) for prompt in prompts]


def _preloaded(python: Path) -> list[str]:
    openmp = python.parent.parent / "lib" / "libiomp5.so"
    found = [ctypes.util.find_library("tcmalloc_minimal"), str(openmp) if openmp.exists() else None]
    return [library for library in found if library]


def _variables(preloaded: Sequence[str]) -> dict[str, str]:
    """This process's variables, without what leads back to the book's environment, and vLLM's."""
    ours = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    kept = {key: value for key, value in os.environ.items() if key not in ours}
    return kept | {
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "KMP_BLOCKTIME": "1",  # ms that a thread spins after its work: none while the other side runs
        "LD_PRELOAD": ":".join(preloaded),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CACHE_ROOT": str(environments.ENVIRONMENTS / "vllm-cache"),
        "VLLM_CPU_KVCACHE_SPACE": str(CACHE_GIB),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
