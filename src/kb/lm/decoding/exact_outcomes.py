"""Every outcome of one pass of speculative decoding with its probability, by going through all of them.

No draws: drafts are enumerated, and at each the rule of acceptance splits the probability in two. What comes out can be
held against what the target alone would write, to the last digit. Target and draft are tables in which the next token
depends on the last one alone; that is general enough for the rule to go wrong, and small enough to enumerate.

Source: Leviathan et al. 2023, algorithm 1, appendix A.1 (the distribution), equation 1 (the number).
Shapes: V vocabulary; row c of a table is the distribution after token c.
"""

from collections import defaultdict

import torch
from torch import Tensor

from kb.arguments import is_integer, require_count
from kb.lm.decoding.acceptance import residual

Outcomes = dict[tuple[int, ...], float]  # tokens to probability


def pass_outcomes(p_VV: Tensor, q_VV: Tensor, start: int, gamma: int) -> Outcomes:
    """What one pass of the target may add to a text that ends in ``start``: 1 to gamma + 1 tokens.

    Args:
        p_VV: The target.
        q_VV: The draft.
        start: The last token.
        gamma: Drafts, at least 0.

    Raises:
        ValueError: the tables are no two squares alike whose rows are distributions, or ``start`` or ``gamma`` is out
            of range.
    """
    p_VV, q_VV = _table("p_VV", p_VV), _table("q_VV", q_VV)
    V = len(p_VV)
    if q_VV.shape != p_VV.shape:
        raise ValueError(f"p_VV and q_VV must be alike, got {tuple(p_VV.shape)} and {tuple(q_VV.shape)}")
    require_count("gamma", gamma, least=0)
    if not is_integer(start) or not 0 <= start < V:
        raise ValueError(f"start must be a token, 0 to {V - 1}, got {start!r}")
    outcomes: Outcomes = defaultdict(float)
    alive: Outcomes = {(): 1.0}  # drafts that were kept so far
    for _ in range(gamma):
        kept: Outcomes = {}
        for text, chance in alive.items():
            last = text[-1] if text else start
            both_V = torch.minimum(p_VV[last], q_VV[last])  # drafted, and kept
            instead_V = (1 - both_V.sum()) * residual(p_VV[last], q_VV[last])
            for token in range(V):
                outcomes[(*text, token)] += chance * float(instead_V[token])
                kept[(*text, token)] = chance * float(both_V[token])
        alive = kept
    for text, chance in alive.items():  # all drafts are kept, and the target adds one of its own
        last = text[-1] if text else start
        for token in range(V):
            outcomes[(*text, token)] += chance * float(p_VV[last, token])
    return {text: chance for text, chance in outcomes.items() if chance > 0}


def mean_tokens(outcomes: Outcomes) -> float:
    """Tokens per pass, expected."""
    return sum(len(text) * chance for text, chance in outcomes.items())


def text_distribution(outcomes: Outcomes, p_VV: Tensor, length: int) -> Outcomes:
    """Distribution of the first ``length`` tokens if the target alone goes on where the pass stopped.

    Raises:
        ValueError: ``length`` is no positive integer, the table is none, or an outcome is empty or outside it.
    """
    require_count("length", length)
    p_VV = _table("p_VV", p_VV)
    for text in outcomes:
        if not text or not all(0 <= token < len(p_VV) for token in text):
            raise ValueError(f"outcomes must be of one token or more, each 0 to {len(p_VV) - 1}, got {text}")
    texts: Outcomes = defaultdict(float)
    waiting = list(outcomes.items())
    while waiting:
        text, chance = waiting.pop()
        if len(text) >= length:
            texts[text[:length]] += chance
        else:
            waiting += [((*text, v), chance * float(p)) for v, p in enumerate(p_VV[text[-1]]) if p > 0]
    return dict(texts)


def _table(name: str, table_VV: Tensor) -> Tensor:
    table_VV = table_VV.double()
    if table_VV.dim() != 2 or table_VV.shape[0] != table_VV.shape[1] or not len(table_VV):
        raise ValueError(f"{name} must be a square [V, V], got {tuple(table_VV.shape)}")
    sums_V = table_VV.sum(1)
    if not bool((table_VV >= 0).all()) or not torch.allclose(sums_V, torch.ones_like(sums_V), atol=1e-6):
        raise ValueError(f"{name} must hold a distribution in every row, got rows that sum to {sums_V.tolist()}")
    return table_VV
