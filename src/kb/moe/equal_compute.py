"""Ways to a model of several domains, each paid out of one budget of floating-point operations.

A :class:`Recipe` holds what all ways share: sizes, data per step, the learning rate, the budget. Unusual: the budget is
not counted in steps but in operations, so that a step of a model in which a token passes two experts counts for more;
and it is cut into shares, so that what a seed model and its branches cost is paid before their mixture is trained.

Rates: a share that more training follows runs at the full rate; the last one falls along a line to a twentieth of it.

Source of the ways compared: Sukhbaatar et al. 2024, Branch-Train-MiX, arXiv 2403.07816.
Shapes: B sequences, T tokens, E experts, K of a token.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from kb.arguments import is_number, require_count
from kb.lm import DecoderLM, ModelConfig
from kb.moe.domains import Domain
from kb.moe.language_model import Balancing, moe_language_model, moe_layers, train_moe
from kb.moe.router_config import RouterConfig
from kb.training import (
    Step,
    TrainConfig,
    all_windows,
    constant,
    evaluate,
    initialize,
    linear,
    next_token_loss,
    random_windows,
    train,
)

SMALL = ModelConfig(256, 64, 176, 2, 4, 4, 16, 256, tie_embeddings=True)


@dataclass(frozen=True)
class Recipe:
    """What all ways share.

    Args:
        config: Of the dense model; its vocabulary are bytes.
        router: Of the sparse ones, whose experts are as wide as the dense network.
        budget: In training steps of the dense model.
        length: T.
        batch: B.
        learning_rate: The highest.
        warmup: Steps over which the rate rises, in each share.
        switch: Factor of Switch's loss, for the sparse models.
        std: Of the weights at the start.

    Raises:
        ValueError: a number is out of its range.
    """

    config: ModelConfig = SMALL
    router: RouterConfig = RouterConfig(4, 2)  # noqa: RUF009  # frozen
    budget: int = 600
    length: int = 64
    batch: int = 16
    learning_rate: float = 4e-3
    warmup: int = 10
    switch: float = 0.01
    std: float = 0.04

    def __post_init__(self) -> None:
        for name in ("budget", "length", "batch"):
            require_count(name, getattr(self, name))
        require_count("warmup", self.warmup, least=0)
        for name in ("learning_rate", "switch", "std"):
            value = getattr(self, name)
            if not is_number(value) or value < 0 or (name != "switch" and not value):
                raise ValueError(f"{name} must be a positive number, got {value!r}")

    def dense(self, seed: int) -> DecoderLM:
        """A dense model that has learned nothing."""
        model = DecoderLM(self.config)
        initialize(model, seed=seed, std=self.std)
        return model

    def sparse(self, seed: int, *, inner: int | None = None) -> DecoderLM:
        """A model of experts that has learned nothing; they are as wide as the dense network, or ``inner`` wide."""
        model = moe_language_model(
            self.config, self.router, inner=self.config.intermediate_size if inner is None else inner
        )
        initialize(model, seed=seed, std=self.std)
        return model

    def steps(self, model: DecoderLM, share: float) -> int:
        """How many steps of a model a share of the budget pays for, rounded, at least 1.

        Raises:
            ValueError: the share is not a positive number.
        """
        if not is_number(share) or share <= 0:
            raise ValueError(f"share must be a positive number, got {share!r}")
        unit = step_flops(self.dense(0), self.batch, self.length)
        return max(1, round(share * self.budget * unit / step_flops(model, self.batch, self.length)))

    def trained(
        self, model: DecoderLM, text_N: Tensor, share: float, *, seed: int, last: bool = True
    ) -> tuple[DecoderLM, list[Step]]:
        """A copy of the model, trained on a text for a share of the budget, and what its steps measured.

        Args:
            model: Dense or sparse.
            text_N: Bytes.
            share: Of the budget.
            seed: Of the windows.
            last: Whether nothing follows, so that the rate falls.
        """
        steps, model = self.steps(model, share), copy.deepcopy(model)
        batches = random_windows(text_N, self.length, self.batch, seed=seed, steps=steps)
        config = TrainConfig(
            steps,
            learning_rate=self.learning_rate,
            warmup=min(self.warmup, steps // 2),
            schedule=partial(linear, floor=0.05) if last else constant,
        )
        if moe_layers(model):
            return model, train_moe(model, batches, Balancing(switch=self.switch), config)
        return model, train(model, batches, next_token_loss, config)

    def bits(self, model: nn.Module, parts: Mapping[str, Domain]) -> dict[str, float]:
        """Bits per byte of what is held out, of each domain."""
        return {
            name: evaluate(model, all_windows(part.held_out_N, self.length, 64)) / math.log(2)
            for name, part in parts.items()
        }


def active_parameters(model: DecoderLM) -> int:
    """Numbers in the matrices that a token is multiplied with: of its K experts, of everything else, and of the head.

    Rows of the embedding are looked up, and are not counted unless they are the head.
    """
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.ndim > 1)
    if not model.config.tie_embeddings:
        count -= model.embed_tokens.weight.numel()
    for layer in moe_layers(model):
        idle = layer.router.config.num_experts - layer.router.config.top_k
        of_one = sum(parameter.numel() for parameter in layer.experts.parameters()) // layer.router.config.num_experts
        count -= idle * of_one
    return count


def step_flops(model: DecoderLM, batch: int, length: int) -> int:
    """Operations of one training step: three forward passes' worth, of 2 per active parameter and of attention.

    Attention counts T x T pairs, as in ``kb.lm.cost``.
    """
    config = model.config
    attention = 4 * length * config.num_layers * config.num_heads * config.head_dim
    return 3 * batch * length * (2 * active_parameters(model) + attention)
