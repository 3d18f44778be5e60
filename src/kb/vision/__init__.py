"""Images and language: encoders, tokens of an image, CLIP, BLIP and BLIP-2, each small and equal to a library's."""

from kb.vision.blip import Blip, BlipLosses, caption_loss, hard_negatives, soft_targets
from kb.vision.blip2 import StageOne, StageTwo, query_similarity, query_similarity_loop
from kb.vision.blocks import Attended, FedForward, encoder_layer, load_renamed, quick_gelu
from kb.vision.clip import CLIP, CLIPConfig, clip_loss, clip_loss_loop, siglip_loss, siglip_loss_loop
from kb.vision.convnet import Classifier, ConvNet
from kb.vision.med import MED, MEDConfig
from kb.vision.patches import PatchEmbedding, patchify, patchify_loop
from kb.vision.qformer import QFormer, QFormerConfig, query_text_mask
from kb.vision.rotary_positions import mrope_positions
from kb.vision.text import TextConfig, TextTransformer
from kb.vision.tiling import (
    best_grid,
    internvl_tiles,
    internvl_tokens,
    llava_next_tokens,
    merge_tokens,
    qwen2_vl_size,
    qwen2_vl_tokens,
    square_tokens,
)
from kb.vision.vit import AttentionPool, VisionTransformer, ViTConfig, resize_positions
from kb.vision.windows import attention_multiplications, from_windows, shift_mask, shift_mask_loop, to_windows
from kb.vision.words import Words
from kb.vision.zero_shot import class_vectors, class_vectors_loop, hits, modality_gap

__all__ = [
    "CLIP",
    "MED",
    "Attended",
    "AttentionPool",
    "Blip",
    "BlipLosses",
    "CLIPConfig",
    "Classifier",
    "ConvNet",
    "FedForward",
    "MEDConfig",
    "PatchEmbedding",
    "QFormer",
    "QFormerConfig",
    "StageOne",
    "StageTwo",
    "TextConfig",
    "TextTransformer",
    "ViTConfig",
    "VisionTransformer",
    "Words",
    "attention_multiplications",
    "best_grid",
    "caption_loss",
    "class_vectors",
    "class_vectors_loop",
    "clip_loss",
    "clip_loss_loop",
    "encoder_layer",
    "from_windows",
    "hard_negatives",
    "hits",
    "internvl_tiles",
    "internvl_tokens",
    "llava_next_tokens",
    "load_renamed",
    "merge_tokens",
    "modality_gap",
    "mrope_positions",
    "patchify",
    "patchify_loop",
    "query_similarity",
    "query_similarity_loop",
    "query_text_mask",
    "quick_gelu",
    "qwen2_vl_size",
    "qwen2_vl_tokens",
    "resize_positions",
    "shift_mask",
    "shift_mask_loop",
    "siglip_loss",
    "siglip_loss_loop",
    "soft_targets",
    "square_tokens",
    "to_windows",
]
