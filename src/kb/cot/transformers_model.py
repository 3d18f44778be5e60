"""Any causal language model of transformers, from a folder or the hub: batched, padded on the left, drawn by our rules.

Unusual: ``model.generate`` is not used. It would mix in what the model's own generation config recommends (a repetition
penalty, for instance) and draw from one generator for the whole batch; here the logits are the model's, and each sample
has its own generator, so that it does not depend on its batch, and is the one that the engine draws from equal weights.

Sources: transformers' ``AutoModelForCausalLM``; ``kb.lm.sampling`` for filters and draw, ``kb.serving.detokenizer`` for
stop strings. Shapes: B rows of a batch (one a sample), T tokens, V vocabulary.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kb.arguments import require_count
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
    from torch import Generator, Tensor

    from kb.serving.detokenizer import Detokenizer

_NO_LIMIT = 10**9  # what transformers writes into a tokenizer's model_max_length where nothing is known is larger


class TransformersModel:
    """A transformers model behind :class:`~kb.cot.language_model.LanguageModel`.

    The n samples of a prompt are n rows: unlike in the engine, each computes the prompt anew.

    Args:
        model: A causal language model; it is put into evaluation mode and stays on its device.
        tokenizer: Its tokenizer.
        name: What to call it in tables; the end of its folder's or hub's name if not given.
        batch_size: Rows that run together.
        context_length: Tokens of a prompt and its continuation together; what model or tokenizer say if not given.

    Raises:
        TypeError: model or tokenizer are something else.
        ValueError: a size is no positive integer, or nothing says how long the context is.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str | None = None,
        batch_size: int = 8,
        context_length: int | None = None,
    ) -> None:
        if not callable(model) or not hasattr(model, "config"):
            raise TypeError(f"model must be a causal language model of transformers, got {type(model).__name__}")
        if not all(hasattr(tokenizer, one) for one in ("encode", "decode", "apply_chat_template")):
            raise TypeError(f"tokenizer must be one of transformers, got {type(tokenizer).__name__}")
        require_count("batch_size", batch_size)
        if context_length is not None:
            require_count("context_length", context_length)
        self._model, self._tokenizer, self._batch_size = model.eval(), tokenizer, batch_size
        self._context_length = context_length or _context_length(model, tokenizer)
        self._name = name or Path(getattr(model.config, "_name_or_path", "") or type(model).__name__).name
        self._ends = _end_tokens(model, tokenizer)
        self._accepted = set(inspect.signature(model.forward).parameters)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        dtype: Any = "auto",
        device: str = "cpu",
        revision: str | None = None,
        **options: Any,
    ) -> "TransformersModel":
        """Load a local folder, or a model of the hub where there is a network; code of the hub is never run.

        Args:
            folder: The folder's path or the hub's name.
            dtype: A torch dtype, or "auto" for the checkpoint's.
            device: Where to put it.
            revision: Branch, tag or commit of the hub.
            **options: Of :class:`TransformersModel`.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer, __version__

        where = str(folder)
        # Versions before 4.56 know the first name alone, and later ones warn of it.
        precision = "torch_dtype" if tuple(map(int, __version__.split(".")[:2])) < (4, 56) else "dtype"
        tokenizer = AutoTokenizer.from_pretrained(where, revision=revision or "main")
        model: Any = AutoModelForCausalLM.from_pretrained(
            where, **{precision: dtype}, revision=revision or "main", trust_remote_code=False
        )
        model.to(device)
        return cls(model, tokenizer, **options)

    @property
    def name(self) -> str:
        """What to call the model in a table."""
        return self._name

    @property
    def context_length(self) -> int:
        """How many tokens a prompt and its continuation may have together."""
        return self._context_length

    def count_tokens(self, text: str) -> int:
        """How many tokens ``text`` is as a prompt, special tokens that it begins with included."""
        require_text("text", text)
        return len(self._ids(text))

    def chat(self, message: str, system: str | None = None) -> str:
        """The prompt in which a user says ``message``, by the tokenizer's template; as it is where there is none."""
        messages = conversation(message, system)
        if not getattr(self._tokenizer, "chat_template", None):
            return as_it_is(message, system)
        return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def generate(self, prompts: Sequence[str], sampling: Sampling) -> list[list[Completion]]:
        """``sampling.n`` continuations of each prompt, in order; with temperature 0 they are n times the same.

        ``num_tokens`` and ``log_probability`` are meant as in :meth:`kb.cot.EngineModel.generate`, and so are errors.
        """
        texts, asked = require_prompts(prompts), require_sampling(sampling)
        ids = [self._ids(text) for text in texts]
        require_room([len(one) for one in ids], asked.max_tokens, self.context_length)
        drawn = 1 if asked.temperature == 0 else asked.n
        rows = [
            self._row(ids[place], asked, seed + number)
            for place, seed in enumerate(first_seeds(texts, asked))
            for number in range(drawn)
        ]
        # Rows of like length share a batch, so that little of it is padding.
        ordered = sorted(rows, key=lambda row: len(row.prompt))
        for first in range(0, len(ordered), self._batch_size):
            self._run(ordered[first : first + self._batch_size], asked)
        found = [row.completion() for row in rows]
        return [(found[place * drawn : (place + 1) * drawn] * asked.n)[: asked.n] for place in range(len(texts))]

    def log_likelihood(self, prompt: str, continuation: str) -> float:
        """Ln p(continuation | prompt), tokenized as in :meth:`kb.cot.EngineModel.log_likelihood`.

        Raises:
            TypeError: an argument is of another kind.
            ValueError: one of them has no token, or together they exceed ``context_length``.
        """
        import torch

        (prompt,) = require_prompts([prompt])
        require_text("continuation", continuation)
        before, after = self._ids(prompt), list(self._tokenizer.encode(continuation, add_special_tokens=False))
        if not after:
            raise ValueError("continuation must have at least one token")
        require_room([len(before)], len(after), self.context_length)
        device = self._model.get_input_embeddings().weight.device
        with torch.inference_mode():
            logits_TV = self._model(torch.tensor([before + after], device=device)).logits[0, len(before) - 1 : -1]
        own_T = logits_TV.float().log_softmax(dim=-1).gather(1, torch.tensor(after, device=logits_TV.device)[:, None])
        return float(own_T.double().sum())

    def _ids(self, text: str) -> list[int]:
        return prompt_ids(text, self._tokenizer.encode, getattr(self._tokenizer, "bos_token", None))

    def _row(self, ids: list[int], sampling: Sampling, seed: int) -> "_Row":
        from torch import Generator

        from kb.serving import SamplingParams
        from kb.serving.detokenizer import Detokenizer

        device = self._model.get_input_embeddings().weight.device
        text = Detokenizer(_Plain(self._tokenizer), SamplingParams(stop=tuple(sampling.stop)), ids)
        return _Row(ids, text, None if sampling.temperature == 0 else Generator(device).manual_seed(seed))

    def _run(self, rows: list["_Row"], sampling: Sampling) -> None:
        """Generate until every row of a batch has ended; a row that has is fed its last token on, and not read."""
        import torch

        device = self._model.get_input_embeddings().weight.device
        longest = max(len(row.prompt) for row in rows)
        tokens_BT = torch.tensor([[self._ends[0] if self._ends else 0] * longest] * len(rows), device=device)
        mask_BT = torch.zeros_like(tokens_BT)
        for place, row in enumerate(rows):
            tokens_BT[place, longest - len(row.prompt) :] = torch.tensor(row.prompt, device=device)
            mask_BT[place, longest - len(row.prompt) :] = 1
        cache, fresh_BT = None, tokens_BT
        with torch.inference_mode():
            for _ in range(sampling.max_tokens):
                logits_BV, cache = self._logits(fresh_BT, mask_BT, cache)
                fresh_BT = self._next(logits_BV, rows, sampling)[:, None]
                if all(row.finish for row in rows):
                    return
                tokens_BT = torch.cat([tokens_BT, fresh_BT], dim=1)
                mask_BT = torch.cat([mask_BT, torch.ones_like(fresh_BT)], dim=1)
                if cache is None:  # a model without a cache of this kind computes everything anew
                    fresh_BT = tokens_BT

    def _logits(self, fresh_BT: "Tensor", mask_BT: "Tensor", cache: Any) -> tuple["Tensor", Any]:
        """Logits [B, V] after the last token, and the cache with the fresh tokens in it."""
        positions_BT = (mask_BT.cumsum(dim=-1) - 1).clamp_min(0)[:, -fresh_BT.shape[1] :]
        offered = {"position_ids": positions_BT, "past_key_values": cache, "use_cache": True, "logits_to_keep": 1}
        taken = {name: value for name, value in offered.items() if name in self._accepted}
        output = self._model(fresh_BT, attention_mask=mask_BT, **taken)
        return output.logits[:, -1].float(), getattr(output, "past_key_values", None)

    def _next(self, logits_BV: "Tensor", rows: list["_Row"], sampling: Sampling) -> "Tensor":
        import torch

        from kb import lm
        from kb.lm.sampling import draw, process, require_finite

        require_finite(logits_BV)
        params = lm.SamplingParams(temperature=sampling.temperature, top_p=sampling.top_p)
        filtered_BV = process(logits_BV, logits_BV.new_zeros(len(rows), 0, dtype=torch.long), params)
        generators = [row.generator for row in rows if row.generator is not None]
        chosen_B = draw(filtered_BV, generators) if generators else filtered_BV.argmax(dim=-1)
        own_B = logits_BV.log_softmax(dim=-1).gather(1, chosen_B[:, None])[:, 0]
        for row, token, own in zip(rows, chosen_B.tolist(), own_B.tolist(), strict=True):
            row.append(token, own, self._ends, sampling.max_tokens)
        return chosen_B


