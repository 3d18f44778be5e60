"""The model that the measurements on GSM8K ask: SmolLM2 on our engine, or whatever ``KB_COT_MODEL`` names.

``KB_COT_MODEL`` is a folder, or a model of the Hugging Face hub where there is a network; it is run by transformers on
the device of the record, in the precision of its checkpoint.
"""

import os

import torch

from kb.cot import EngineModel, TransformersModel

VARIABLE = "KB_COT_MODEL"
SMALL = "smollm2-135m"
SMALL_NAME = "SmolLM2-135M-Instruct, dequantised from Q4_1"


def asked_model(device: torch.device) -> EngineModel | TransformersModel:
    """The model, ready to be asked."""
    if where := os.environ.get(VARIABLE):
        return TransformersModel.from_pretrained(where, device=device.type, batch_size=32)
    return EngineModel(SMALL, name=SMALL_NAME, device=device, max_num_seqs=100)
