"""Windows, tiles, merged tokens and positions: integers and rearrangements, against loops and transformers."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2VLConfig
from transformers.image_processing_utils import select_best_resolution
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas
from transformers.models.internvl.modeling_internvl import InternVLModel
from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLModel
from transformers.models.swin.modeling_swin import SwinLayer
from transformers.models.swin.modeling_swin import window_partition as their_windows

from kb import vision
from kb.vision.tiling import LLAVA_NEXT_GRIDS

SIDES = st.integers(20, 3000)


@settings(max_examples=25, deadline=None)
@given(m=st.integers(1, 4), rows=st.integers(1, 3), columns=st.integers(1, 3), data=st.data())
def test_windows_and_the_mask_of_shifted_ones(m: int, rows: int, columns: int, data: st.DataObject) -> None:
    H, W, shift = rows * m, columns * m, data.draw(st.integers(0, m - 1))
    x = torch.randn(2, H, W, 3)
    windows = vision.to_windows(x, m)
    assert torch.equal(windows, their_windows(x, m))
    assert torch.equal(vision.from_windows(windows, H, W), x)
    mask = vision.shift_mask(H, W, m, shift)
    if rows > 1 and columns > 1:  # with one window across, neighbours by the edge are within a window of each other
        assert torch.equal(mask, vision.shift_mask_loop(H, W, m, shift))
        theirs: Any = type("Layer", (), {"window_size": m, "shift_size": shift})()
        added = SwinLayer.get_attn_mask(theirs, H, W, torch.float32, torch.device("cpu"))
        assert torch.equal(mask, torch.zeros_like(mask) if added is None else added != 0)


def test_windows_cost_by_hand() -> None:
    assert vision.attention_multiplications(2, 2, 3) == 4 * 4 * 9 + 2 * 16 * 3
    assert vision.attention_multiplications(4, 4, 3, 2) == 4 * 16 * 9 + 2 * 4 * 16 * 3
    for wrong in (
        lambda: vision.to_windows(torch.zeros(1, 5, 4, 1), 2),
        lambda: vision.to_windows(torch.zeros(4, 4, 1), 2),
        lambda: vision.from_windows(torch.zeros(2, 2, 1, 1), 2, 2),
        lambda: vision.from_windows(torch.zeros(3, 2, 2, 1), 4, 4),
        lambda: vision.shift_mask(4, 4, 2, 2),
    ):
        with pytest.raises(ValueError, match=r"windows? must|shift must|x must"):
            wrong()


def test_squares_and_their_errors() -> None:
    assert [vision.square_tokens(224, 14), vision.square_tokens(336, 14)] == [256, 576]
    assert vision.square_tokens(448, 14, merge=2) == 256
    with pytest.raises(ValueError, match="side must be a multiple of 28"):
        vision.square_tokens(224 + 14, 14, merge=2)


@settings(max_examples=150, deadline=None)
@given(height=SIDES, width=SIDES)
def test_tokens_of_any_size_are_those_of_transformers(height: int, width: int) -> None:
    assert vision.best_grid(height, width) == select_best_resolution((height, width), list(LLAVA_NEXT_GRIDS))
    fake: Any = type("Processor", (), {})()
    fake.image_processor = type("Images", (), {"image_grid_pinpoints": list(LLAVA_NEXT_GRIDS)})
    fake.patch_size, fake.num_additional_image_tokens = 14, 0
    fake._get_unpadded_features = LlavaNextProcessor._get_unpadded_features.__get__(fake)
    wanted = LlavaNextProcessor._get_number_of_features(fake, height, width, 336, 336)
    assert vision.llava_next_tokens(height, width) == wanted
    assert vision.internvl_tiles(height, width) == get_optimal_tiled_canvas((height, width), (448, 448), 1, 12)
    assert vision.qwen2_vl_size(height, width) == smart_resize(height, width)
    rows, columns = vision.qwen2_vl_size(height, width)
    assert vision.qwen2_vl_tokens(height, width) == rows * columns // 784
    assert 56 * 56 <= rows * columns <= 28 * 28 * 1280 or min(rows, columns) == 28


def test_tokens_of_concrete_images() -> None:
    assert vision.internvl_tiles(448, 448) == (1, 1)
    assert vision.internvl_tokens(448, 448) == 256
    assert vision.internvl_tokens(600, 1200, most=6) == 3 * 256
    assert vision.llava_next_tokens(672, 672) == 576 + 48 * 49
    assert vision.qwen2_vl_tokens(224, 224) == 64
    for wrong in (lambda: vision.qwen2_vl_size(10, 2001), lambda: vision.internvl_tiles(5, 5, least=3, most=2)):
        with pytest.raises(ValueError, match=r"factor of 200|least must"):
            wrong()
    for call in (vision.best_grid, vision.llava_next_tokens, vision.internvl_tiles, vision.qwen2_vl_size):
        with pytest.raises(ValueError, match="height must"):
            call(0, 5)
    for side, told in ((224, "divide the grids"), (1000, "multiple of 14")):
        with pytest.raises(ValueError, match=told):
            vision.llava_next_tokens(100, 100, side=side)
    for name in ("factor", "least", "most"):
        with pytest.raises(ValueError, match=f"{name} must"):
            vision.qwen2_vl_size(100, 100, **{name: 0})
    with pytest.raises(ValueError, match="grids must"):
        vision.best_grid(5, 5, ())


def test_merged_tokens_are_internvls_pixel_shuffle_and_lose_nothing() -> None:
    x = torch.randn(2, 4, 6, 3)
    merged = vision.merge_tokens(x)
    assert torch.equal(merged, InternVLModel.pixel_shuffle(None, x, 0.5))
    assert merged.shape == (2, 2, 3, 12)
    assert vision.merge_tokens(x[:0]).shape == (0, 2, 3, 12)
    assert torch.equal(merged[0, 0, 1].reshape(2, 2, 3), x[0, 0:2, 2:4])
    with pytest.raises(ValueError, match="x must"):
        vision.merge_tokens(x[:, :3])


def test_positions_of_text_and_images_are_qwens() -> None:
    parts = [3, (2, 3), 2, (4, 1), 1]
    ours = vision.mrope_positions(parts)
    config = Qwen2VLConfig()
    grids = torch.tensor([[1, rows * 2, columns * 2] for rows, columns in (p for p in parts if isinstance(p, tuple))])
    kinds = [k for p in parts for k in ([1] * (p[0] * p[1]) if isinstance(p, tuple) else [0] * p)]
    ids = torch.zeros(1, len(kinds), dtype=torch.long)
    fake: Any = type("Model", (), {"config": config})()
    fake.get_vision_position_ids = Qwen2VLModel.get_vision_position_ids.__get__(fake)
    theirs, _ = Qwen2VLModel.get_rope_index(fake, ids, torch.tensor([kinds]), image_grid_thw=grids)
    assert torch.equal(ours, theirs[:, 0])
    assert ours[:, -1].tolist() == [12, 12, 12]  # 3 + max(2, 3) + 2 + max(4, 1)
    for bad in ([], [0], [(2, 0)]):
        with pytest.raises(ValueError, match=r"parts must|columns must"):
            vision.mrope_positions(bad)
