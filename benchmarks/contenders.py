"""The models that several races run, loaded once each: ours, and the library's with the same weights."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM

from kb import checkpoints
from kb.lm import DecoderLM


def smollm2(device: torch.device) -> tuple[DecoderLM, Any, checkpoints.Tokenizer]:
    """SmolLM2-135M-Instruct, dequantised from Q4_1, in float32: ours, transformers', and the tokenizer."""
    checkpoint = checkpoints.load("smollm2-135m", device=device)
    ours = DecoderLM.from_checkpoint(checkpoint, device=device)
    theirs: Any = AutoModelForCausalLM.from_pretrained(checkpoint.folder, dtype=torch.float32)
    return ours, theirs.to(device).eval(), checkpoint.tokenizer
