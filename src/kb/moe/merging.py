"""One model out of several that began as one: their feed-forward networks as experts, or their weights, or their words.

The models are copies of a seed model, each trained on a domain of its own. :func:`branch_train_mix` makes the network
of layer l of model i expert i of layer l, averages everything else, and starts new routers, which are to be trained.
:func:`average` averages the feed-forward networks too. :class:`Ensemble` keeps all models, and mixes the probabilities
that they give the next token; unusual is only that it learns nothing and yet knows the domain, from how well each model
has predicted the text so far.

Sources: Sukhbaatar et al. 2024, Branch-Train-MiX, arXiv 2403.07816; Li et al. 2022, Branch-Train-Merge, arXiv
2208.03306 (average, and ensemble weighted by the posterior of the domain).
Shapes: M models, B sequences, T tokens, V vocabulary; gate, up and down as in :mod:`kb.moe.upcycling`.
"""

import copy
from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor, nn

from kb.arguments import is_integer, is_number
from kb.lm import DecoderLM
from kb.moe.language_model import MoEFeedForward
from kb.moe.router_config import RouterConfig
from kb.moe.upcycling import ROUTER_STD, dense_ffn, layer_of, layer_seeds, matrices

WEIGHTINGS = ("uniform", "posterior")


def branch_train_mix(
    models: Sequence[DecoderLM],
    config: RouterConfig,
    *,
    seed: int,
    router_std: float = ROUTER_STD,
    implementation: str = "auto",
) -> DecoderLM:
    """A model whose experts are the feed-forward networks of others; what is not in them is averaged.

    Args:
        models: Dense, of one configuration; expert i of every layer is from model i.
        config: How tokens choose, among as many experts as there are models.
        seed: Of the routers.
        router_std: Standard deviation of their weights.
        implementation: How experts are run, one of ``kb.moe.IMPLEMENTATIONS``.

    Returns:
        A new model, all of which can be trained. Of equal models it is what ``upcycle`` makes of one of them.

    Raises:
        TypeError: a feed-forward network is no SwiGLU network.
        ValueError: the models do not fit each other, or are not as many as the experts.
    """
    require_alike(models)
    if config.num_experts != len(models):
        raise ValueError(f"config wants {config.num_experts} experts, and there are {len(models)} models")
    if not is_integer(seed):
        raise ValueError(f"seed must be an integer, got {seed!r}")
    if not is_number(router_std) or router_std < 0:
        raise ValueError(f"router_std must be a number of at least 0, got {router_std!r}")
    experts_LM = [[matrices(dense_ffn(model, i)) for model in models] for i in range(len(models[0].layers))]
    mixed = average(models)
    for i, (layer_seed, experts) in enumerate(zip(layer_seeds(seed, len(experts_LM)), experts_LM, strict=True)):
        generator = torch.Generator().manual_seed(layer_seed)
        layer = layer_of(experts, dense_ffn(models[0], i), config, generator, router_std, implementation=implementation)
        mixed.layers[i].mlp = MoEFeedForward(layer)
    return mixed


@torch.no_grad()
def average(models: Sequence[DecoderLM], weights: Sequence[float] | None = None) -> DecoderLM:
    """A model each of whose parameters is the mean of those of the models; all of it can be trained.

    Args:
        models: Of one configuration.
        weights: Of the models, which sum to 1; None for equal ones.

    Raises:
        ValueError: the models do not fit each other, or the weights them.
    """
    require_alike(models)
    weights = [1 / len(models)] * len(models) if weights is None else list(weights)
    if len(weights) != len(models) or not all(is_number(weight) for weight in weights):
        raise ValueError(f"weights must be {len(models)} numbers, got {weights}")
    if abs(sum(weights) - 1) > 1e-6:
        raise ValueError(f"weights must sum to 1, got {sum(weights)}")
    mean = copy.deepcopy(models[0])
    sources = [dict(model.named_parameters()) for model in models]
    for name, parameter in mean.named_parameters():  # a tied head is the embedding, and comes once
        first, *others = (source[name].to(torch.promote_types(parameter.dtype, torch.float32)) for source in sources)
        # The first and what the others differ by: the mean of equal numbers is that number, to the last bit.
        total = torch.zeros_like(first)
        for weight, other in zip(weights[1:], others, strict=True):
            total += weight * (other - first)
        parameter.copy_((first + total).to(parameter.dtype))
    return mean.requires_grad_()


