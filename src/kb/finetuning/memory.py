"""Parameters and bytes of fine-tuning by formula: what is trained, and what the optimizer keeps for it.

Weights, gradients and AdamW's state are counted; activations are not: they depend on the batch, and LoRA on every layer
keeps nearly the same as full fine-tuning, as A's gradient needs the input that W's would. Gigabytes are 10⁹ bytes.

Sources: Rajbhandari et al. 2020, ZeRO, section 3.1 (16 bytes a parameter in mixed precision); Dettmers et al. 2023,
QLoRA, section 3 (4 bits, and 0.127 more for scales with double quantization).
"""

from dataclasses import dataclass

from kb.arguments import is_number, require_count
from kb.finetuning.config import ALL_LINEAR, LoraConfig
from kb.lm import ModelConfig
from kb.lm.cost import matrices

# Bits a weight: blocks of 64 share an 8-bit scale, 256 scales a 32-bit one (0.125 + 0.00195); without: 32 / 64.
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
NF4_BITS_SINGLE = 4 + 32 / 64


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes; ``state`` is AdamW's two moments and, in mixed precision, the float32 copy of the weights."""

    weights: int
    gradients: int
    state: int

    @property
    def total(self) -> int:
        """All three."""
        return self.weights + self.gradients + self.state


def training_memory(frozen: int, trained: int, *, frozen_bits: float = 16, mixed: bool = True) -> TrainingMemory:
    """Bytes of a model and its training with AdamW.

    Args:
        frozen: Weights that are not trained.
        trained: Weights that are.
        frozen_bits: Of a frozen weight.
        mixed: Trained weights and gradients in 16 bits with a float32 copy, 2 + 2 + 12 bytes; else all in float32,
            4 + 4 + 8.

    Raises:
        ValueError: a number is negative.
    """
    require_count("frozen", frozen, least=0)
    require_count("trained", trained, least=0)
    if not is_number(frozen_bits) or frozen_bits <= 0:
        raise ValueError(f"frozen_bits must be a positive number, got {frozen_bits!r}")
    width, state = (2, 12) if mixed else (4, 8)
    return TrainingMemory(round(frozen * frozen_bits / 8) + width * trained, width * trained, state * trained)


def lora_parameters(model: ModelConfig, config: LoraConfig) -> int:
    """Parameters of an adapter on a model of ``kb.lm``: R (I + O) a layer, and O more for a DoRA.

    Raises:
        ValueError: a target is none of the seven linear layers of a block.
    """
    shapes = linear_shapes(model)
    unknown = sorted(set(config.targets) - set(shapes))
    if unknown:
        raise ValueError(f"targets: {unknown[0]!r} is none of {', '.join(shapes)}")
    sizes = [shapes[target] for target in set(config.targets)]
    each = sum(config.rank * (inputs + outputs) + config.dora * outputs for inputs, outputs in sizes)
    return model.num_layers * each


def linear_shapes(model: ModelConfig) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of each linear layer of a block."""
    return dict(zip(ALL_LINEAR, matrices(model), strict=True))
