"""A language model behind a server that speaks OpenAI's protocol: theirs, vLLM's, llama.cpp's, Ollama's.

Unusual: what a server promises and does not do is made good here. Stop strings cut again on our side, as some servers
take only four or leave them in the text; where fewer samples come than were asked for, the rest is asked for, each time
with another seed.

Source: OpenAI API reference, "Create chat completion" and "Create completion".
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Literal

from kb.arguments import is_integer, require_count
from kb.cot.json_requests import EndpointError, RetryPolicy, post_json, require_base_url, require_key
from kb.cot.language_model import Completion, Sampling
from kb.cot.request_checks import (
    as_it_is,
    conversation,
    cut_at_stop,
    first_seeds,
    prompt_ids,
    require_prompts,
    require_room,
    require_sampling,
    require_text,
)

_MOST_STOPS = 4  # that the protocol takes
_SEEDS = 2**31  # what all servers take


class EndpointModel:
    """A server behind :class:`~kb.cot.language_model.LanguageModel`.

    Args:
        base_url: Address of the API, such as ``http://localhost:8000/v1``.
        model: The model's name on the server.
        api: "chat": a prompt is what a user says, and the server applies the template; "completions": a prompt is
            continued as it is.
        context_length: Of the model, which the protocol does not tell.
        key_variable: Name of the environment variable that holds the key; None for a server without one. The key is
            read at each request, and kept nowhere.
        tokenizer: With ``encode`` (``kb.checkpoints.Tokenizer``, or one of transformers): prompts are counted and
            checked here. Without one the server is the judge of what fits.
        retry: Timeouts and tries.
        workers: Requests under way at once.
        max_tokens_field: How the server calls the limit; OpenAI's newer models want "max_completion_tokens".
        log_probabilities: Whether to ask for them; not all servers give them.
        name: What to call it in tables; ``model`` if not given.

    Raises:
        TypeError: an argument is of another kind.
        ValueError: it cannot be used: an address that is none, an empty variable, an unknown API.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api: Literal["chat", "completions"] = "chat",
        context_length: int,
        key_variable: str | None = None,
        tokenizer: Any = None,
        retry: RetryPolicy | None = None,
        workers: int = 1,
        max_tokens_field: str = "max_tokens",
        log_probabilities: bool = False,
        name: str | None = None,
    ) -> None:
        require_text("model", model)
        require_count("workers", workers)
        if api not in ("chat", "completions"):
            raise ValueError(f"api must be 'chat' or 'completions', got {api!r}")
        require_count("context_length", context_length)
        if tokenizer is not None and not hasattr(tokenizer, "encode"):
            raise TypeError(f"tokenizer must have encode, got {type(tokenizer).__name__}")
        if retry is not None and not isinstance(retry, RetryPolicy):
            raise TypeError(f"retry must be a RetryPolicy, got {type(retry).__name__}")
        require_key(key_variable)
        path = "chat/completions" if api == "chat" else "completions"
        self._url = f"{require_base_url(base_url)}/{path}"
        self._model, self._chats, self._key_variable = model, api == "chat", key_variable
        self._context_length, self._tokenizer = context_length, tokenizer
        self._retry, self._workers = retry or RetryPolicy(), workers
        self._max_tokens_field, self._log_probabilities = max_tokens_field, log_probabilities
        self._name = model if name is None else name

    def __repr__(self) -> str:
        return f"EndpointModel({self._url!r}, model={self._model!r})"

    @property
    def name(self) -> str:
        """What to call the model in a table."""
        return self._name

    @property
    def context_length(self) -> int:
        """How many tokens a prompt and its continuation may have together, as it was given."""
        return self._context_length

    def count_tokens(self, text: str) -> int:
        """How many tokens ``text`` is; what a chat template on the server adds is not counted.

        Raises:
            ValueError: there is no tokenizer.
        """
        require_text("text", text)
        if self._tokenizer is None:
            raise ValueError("tokenizer must be given to EndpointModel to count tokens: the protocol does not count")
        special = getattr(self._tokenizer, "special_tokens", {})
        first = getattr(self._tokenizer, "bos_token", None) or special.get("bos_token")
        return len(prompt_ids(text, self._tokenizer.encode, first))

    def chat(self, message: str, system: str | None = None) -> str:
        """The prompt in which a user says ``message``.

        For a chat API that is the message: the server has the template. A system message is remembered with the text,
        and sent as one; where the text is joined with another, it becomes the beginning of what the user says.
        """
        messages = conversation(message, system)
        if self._chats:
            return message if system is None else _Conversation(message, system)
        if getattr(self._tokenizer, "chat_template", None):
            return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        return as_it_is(message, system)

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> list[list[Completion]]:
        """``sampling.n`` continuations of each prompt, in order; with temperature 0 one is asked for, and repeated.

        Whether the same seed gives the same samples is up to the server. ``num_tokens`` is the tokenizer's count where
        there is one, else what the server reports; of several samples in one answer it reports the sum, which is then
        shared out by the length of the texts. A ``finish_reason`` that is neither "stop" nor "length", such as
        "content_filter", is passed on.

        Raises:
            TypeError: an argument is of another kind.
            ValueError: as in :meth:`kb.cot.EngineModel.generate`; what fits is only checked with a tokenizer.
            EndpointError: the server could not be reached, refused, or gave what is no answer.
        """
        texts, asked = require_prompts(prompts), require_sampling(sampling)
        if self._tokenizer is not None:
            require_room([self.count_tokens(text) for text in texts], asked.max_tokens, self._context_length)
        drawn = 1 if asked.temperature == 0 else asked.n
        with ThreadPoolExecutor(self._workers) as pool:
            jobs = [
                pool.submit(self._ask, text, asked, drawn, seed)
                for text, seed in zip(texts, first_seeds(texts, asked), strict=True)
            ]
            try:
                found = [job.result() for job in jobs]
            finally:
                pool.shutdown(cancel_futures=True)
        return [(one * asked.n)[: asked.n] for one in found]

    def _ask(self, prompt: str, sampling: Sampling, wanted: int, seed: int) -> list[Completion]:
        found: list[Completion] = []
        at_once = wanted
        while len(found) < wanted:
            missing = min(at_once, wanted - len(found))
            body = self._body(prompt, sampling, missing, (seed + len(found)) % _SEEDS)
            try:
                reply = post_json(self._url, body, key_variable=self._key_variable, retry=self._retry)
            except EndpointError as error:
                if missing == 1 or error.status not in (400, 422) or not _names_n(str(error)):
                    raise
                at_once = 1  # a server that refuses n rather than ignoring it
                continue
            found += self._completions(reply, sampling.stop)[:missing]
        return found

    def _body(self, prompt: str, sampling: Sampling, n: int, seed: int) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            self._max_tokens_field: int(sampling.max_tokens),  # JSON has no numbers of NumPy
            "temperature": float(sampling.temperature),
            "top_p": float(sampling.top_p),
            "n": int(n),
            "seed": seed,
        }
        if sampling.stop:
            body["stop"] = list(sampling.stop[:_MOST_STOPS])
        if self._log_probabilities:
            body["logprobs"] = True if self._chats else 0
        if self._chats:
            system = prompt.system if isinstance(prompt, _Conversation) else None
            message = prompt.message if isinstance(prompt, _Conversation) else prompt
            return {**body, "messages": conversation(message, system)}
        return {**body, "prompt": prompt}

    def _completions(self, reply: Mapping[str, Any], stop: Sequence[str]) -> list[Completion]:
        choices = reply.get("choices")
        if not isinstance(choices, list) or not choices:
            raise EndpointError(f"{self._url}: the answer has no choices")
        if not all(isinstance(choice, dict) for choice in choices):
            raise EndpointError(f"{self._url}: choices must be JSON objects")
        texts = [self._text(choice) for choice in choices]
        logs = [_log_probabilities(choice) for choice in choices]
        counts = self._counts(texts, logs, reply)
        found = []
        for choice, text, log, count in zip(choices, texts, logs, counts, strict=True):
            cut = cut_at_stop(text, stop)
            reason = "stop" if cut is not None else choice.get("finish_reason") or "stop"
            found.append(Completion(text if cut is None else cut, count, str(reason), sum(log) if log else None))
        return found

    def _text(self, choice: Mapping[str, Any]) -> str:
        message = choice.get("message") if self._chats else choice
        text = message.get("content" if self._chats else "text", 0) if isinstance(message, dict) else 0
        if text is not None and not isinstance(text, str):
            raise EndpointError(f"{self._url}: a choice has no text")
        return text or ""

    def _counts(self, texts: list[str], logs: list[list[float]], reply: Mapping[str, Any]) -> list[int]:
        """New tokens of each text."""
        if self._tokenizer is not None:
            return [len(self._tokenizer.encode(text, add_special_tokens=False)) for text in texts]
        if all(logs):
            return [len(log) for log in logs]
        usage = reply.get("usage")
        total = usage.get("completion_tokens") if isinstance(usage, dict) else None
        if not (isinstance(total, int) and is_integer(total) and total >= 0):
            raise EndpointError(f"{self._url}: the answer has no usage.completion_tokens; give a tokenizer")
        return shared_out(total, [len(text) for text in texts])