class Ensemble(nn.Module):
    """All models at once: the logarithm of a weighted mean of the probabilities that they give the next token.

    Costs what all models cost. "posterior" weighs model m at token t by how probable it found the tokens up to t:
    Bayes' rule with an equal prior, where the domain is what is not known; it looks at no token to come.

    Args:
        models: Of one configuration; they are held, not copied.
        weighting: One of :data:`WEIGHTINGS`.

    Raises:
        ValueError: the models do not fit each other, or the weighting is not known.
    """

    def __init__(self, models: Sequence[DecoderLM], *, weighting: str = "posterior") -> None:
        super().__init__()
        require_alike(models)
        if weighting not in WEIGHTINGS:
            raise ValueError(f"weighting {weighting!r} is not known; wanted one of {', '.join(WEIGHTINGS)}")
        self.models = nn.ModuleList(models)
        self.weighting = weighting

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Log-probabilities of the token after each of the given ones, [B, T, V]."""
        log_MBTV = torch.stack([model(tokens_BT).log_softmax(-1) for model in self.models])
        return (log_MBTV + self._log_weights(log_MBTV, tokens_BT)[..., None]).logsumexp(0)

    def weights(self, tokens_BT: Tensor) -> Tensor:
        """What each model counts for when the token after each of the given ones is predicted, [M, B, T]."""
        log_MBTV = torch.stack([model(tokens_BT).log_softmax(-1) for model in self.models])
        return self._log_weights(log_MBTV, tokens_BT).exp()

    def _log_weights(self, log_MBTV: Tensor, tokens_BT: Tensor) -> Tensor:
        evidence_MBT = torch.zeros_like(log_MBTV[..., 0])
        if self.weighting == "posterior":
            # The first token has been predicted by nobody; token t + 1 by the logits of token t.
            next_BT1 = tokens_BT[:, 1:, None].long()
            found_MBT = torch.stack([log_BTV[:, :-1].gather(-1, next_BT1)[..., 0] for log_BTV in log_MBTV])
            evidence_MBT[:, :, 1:] = found_MBT.cumsum(-1)
        return evidence_MBT.log_softmax(0)


def require_alike(models: Sequence[DecoderLM]) -> None:
    """Refuse models that cannot be merged: of another configuration, or with tensors of another name or shape.

    Raises:
        ValueError: there are none, or one differs from the first; what differs is named. A vocabulary of another size
            is a tokenizer of another kind; one of the same size may be, too, and cannot be told apart here.
    """
    if not models:
        raise ValueError("models must hold at least one model, got none")
    first = models[0]
    wanted = {name: (tuple(one.shape), one.dtype) for name, one in first.named_parameters()}
    for number, model in enumerate(models[1:], start=1):
        for entry in fields(first.config):
            ours, theirs = getattr(first.config, entry.name), getattr(model.config, entry.name)
            if ours != theirs:
                hint = ": their tokens mean different things" if entry.name == "vocab_size" else ""
                raise ValueError(f"model {number} has {entry.name} {theirs}, and model 0 has {ours}{hint}")
        found = {name: (tuple(one.shape), one.dtype) for name, one in model.named_parameters()}
        if found != wanted:
            name = min(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
            raise ValueError(
                f"model {number} has {found.get(name, 'none')} for {name}, and model 0 has {wanted.get(name, 'none')}"
            )
