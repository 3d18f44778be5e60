"""Sampling that can be learnt from: tokens, which of them are the response, and how probable each was when drawn.

Unusual: the log-probabilities are kept at the moment of drawing, from the very distribution that was drawn from;
``response_log_probs`` computes them anew in one pass, and a test holds both together. In a large system the two come
from two programs, and differ.

Shapes: B sequences, P prompt tokens, T = P + new tokens, S = T - 1 choices.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kb.alignment.sequences import choices, token_log_probs
from kb.arguments import is_integer, is_number, require_count
from kb.lm import DecoderLM, KVCache
from kb.lm.sampling import draw


@dataclass(frozen=True)
class Rollout:
    """Sampled responses.

    Attributes:
        tokens: Prompts and responses [B, T]; what follows an end token is that token again.
        mask: bool [B, T], true at the response, its end token included.
        log_probs: Of each choice when it was drawn, [B, T - 1]; 0 outside the response.
        ended: bool [B], whether the response came to its end token.
    """

    tokens: Tensor
    mask: Tensor
    log_probs: Tensor
    ended: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def choice_mask(self) -> Tensor:
        """The mask at the places of the choices, [B, T - 1]."""
        return choices(self.mask)

    @property
    def lengths(self) -> Tensor:
        """Tokens of each response, its end token included, [B]."""
        return self.mask.sum(-1)


def rollout(
    model: DecoderLM,
    prompts_BP: Tensor,
    max_new_tokens: int,
    *,
    end_id: int,
    generator: torch.Generator,
    temperature: float = 1.0,
) -> Rollout:
    """Sample one response to each prompt, uncut: a ratio would not know of the renormalising of top-k or top-p.

    Args:
        model: The policy.
        prompts_BP: int64 ids, all prompts of one length.
        max_new_tokens: At least 1.
        end_id: Ends a response.
        generator: Source of the noise.
        temperature: Divides the logits; the log-probabilities are those of the divided ones.

    Raises:
        TypeError: the prompts are not int64, or the generator is none.
        ValueError: the prompts are no [B, P], a number is out of range, or the context is too short.
    """
    _require_request(model, prompts_BP, max_new_tokens, end_id, generator, temperature)
    B, P = prompts_BP.shape
    tokens_BT, weight = prompts_BP, model.embed_tokens.weight
    cache = KVCache(model.config, batch=B, capacity=P + max_new_tokens, dtype=weight.dtype, device=weight.device)
    ended_B = torch.zeros(B, dtype=torch.bool, device=weight.device)
    masks, log_probs, fresh_BT = [], [], prompts_BP
    with torch.inference_mode():
        for _ in range(max_new_tokens):
            logits_BV = model(fresh_BT, cache=cache, last_only=True)[:, -1].float() / temperature
            drawn_B = torch.where(ended_B, end_id, draw(logits_BV, (generator,) * B))
            chosen_B = logits_BV.log_softmax(-1).gather(1, drawn_B[:, None]).squeeze(1)
            masks.append(~ended_B)
            log_probs.append(torch.where(ended_B, 0.0, chosen_B))
            ended_B = ended_B | (drawn_B == end_id)
            tokens_BT = torch.cat((tokens_BT, drawn_B[:, None]), dim=1)
            fresh_BT = drawn_B[:, None]
            if bool(ended_B.all()):
                break
        before = torch.zeros(B, P, dtype=torch.bool, device=weight.device)
        mask_BT = torch.cat((before, torch.stack(masks, 1)), dim=1)
        log_probs_BS = torch.cat((before[:, 1:].float(), torch.stack(log_probs, 1)), dim=1)
    return Rollout(tokens_BT.clone(), mask_BT.clone(), log_probs_BS.clone(), ended_B.clone())


def response_log_probs(
    model: Callable[[Tensor], Tensor], tokens_BT: Tensor, mask_BT: Tensor, *, temperature: float = 1.0
) -> Tensor:
    """Log-probability of each choice of the responses in one pass, [B, T - 1]; 0 outside the response.

    Args:
        model: From tokens [B, T] to logits [B, T, V].
        tokens_BT: Prompts, responses, padding on the right.
        mask_BT: True at the response.
        temperature: That of the sampling.
    """
    log_probs_BS = token_log_probs(model(tokens_BT) / temperature, tokens_BT)
    return torch.where(choices(mask_BT), log_probs_BS, 0.0)


def _require_request(
    model: DecoderLM,
    prompts_BP: Tensor,
    max_new_tokens: int,
    end_id: int,
    generator: torch.Generator,
    temperature: float,
) -> None:
    if not isinstance(prompts_BP, Tensor) or prompts_BP.dtype != torch.int64:
        raise TypeError(f"prompts must be an int64 tensor, got {getattr(prompts_BP, 'dtype', type(prompts_BP))}")
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    if prompts_BP.dim() != 2 or prompts_BP.numel() == 0:
        raise ValueError(f"prompts must be a non-empty [B, P], got {tuple(prompts_BP.shape)}")
    require_count("max_new_tokens", max_new_tokens)
    if not is_integer(end_id) or not 0 <= end_id < model.config.vocab_size:
        raise ValueError(f"end_id must be in 0 to {model.config.vocab_size - 1}, got {end_id!r}")
    if not is_number(temperature) or temperature <= 0:
        raise ValueError(f"temperature must be a number above 0, got {temperature!r}")
    if prompts_BP.shape[1] + max_new_tokens > model.config.context_length:
        raise ValueError(f"max_new_tokens {max_new_tokens} after {prompts_BP.shape[1]} exceed the model's context")
