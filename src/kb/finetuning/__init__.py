"""Fine-tuning with few parameters: LoRA, DoRA, QLoRA's adapters, prefixes, (IA)³, bottleneck adapters, BitFit."""

from kb.finetuning.adapter_file import adapter_state, load_adapter, load_adapter_state, save_adapter
from kb.finetuning.config import ALL_LINEAR, ATTENTION, FEED_FORWARD, LoraConfig
from kb.finetuning.injection import activate, base_alone, inject, lora_layers, merge, unload, unmerge
from kb.finetuning.lora import LoraLinear, LowRank, dora_loop, lora_loop
from kb.finetuning.memory import (
    NF4_BITS,
    NF4_BITS_SINGLE,
    TrainingMemory,
    linear_shapes,
    lora_parameters,
    training_memory,
)
from kb.finetuning.prefix import PrefixCache, PrefixLM, PrefixTuning
from kb.finetuning.row_adapters import lora_by_row, lora_by_row_loop
from kb.finetuning.small_methods import (
    Bottleneck,
    Ia3Linear,
    inject_bottleneck,
    inject_ia3,
    merge_ia3,
    train_biases,
)
from kb.finetuning.targets import freeze, trainable
from kb.finetuning.update import rank_of_share, update_spectra, with_rank

__all__ = [
    "ALL_LINEAR",
    "ATTENTION",
    "FEED_FORWARD",
    "NF4_BITS",
    "NF4_BITS_SINGLE",
    "Bottleneck",
    "Ia3Linear",
    "LoraConfig",
    "LoraLinear",
    "LowRank",
    "PrefixCache",
    "PrefixLM",
    "PrefixTuning",
    "TrainingMemory",
    "activate",
    "adapter_state",
    "base_alone",
    "dora_loop",
    "freeze",
    "inject",
    "inject_bottleneck",
    "inject_ia3",
    "linear_shapes",
    "load_adapter",
    "load_adapter_state",
    "lora_by_row",
    "lora_by_row_loop",
    "lora_layers",
    "lora_loop",
    "lora_parameters",
    "merge",
    "merge_ia3",
    "rank_of_share",
    "save_adapter",
    "train_biases",
    "trainable",
    "training_memory",
    "unload",
    "unmerge",
    "update_spectra",
    "with_rank",
]
