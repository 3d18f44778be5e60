"""The engine: requests in, one step at a time, tokens out.

Requests may come and go between steps. Each gets the tokens that ``kb.lm.generate`` would give it alone, whatever
shares its steps and however often it is cut, preempted, swapped or forked on the way.

Source: Kwon et al. 2023, PagedAttention, section 4; interface: vLLM's ``LLMEngine``.
"""

import secrets
from collections import deque
from collections.abc import Iterable, Iterator

import torch

from kb.lm import DecoderLM
from kb.serving.beam_request import BeamRequest
from kb.serving.beam_search import BeamSearch
from kb.serving.beam_search_params import BeamSearchParams
from kb.serving.detokenizer import Detokenizer
from kb.serving.engine_config import EngineConfig
from kb.serving.engine_core import EngineCore
from kb.serving.inputs import Prompt, PromptTokens, TextTokenizer, read_prompt
from kb.serving.outputs import Finish, RequestOutput
from kb.serving.request import Continuation, Request
from kb.serving.sampler import row_generator
from kb.serving.sampling_params import SamplingParams
from kb.serving.tiers.store import TieredStore


class Engine:
    """Serves one model.

    Args:
        model: In inference mode; the cache lies on its device.
        config: Sizes and limits.
        tokenizer: For prompts and outputs as text; None for ids alone.
        tiers: Where blocks that the prefix cache gives up are kept; None for nowhere.

    Raises:
        ValueError: the sizes do not fit the model or the memory, or the model's rotary angles depend on the length.
    """

    def __init__(
        self,
        model: DecoderLM,
        config: EngineConfig,
        *,
        tokenizer: TextTokenizer | None = None,
        tiers: TieredStore | None = None,
    ) -> None:
        self.model, self.config, self.tokenizer = model, config, tokenizer
        self.max_model_len = config.longest(model.config.context_length)
        self.core = EngineCore(model, config, tiers)
        # The tokenizer's own first: a sequence that ends with another one is told which, as in vLLM.
        own = getattr(tokenizer, "eos_id", None)
        known = [token for token in model.config.eos_ids if token < model.config.vocab_size]
        self.eos_ids = tuple(sorted(known, key=lambda token: token != own))
        self._closed = False
        self._requests: dict[str, Request | BeamRequest] = {}
        self._fresh_seeds = torch.Generator().manual_seed(config.seed)
        self._inboxes: dict[str, deque[RequestOutput]] = {}  # of requests that are streamed
        self._unread: list[RequestOutput] = []

    def has_unfinished_requests(self) -> bool:
        """Whether :meth:`step` has something to do."""
        return bool(self._requests)

    def read_prompt(self, prompt: Prompt, *, name: str = "prompt") -> PromptTokens:
        """Read and check a prompt, see :func:`kb.serving.inputs.read_prompt`."""
        vocab_size = self.model.config.vocab_size
        return read_prompt(prompt, self.tokenizer, vocab_size=vocab_size, longest=self.max_model_len, name=name)

    def check(self, prompt: PromptTokens, params: SamplingParams) -> None:
        """Check what a request asks for against the model and the engine's limits.

        Raises:
            TypeError: ``params`` is something else.
            ValueError: an id is not in the vocabulary, stop strings or bad words come without a tokenizer, more
                log-probabilities or samples are wanted than the engine gives, or ``min_tokens`` exceed the context.
        """
        if not isinstance(params, SamplingParams):
            raise TypeError(f"sampling_params must be SamplingParams, got {type(params).__name__}")
        if not prompt.ids:
            raise ValueError("prompt is empty: at least one token is needed")
        vocab_size = self.model.config.vocab_size
        params.verify(vocab_size, max_logprobs=self.config.max_logprobs)
        params.limit(self.max_model_len - len(prompt.ids))
        most = self.config.scheduler.max_num_seqs
        if params.n > most:
            raise ValueError(f"n must be at most max_num_seqs = {most}, got {params.n}")
        if self.tokenizer is None and (params.stop or params.bad_words):
            name = "stop" if params.stop else "bad_words"
            raise ValueError(f"{name} needs a tokenizer, and this engine has none")
        if any(token >= vocab_size for word in self._bad_words(params) for token in word):
            raise ValueError(f"bad_words have tokens that the model's vocabulary of {vocab_size} has not")

    def add_request(self, request_id: str, prompt: Prompt | PromptTokens, params: SamplingParams) -> None:
        """Queue a request.

        Args:
            request_id: Unlike that of any request that is not finished.
            prompt: A text, ids, a mapping as vLLM takes it, or what :meth:`read_prompt` gave.
            params: How its tokens are chosen, and when it ends.

        Raises:
            TypeError: an argument is of another kind.
            ValueError: the id is taken, or see :meth:`read_prompt` and :meth:`check`. Nothing is queued then.
        """
        self._require_new(request_id)
        read = prompt if isinstance(prompt, PromptTokens) else self.read_prompt(prompt)
        self.check(read, params)
        # Log-probabilities of a prompt need every token computed: with a salt that nobody can know, no block is found.
        alone = params.skip_reading_prefix_cache or params.prompt_logprobs is not None
        salt = f"unread {secrets.token_hex(16)}" if alone else read.salt
        sequence = self.core.new_sequence(list(read.ids), width=params.n, salt=salt)
        continuations = []
        for index in range(params.n):
            generator = row_generator(params, index, self._fresh_seeds, self.core.device)
            text = Detokenizer(self.tokenizer, params, read.ids)
            continuations.append(Continuation(index, None if index else sequence, generator, text))
        request = Request(
            request_id,
            read.text,
            list(read.ids),
            params,
            params.limit(self.max_model_len - len(read.ids)),
            self.eos_ids,
            self._bad_words(params),
            continuations,
            self.tokenizer if params.detokenize else None,
            prompt_logprobs=None if params.prompt_logprobs is None else [None],
        )
        self._requests[request_id] = request
        self.core.add(sequence, (request, continuations[0]))

    def add_beam_search(self, request_id: str, prompt: Prompt | PromptTokens, params: BeamSearchParams) -> BeamRequest:
        """Queue a beam search; what is returned tells when it is done, and its beams.

        Raises:
            TypeError: an argument is of another kind.
            ValueError: as in :meth:`add_request`; or there are not enough sequences or blocks for all beams at once.
        """
        self._require_new(request_id)
        read = prompt if isinstance(prompt, PromptTokens) else self.read_prompt(prompt)
        self.check_beams(read, params)
        sequence = self.core.new_sequence(list(read.ids), width=params.beam_width, salt=read.salt)
        search = BeamSearch(list(read.ids), params, self.eos_ids)
        request = BeamRequest(request_id, search, [sequence], sequence.rank[0])
        self._requests[request_id] = request
        self.core.add(sequence, request)
        return request

    def check_beams(self, prompt: PromptTokens, params: BeamSearchParams) -> None:
        """Check that a beam search fits the engine, see :meth:`add_beam_search`."""
        if not isinstance(params, BeamSearchParams):
            raise TypeError(f"params must be BeamSearchParams, got {type(params).__name__}")
        width, length = params.beam_width, len(prompt.ids) + params.max_tokens
        if length > self.max_model_len:
            raise ValueError(
                f"{len(prompt.ids)} prompt tokens and {params.max_tokens} new ones exceed max_model_len = "
                f"{self.max_model_len}"
            )
        if width > self.config.scheduler.max_num_seqs:
            raise ValueError(
                f"beam_width must be at most max_num_seqs = {self.config.scheduler.max_num_seqs}, got {width}"
            )
        blocks = width * -(-length // self.config.block_size)
        if blocks > self.config.num_blocks:
            raise ValueError(f"{width} beams of {length} tokens may need {blocks} blocks, of {self.config.num_blocks}")

    def abort_request(self, request_ids: str | Iterable[str]) -> list[RequestOutput]:
        """End requests now; ids that are not known are passed over, as they may just have ended.

        Returns:
            What each has generated so far, with the finish reason "abort"; nothing for beam searches.
        """
        ended = []
        for request_id in [request_ids] if isinstance(request_ids, str) else list(request_ids):
            request = self._requests.pop(request_id, None)
            if isinstance(request, BeamRequest):
                for sequence in request.sequences:
                    self.core.remove(sequence)
            elif request is not None:
                for one in request.continuations:
                    if one.finish is None and one.sequence is not None:
                        self.core.remove(one.sequence)
                    one.finish = one.finish or Finish("abort", None)
                output = request.output()
                assert output is not None
                ended.append(output)
                if request_id in self._inboxes:
                    self._inboxes[request_id].append(output)
        return ended

    def step(self) -> list[RequestOutput]:
        """Run one step; returns what requests have to tell, each as its ``output_kind`` asks."""
        self.advance()
        outputs, self._unread = self._unread, []
        return outputs

    def collect(self, request_ids: Iterable[str]) -> Iterator[RequestOutput]:
        """Run steps, and give the outputs of these requests as they come, until all are finished.

        Outputs of others wait for the next :meth:`step`. Leaving the loop aborts those that are not finished.

        Raises:
            ValueError: one of them is not known, or is being collected already.
        """
        names = list(dict.fromkeys(request_ids))
        for name in names:
            if not isinstance(self._requests.get(name), Request) or name in self._inboxes:
                raise ValueError(f"request_id {name!r} is not of a request whose outputs are to be had")
        inbox: deque[RequestOutput] = deque()
        self._inboxes |= dict.fromkeys(names, inbox)
        return self._collect(names, inbox)

    def stream(
        self, prompt: Prompt, params: SamplingParams, *, request_id: str | None = None
    ) -> Iterator[RequestOutput]:
        """Queue a request, and run steps as long as its outputs are asked for; leaving the loop aborts it.

        Several streams may be read in turn: each step serves all of them.

        Raises:
            TypeError: as in :meth:`add_request`, before the first output is asked for.
            ValueError: likewise.
        """
        name = request_id or f"stream-{self.core.arrivals}"
        self.add_request(name, prompt, params)
        return self.collect([name])

    def close(self) -> None:
        """End all requests, and hand the cached blocks to the tiers, where the next engine may find them.

        A second time does nothing; new requests are refused from then on.
        """
        self.abort_request(list(self._requests))
        if not self._closed:
            self._closed = True
            self.core.close()

    def reset_prefix_cache(self) -> bool:
        """Forget all cached blocks; False, and nothing changed, while a request holds one."""
        return self.core.reset_prefix_cache()

    def _collect(self, names: list[str], inbox: deque[RequestOutput]) -> Iterator[RequestOutput]:
        missing = set(names)
        try:
            while missing:
                while not inbox:
                    if not missing & self._requests.keys():
                        return
                    self.advance()
                output = inbox.popleft()
                if output.finished:
                    missing.remove(output.request_id)
                yield output
        finally:
            for name in names:
                del self._inboxes[name]
            self.abort_request(missing)

    def advance(self) -> None:
        """Run one step, and keep what there is to tell for whoever asks."""
        if not self._requests:
            return
        for request in self.core.step():
            if isinstance(request, BeamRequest):
                if request.done:
                    del self._requests[request.id]
                continue
            output = request.output()
            if request.finished:
                del self._requests[request.id]
            if output is not None:
                self._inboxes.get(request.id, self._unread).append(output)
        self.core.notify()

    def _bad_words(self, params: SamplingParams) -> tuple[tuple[int, ...], ...]:
        return params.bad_words_token_ids(self.tokenizer) if self.tokenizer is not None else ()

    def _require_new(self, request_id: str) -> None:
        if self._closed:
            raise ValueError("this engine is closed: make a new one")
        if not isinstance(request_id, str):
            raise TypeError(f"request_id must be a string, got {request_id!r}")
        if request_id in self._requests:
            raise ValueError(f"request_id {request_id!r} belongs to a request that is not finished")