class _Conversation(str):
    """A prompt of a chat API that knows which part of it is the system's."""

    message: str
    system: str

    def __new__(cls, message: str, system: str) -> "_Conversation":
        made = super().__new__(cls, as_it_is(message, system))
        made.message, made.system = message, system
        return made


def shared_out(total: int, lengths: Sequence[int]) -> list[int]:
    """A total in whole parts that are proportional to ``lengths`` up to 1, and sum to it."""
    whole = sum(lengths)
    weights, whole = (lengths, whole) if whole else ([1] * len(lengths), len(lengths))
    ends = [0]
    for weight in weights:
        ends.append(ends[-1] + weight)
    marks = [total * end // whole for end in ends]
    return [after - before for before, after in pairwise(marks)]


def _names_n(message: str) -> bool:
    return any(word in message for word in ("'n'", '"n"', "`n`", " n ", "n must", "n >"))


def _log_probabilities(choice: Mapping[str, Any]) -> list[float]:
    """Ln p of each token, in the form of either API; empty where there are none."""
    given = choice.get("logprobs")
    if not isinstance(given, dict):
        return []
    chat, plain = given.get("content"), given.get("token_logprobs")
    if isinstance(chat, list):
        plain = [one.get("logprob") if isinstance(one, dict) else None for one in chat]
    if not isinstance(plain, list) or not all(isinstance(one, int | float) for one in plain):
        return []
    return [float(one) for one in plain]
