"""Multiple choice by likelihood: which continuation does the model find most likely, and likely per what?

Four rules are in use, and they disagree. A sum of ln p favours short choices; divided by characters (lm-eval's
``acc_norm``), by bytes (``acc_bytes``) or by tokens it does not, and less what the choice costs without the question
(``acc_mutual_info``) it no longer rewards a choice for being a common phrase. Unusual: the characters counted are the
choice's own, without the space before it, as in lm-eval.

Sources: Brown et al. 2020, section 2.4 (per token, and unconditional for some tasks); Gao et al., lm-eval 0.4.13,
``api/task.py`` (characters, bytes, mutual information) and ``api/model.py`` (how a pair is tokenized); Holtzman et al.
2021, Surface Form Competition. Shapes: B pairs, T tokens, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from kb.arguments import require_count
from kb.evaluation.perplexity import LanguageModel, TextTokenizer

RULES = ("sum", "token", "character", "byte", "unconditional")


@dataclass(frozen=True)
class ScoredChoices:
    """What the choices of one question cost.

    Args:
        choices: Their texts, without the space before them.
        log_likelihoods: ln p of each after the question.
        tokens: Of each.
        unconditional: ln p of each after ``Answer:`` or the like, without the question; None where it was not asked.

    Raises:
        ValueError: there are no choices or an empty one, the lengths differ, ln p is no number, or a choice has no
            token.
    """

    choices: tuple[str, ...]
    log_likelihoods: tuple[float, ...]
    tokens: tuple[int, ...]
    unconditional: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.choices or not all(self.choices):
            raise ValueError(f"choices must be texts that are not empty, got {self.choices!r}")
        for name in ("log_likelihoods", "tokens", "unconditional"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.choices):
                raise ValueError(f"{name} must be as many as choices, {len(self.choices)}, got {len(values)}")
        for name, values in (("log_likelihoods", self.log_likelihoods), ("unconditional", self.unconditional or ())):
            if any(math.isnan(value) for value in values):
                raise ValueError(f"{name} must be numbers, got {values!r}")
        for place, count in enumerate(self.tokens):
            require_count(f"tokens[{place}]", count)

    def scores(self, rule: str) -> list[float]:
        """One number for each choice, the largest is picked.

        Raises:
            ValueError: no such rule, or ``unconditional`` without such likelihoods.
        """
        if rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")
        if rule == "unconditional":
            if self.unconditional is None:
                raise ValueError("rule 'unconditional' needs likelihoods without the question, and there are none")
            return [one - other for one, other in zip(self.log_likelihoods, self.unconditional, strict=True)]
        lengths = {
            "sum": [1] * len(self.choices),
            "token": list(self.tokens),
            "character": [len(choice) for choice in self.choices],
            "byte": [len(choice.encode()) for choice in self.choices],
        }[rule]
        return [one / length for one, length in zip(self.log_likelihoods, lengths, strict=True)]

    def pick(self, rule: str) -> int:
        """The place of the best choice, the first of equals; errors as in :meth:`scores`."""
        scores = self.scores(rule)
        return scores.index(max(scores))


def encode_pair(tokenizer: TextTokenizer, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Ids of both, cut where lm-eval cuts: the whole is tokenized, and what the context has alone is taken off.

    Spaces at the end of the context go to the continuation, since tokens carry their space before the word.

    Raises:
        ValueError: one of the two has no token.
    """
    bare = context.rstrip()
    continuation = context[len(bare) :] + continuation
    before = tokenizer.encode(bare)
    after = tokenizer.encode(bare + continuation)[len(before) :]
    if not before or not after:
        raise ValueError(f"context and continuation must have a token each, got {len(before)} and {len(after)}")
    return before, after


@torch.inference_mode()
def log_likelihood_loop(model: LanguageModel, context: Sequence[int], continuation: Sequence[int]) -> float:
    """Ln p(continuation | context), one token after the other: the reference."""
    seen, total = list(context), 0.0
    for token in continuation:
        logits_V = model(torch.tensor([seen]))[0, -1].double()
        total += float(logits_V[token] - torch.logsumexp(logits_V, dim=0))
        seen.append(token)
    return total


@torch.inference_mode()
def log_likelihoods(
    model: LanguageModel, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], *, batch_size: int = 8
) -> list[float]:
    """Ln p(continuation | context) of each pair, in batches of like length.

    Padding is to the right, where a causal model does not look from any token that counts.

    Raises:
        ValueError: a pair has an empty side, or ``batch_size`` is no positive integer.
    """
    require_count("batch_size", batch_size)
    for place, (context, continuation) in enumerate(pairs):
        if not len(context) or not len(continuation):
            raise ValueError(f"pairs[{place}] must hold a token on both sides")
    order = sorted(range(len(pairs)), key=lambda place: len(pairs[place][0]) + len(pairs[place][1]))
    found = [math.nan] * len(pairs)
    for first in range(0, len(order), batch_size):
        places = order[first : first + batch_size]
        rows = [torch.tensor([*pairs[place][0], *pairs[place][1]]) for place in places]
        log_p_BTV = _log_probabilities(model, rows)
        for row, place in enumerate(places):
            before, after = (len(side) for side in pairs[place])
            ids = rows[row][before : before + after]
            log_p_T = log_p_BTV[row, before - 1 : before + after - 1].gather(1, ids[:, None])
            found[place] = float(log_p_T.double().sum())
    return found


def score_choices(
    model: LanguageModel,
    tokenizer: TextTokenizer,
    context: str,
    choices: Sequence[str],
    *,
    neutral: str | None = None,
    batch_size: int = 8,
) -> ScoredChoices:
    """Ln p of every choice after the question, a space between.

    Args:
        model: Tokens [B, T] to logits [B, T, V].
        tokenizer: The model's.
        context: The question, ended by something like ``Answer:``.
        choices: Texts, at least two.
        neutral: What stands before a choice where the question is left out, such as ``Answer:``; None to leave the
            unconditional likelihoods out.
        batch_size: Rows that run together.

    Raises:
        ValueError: fewer than two choices, or an empty text.
    """
    if len(choices) < 2 or not all(choices):
        raise ValueError(f"choices must be at least two texts that are not empty, got {list(choices)!r}")
    contexts = [context] if neutral is None else [context, neutral]
    pairs = [encode_pair(tokenizer, before, " " + choice) for before in contexts for choice in choices]
    found = log_likelihoods(model, pairs, batch_size=batch_size)
    tokens = tuple(len(after) for _, after in pairs[: len(choices)])
    unconditional = tuple(found[len(choices) :]) if neutral is not None else None
    return ScoredChoices(tuple(choices), tuple(found[: len(choices)]), tokens, unconditional)


def _log_probabilities(model: LanguageModel, rows: list[Tensor]) -> Tensor:
    padded_BT = pad_sequence(rows, batch_first=True)
    return model(padded_BT).float().log_softmax(dim=-1)
