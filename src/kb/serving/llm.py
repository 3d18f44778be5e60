"""``LLM``: vLLM's offline interface, so that a script runs here or there by changing one import.

Unusual: arguments of vLLM that are not implemented are refused by name rather than ignored.
"""

from collections.abc import Mapping
from collections.abc import Sequence as Values
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from kb.datasets import shows_progress
from kb.lm import DecoderLM
from kb.serving.beam_search_params import BeamSearchParams
from kb.serving.engine_args import EngineArgs
from kb.serving.inputs import Prompt, PromptTokens, TextTokenizer
from kb.serving.outputs import BeamSearchOutput, RequestOutput
from kb.serving.sampling_params import RequestOutputKind, SamplingParams

# Entries of a generation_config.json, and what they are called here.
_GENERATION = {"max_new_tokens": "max_tokens"} | {
    name: name for name in ("repetition_penalty", "temperature", "top_k", "top_p", "min_p")
}


class LLM:
    """A model behind vLLM's interface for batches of prompts.

    Args:
        model: Name of a pinned checkpoint, a Hugging Face folder, or a ``kb.lm.DecoderLM``.
        **options: Of :class:`~kb.serving.engine_args.EngineArgs`, whose names are vLLM's.

    On a CPU, the whole process keeps more of its freed memory once there is an ``LLM`` (see
    :class:`~kb.serving.runner.ModelRunner`), and where numba's kernels have run, children must be started by "spawn":
    OpenMP ends a forked one.

    Raises:
        TypeError: an option is of another kind, or one of vLLM's that is not implemented.
        ValueError: no such model, or sizes that do not fit it or the memory.
    """

    def __init__(self, model: str | Path | DecoderLM, **options: Any) -> None:
        known = {one.name for one in fields(EngineArgs)}
        if absent := sorted(set(options) - known):
            raise TypeError(f"{absent[0]} is not an option of kb.serving.LLM; it has {', '.join(sorted(known))}")
        self.llm_engine, served = EngineArgs(model, **options).make_engine()
        self._generation = served.generation
        self._requests = 0

    def generate(
        self,
        prompts: Prompt | Values[Prompt],
        sampling_params: SamplingParams | Values[SamplingParams] | None = None,
        *,
        use_tqdm: bool = True,
    ) -> list[RequestOutput]:
        """Complete prompts; all are checked before the first is computed.

        Args:
            prompts: One or many; each a text, token ids, or a mapping with ``prompt`` or ``prompt_token_ids`` and
                perhaps ``cache_salt``.
            sampling_params: For all, or one for each; what the model's folder recommends if not given.
            use_tqdm: Whether to draw a progress bar (``KB_PROGRESS=0`` turns all of them off).

        Returns:
            The finished requests, in the order of the prompts. One whose logits held no distribution has the finish
            reason "error", and the others their tokens.

        Raises:
            TypeError: an argument is of another kind.
            ValueError: a prompt or its params ask for what cannot be; it is named, and nothing was computed.
        """
        read = self._read(prompts)
        if sampling_params is None:
            sampling_params = self.get_default_sampling_params()
        each = list(sampling_params) if isinstance(sampling_params, Values) else [sampling_params] * len(read)
        if len(each) != len(read):
            raise ValueError(f"wanted sampling_params for {len(read)} prompts, got {len(each)}")
        for place, (prompt, params) in enumerate(zip(read, each, strict=True)):
            try:
                self.llm_engine.check(prompt, params)
            except ValueError as error:
                raise ValueError(f"prompts[{place}]: {error}") from error
        ids = self._new_ids(len(read))
        done: dict[str, RequestOutput] = {}
        try:
            for request_id, prompt, params in zip(ids, read, each, strict=True):
                params = replace(params, output_kind=RequestOutputKind.FINAL_ONLY)
                self.llm_engine.add_request(request_id, prompt, params)
            with self._bar(len(read), "prompts", use_tqdm) as bar:
                for output in self.llm_engine.collect(ids):
                    done[output.request_id] = output
                    bar.update()
        finally:
            self.llm_engine.abort_request(ids)
        return [done[request_id] for request_id in ids]

    def chat(
        self,
        messages: Values[Mapping[str, Any]] | Values[Values[Mapping[str, Any]]],
        sampling_params: SamplingParams | Values[SamplingParams] | None = None,
        *,
        use_tqdm: bool = True,
        add_generation_prompt: bool = True,
    ) -> list[RequestOutput]:
        """Answer conversations: :meth:`generate` on what the model's chat template makes of them.

        Args:
            messages: One conversation, mappings with ``role`` and ``content``; or many.
            sampling_params: As in :meth:`generate`.
            use_tqdm: As in :meth:`generate`.
            add_generation_prompt: Whether to end each with the start of the assistant's turn.

        Raises:
            TypeError: as in :meth:`generate`.
            ValueError: likewise; or there is no chat template, or it refuses a conversation.
        """
        tokenizer: Any = self.get_tokenizer()
        if not hasattr(tokenizer, "apply_chat_template"):
            raise ValueError("this tokenizer has no chat template; join the messages yourself")
        if not isinstance(messages, Values) or isinstance(messages, str) or not messages:
            raise ValueError(f"messages must hold at least one message, got {messages!r}")
        many = messages if isinstance(messages[0], Values) else [messages]
        options = {"add_generation_prompt": add_generation_prompt, "tokenize": False}
        texts = [tokenizer.apply_chat_template(one, **options) for one in many]
        # The template has written all special tokens itself.
        prompts = [
            {"prompt": text, "prompt_token_ids": tokenizer.encode(text, add_special_tokens=False)} for text in texts
        ]
        return self.generate(prompts, sampling_params, use_tqdm=use_tqdm)

    def beam_search(
        self, prompts: Prompt | Values[Prompt], params: BeamSearchParams, *, use_tqdm: bool = False
    ) -> list[BeamSearchOutput]:
        """Search each prompt's most likely continuations; beams are forks, and share the blocks of what they share.

        Raises:
            TypeError: an argument is of another kind.
            ValueError: a prompt cannot be run, or the beams do not fit the engine; nothing was computed.
        """
        read = self._read(prompts)
        for prompt in read:
            self.llm_engine.check_beams(prompt, params)
        ids = self._new_ids(len(read))
        try:
            searches = [
                self.llm_engine.add_beam_search(request_id, prompt, params)
                for request_id, prompt in zip(ids, read, strict=True)
            ]
            with self._bar(params.max_tokens, "tokens", use_tqdm) as bar:
                while not all(request.done for request in searches):
                    self.llm_engine.advance()
                    bar.update(min(request.search.steps for request in searches) - bar.n)
        finally:
            self.llm_engine.abort_request(ids)
        return [request.output(self.llm_engine.tokenizer) for request in searches]

    def get_tokenizer(self) -> TextTokenizer:
        """The tokenizer.

        Raises:
            ValueError: there is none.
        """
        if self.llm_engine.tokenizer is None:
            raise ValueError("this LLM has no tokenizer")
        return self.llm_engine.tokenizer

    def get_default_sampling_params(self) -> SamplingParams:
        """What the model's ``generation_config.json`` recommends; vLLM's defaults where it is silent."""
        found = {ours: self._generation[theirs] for theirs, ours in _GENERATION.items() if theirs in self._generation}
        return SamplingParams(**{name: value for name, value in found.items() if value is not None})

    def close(self) -> None:
        """End what runs and let go of the offloading folder.

        Blocks that the prefix cache holds go to the tiers before: to disk, or to host memory where there is some, whose
        content is gone then.

        Raises:
            TierError: a tier failed or is stuck.
        """
        self.llm_engine.close()

    def reset_prefix_cache(self) -> bool:
        """Forget all cached blocks; False, and nothing changed, while a request holds one."""
        return self.llm_engine.reset_prefix_cache()

    def _read(self, prompts: Prompt | Values[Prompt]) -> list[PromptTokens]:
        single = isinstance(prompts, str | Mapping) or hasattr(prompts, "tolist")
        if not single and not isinstance(prompts, Values):
            raise TypeError(f"prompts must be a prompt or a sequence of them, got {type(prompts).__name__}")
        # A list of integers is one prompt, as in vLLM.
        single = single or (len(prompts) > 0 and all(isinstance(one, int) for one in prompts))
        if not single and not prompts:
            return []
        each: Any = [prompts] if single else prompts
        return [self.llm_engine.read_prompt(one, name=f"prompts[{place}]") for place, one in enumerate(each)]

    def _new_ids(self, count: int) -> list[str]:
        first = self._requests
        self._requests += count
        return [f"llm-{number}" for number in range(first, first + count)]

    def _bar(self, total: int, unit: str, wanted: bool) -> Any:
        shown = wanted and shows_progress()
        return tqdm(total=total, unit=f" {unit}", disable=not shown, leave=False, desc="kb.serving")
