"""Our serving engine as a language model: the n samples of a prompt are forks that share its blocks of the KV cache.

Unusual: a prompt whose beginning an earlier one had (the demonstrations of a few-shot prompt) finds those blocks in the
prefix cache, so that asking 100 questions with the same eight demonstrations computes the demonstrations once.

Sources: Kwon et al. 2023, PagedAttention, section 4.4 (parallel sampling, shared prefixes); ``kb.serving``.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kb.cot.language_model import Completion, Sampling
from kb.cot.request_checks import (
    as_it_is,
    conversation,
    first_seeds,
    prompt_ids,
    require_prompts,
    require_room,
    require_sampling,
    require_text,
)

if TYPE_CHECKING:
    from kb.lm import DecoderLM
    from kb.serving import LLM, RequestOutput


class EngineModel:
    """A ``kb.serving.LLM`` behind :class:`~kb.cot.language_model.LanguageModel`.

    Args:
        model: An ``LLM`` with a tokenizer; or what one is made of: the name of a pinned checkpoint, a Hugging Face
            folder, or a ``DecoderLM``.
        name: What to call it in tables; the checkpoint's or folder's if not given.
        **options: Of the ``LLM`` that is made, such as ``max_model_len`` or ``tokenizer``.

    Raises:
        TypeError: ``model`` is something else, or there are options for an ``LLM`` that is made already.
        ValueError: the ``LLM`` has no tokenizer, or cannot be made.
    """

    def __init__(self, model: "LLM | DecoderLM | str | Path", *, name: str | None = None, **options: Any) -> None:
        from kb.serving import LLM

        if isinstance(model, LLM) and options:
            raise TypeError(f"{sorted(options)[0]} is for an LLM that is to be made, and this one is made already")
        self._llm = model if isinstance(model, LLM) else LLM(model, **options)
        self._tokenizer: Any = self._llm.get_tokenizer()
        named = Path(model).name if isinstance(model, str | Path) else type(model).__name__
        self._name = named if name is None else name

    @property
    def name(self) -> str:
        """What to call the model in a table."""
        return self._name

    @property
    def context_length(self) -> int:
        """How many tokens a prompt and its continuation may have together, the engine's ``max_model_len``."""
        return self._llm.llm_engine.max_model_len

    def count_tokens(self, text: str) -> int:
        """How many tokens ``text`` is as a prompt, special tokens that it begins with included."""
        require_text("text", text)
        return len(self._ids(text))

    def chat(self, message: str, system: str | None = None) -> str:
        """The prompt in which a user says ``message``, by the checkpoint's template; as it is where there is none.

        Special tokens that are written in the message become special tokens, as in transformers.

        Raises:
            ValueError: the template refuses the conversation, for instance a system message.
        """
        messages = conversation(message, system)
        if getattr(self._tokenizer, "chat_template", None) is None:
            return as_it_is(message, system)
        text: str = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return text

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> list[list[Completion]]:
        """``sampling.n`` continuations of each prompt, in order; with temperature 0 they are n times the same.

        ``num_tokens`` counts what was generated: the end token, and those of a stop string, are among them.
        ``log_probability`` is the sum over them in the model's own distribution, whatever the temperature.

        Raises:
            TypeError: an argument is of another kind.
            ValueError: before any work: a field of ``sampling`` is out of its range, or a prompt is empty or does not
                fit into the context together with ``max_tokens``.
            RuntimeError: the logits of a prompt held no distribution.
        """
        texts, asked = require_prompts(prompts), require_sampling(sampling)
        ids = [self._ids(text) for text in texts]
        require_room([len(one) for one in ids], asked.max_tokens, self.context_length)
        drawn = 1 if asked.temperature == 0 else asked.n
        most = self._llm.llm_engine.config.scheduler.max_num_seqs
        parts, params = [], []
        for place, seed in enumerate(first_seeds(texts, asked)):
            # A request has at most so many samples as the engine runs at once; sample i is the one of seed + i.
            for first in range(0, drawn, most):
                parts.append(place)
                params.append(self._params(replace(asked, n=min(most, drawn - first), seed=seed + first)))
        requests = [{"prompt_token_ids": ids[place]} for place in parts]
        found: list[list[Completion]] = [[] for _ in texts]
        for place, output in zip(parts, self._llm.generate(requests, params, use_tqdm=False), strict=True):
            found[place] += _completions(output, place)
        return [(one * asked.n)[: asked.n] for one in found]

    def log_likelihood(self, prompt: str, continuation: str) -> float:
        """Ln p(continuation | prompt): the sum over the continuation's tokens.

        Prompt and continuation are tokenized apart and then joined, so that the prompt's tokens are those that
        :meth:`generate` sees. A space between the two belongs to the continuation. Where the tokenizer would merge
        across the seam, this is the likelihood of another tokenization than the joined text's own.

        Raises:
            TypeError: an argument is of another kind.
            ValueError: one of them has no token, or together they exceed ``context_length - 1``: the engine keeps room
                for one more token.
        """
        from kb.serving import SamplingParams

        (prompt,) = require_prompts([prompt])
        require_text("continuation", continuation)
        before, after = self._ids(prompt), list(self._tokenizer.encode(continuation, add_special_tokens=False))
        if not after:
            raise ValueError("continuation must have at least one token")
        require_room([len(before)], len(after) + 1, self.context_length)
        params = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        request = {"prompt_token_ids": before + after}
        (output,) = self._llm.generate([request], params, use_tqdm=False)
        places = (output.prompt_logprobs or [])[len(before) :]
        if output.outputs[0].finish_reason == "error" or len(places) != len(after):
            raise RuntimeError("the logits of prompt and continuation held no distribution")
        return sum((place or {})[token].logprob for place, token in zip(places, after, strict=True))

    def _ids(self, text: str) -> list[int]:
        special = getattr(self._tokenizer, "special_tokens", {})
        return prompt_ids(text, self._tokenizer.encode, special.get("bos_token"))

    def _params(self, sampling: Sampling) -> Any:
        from kb.serving import SamplingParams

        return SamplingParams(
            n=sampling.n,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=sampling.seed,
            stop=tuple(sampling.stop),
            max_tokens=sampling.max_tokens,
            logprobs=0,
        )


def _completions(output: "RequestOutput", place: int) -> list[Completion]:
    found = []
    for one in output.outputs:
        if one.finish_reason not in ("stop", "length"):
            raise RuntimeError(f"prompts[{place}] ended with {one.finish_reason!r}: its logits held no distribution")
        found.append(Completion(one.text, len(one.token_ids), one.finish_reason, one.cumulative_logprob))
    return found