@dataclass
class _Row:
    """One sample under way: what it follows, its text, its noise."""

    prompt: list[int]
    text: "Detokenizer"
    generator: "Generator | None"
    tokens: int = 0
    log_probabilities: list[float] = field(default_factory=list)
    finish: str = ""

    def append(self, token: int, log_probability: float, ends: Sequence[int], most: int) -> None:
        if self.finish:
            return
        self.tokens += 1
        self.log_probabilities.append(log_probability)
        ended = token in ends
        if self.text.append(token, stop_terminated=ended) is not None or ended:
            self.finish = "stop"
        elif self.tokens == most:
            self.finish = "length"

    def completion(self) -> Completion:
        return Completion(
            self.text.get_next_output_text(finished=True, delta=False),
            self.tokens,
            self.finish,
            sum(self.log_probabilities),
        )


class _Plain:
    """A tokenizer's text as its tokens spell it, without the spaces that some would tidy away."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def decode(self, ids: Any, *, skip_special_tokens: bool = False) -> str:
        options = {"skip_special_tokens": skip_special_tokens, "clean_up_tokenization_spaces": False}
        return str(self._tokenizer.decode(list(ids), **options))


def _context_length(model: Any, tokenizer: Any) -> int:
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    for holder, name in ((config, "max_position_embeddings"), (config, "n_positions"), (tokenizer, "model_max_length")):
        found = getattr(holder, name, None)
        if isinstance(found, int) and 0 < found < _NO_LIMIT:
            return found
    raise ValueError("context_length must be given: neither the model's config nor the tokenizer says it")


def _end_tokens(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Tokens that end a sequence: the generation config's, which names a chat's end of turn, before others."""
    for holder in (getattr(model, "generation_config", None), model.config, tokenizer):
        found = getattr(holder, "eos_token_id", None)
        if found is not None:
            return tuple(found) if isinstance(found, list | tuple) else (int(found),)
    return ()
