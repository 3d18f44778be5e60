"""Hugging Face folders as transformers writes them, and folders that are broken."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kb import checkpoints
from kb.lm import DecoderLM, generate

LLAMA3_SCALING = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}

Save = Callable[..., Any]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("llama", {"tie_word_embeddings": False}),
        ("llama", {"tie_word_embeddings": True}),
        ("llama", {"tie_word_embeddings": False, "shard": "20KB"}),
        ("llama", {"rope_parameters": LLAMA3_SCALING}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen3", {"head_dim": 16, "shard": "20KB"}),
        ("smollm3", {"no_rope_layers": [1, 0]}),
    ],
)
def test_saved_model_gives_the_same_logits(kind: str, options: dict[str, Any], save: Save, tmp_path: Path) -> None:
    theirs = save(kind, **options)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1 or "shard" in options
    ours = DecoderLM.from_checkpoint(checkpoints.load(tmp_path))
    tokens_BT = torch.randint(0, 61, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted, found = theirs(tokens_BT).logits, ours(tokens_BT)
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_all_shards_are_read_and_folder_may_be_a_string(save: Save, tmp_path: Path) -> None:
    state = save("llama", shard="20KB").state_dict()
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    found = checkpoints.load(str(tmp_path))
    assert found.folder == tmp_path
    assert found.weights.keys() == state.keys()
    assert all(torch.equal(found.weights[name], state[name]) for name in state)


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [(None, torch.bfloat16), (torch.float32, torch.float32), (torch.float16, torch.float16)],
)
def test_dtype_is_as_asked_or_as_stored(dtype: Any, wanted: torch.dtype, save: Save, tmp_path: Path) -> None:
    state = save("llama", dtype=torch.bfloat16).state_dict()
    for name, tensor in checkpoints.load(tmp_path, dtype=dtype).weights.items():
        assert tensor.dtype == wanted
        assert torch.equal(tensor, state[name].to(wanted))


def test_integer_tensors_keep_their_dtype(save: Save, tmp_path: Path) -> None:
    save("llama")
    file = tmp_path / "model.safetensors"
    save_file({**load_file(file), "counts": torch.arange(3)}, file)
    assert checkpoints.load(tmp_path, dtype=torch.float16).weights["counts"].dtype == torch.int64


def test_writing_into_weights_does_not_change_the_file(save: Save, tmp_path: Path) -> None:
    save("llama")
    before = (tmp_path / "model.safetensors").read_bytes()
    checkpoints.load(tmp_path).weights["model.norm.weight"].zero_()
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert checkpoints.load(tmp_path).weights["model.norm.weight"].all()


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"name: 'smollm3' is neither a checkpoint \(smollm2-135m\) nor a folder"):
        checkpoints.load("smollm3")


def test_no_tokenizer_is_said_when_it_is_asked_for(save: Save, tmp_path: Path) -> None:
    save("llama")
    found = checkpoints.load(tmp_path)
    with pytest.raises(ValueError, match=r"has no tokenizer\.json"):
        _ = found.tokenizer


def _truncate(folder: Path) -> None:
    file = next(folder.glob("model-00001-of-*"))
    file.write_bytes(file.read_bytes()[:-100])


def _lose_tensor(folder: Path) -> None:
    file = next(folder.glob("model-00001-of-*"))
    save_file(dict(list(load_file(file).items())[1:]), file)


def _pickle_only(folder: Path) -> None:
    for file in folder.glob("model*"):
        file.unlink()
    torch.save({}, folder / "pytorch_model.bin")


def _edit(folder: Path, name: str, **changes: Any) -> None:
    file = folder / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.json").unlink(), r"has no config\.json"),
        (lambda f: (f / "config.json").write_text("{"), r"config\.json is not valid JSON"),
        (lambda f: (f / "config.json").write_text("[1]"), r"config\.json must hold a JSON object, got list"),
        (lambda f: _edit(f, "config.json", quantization_config={"bits": 4}), "quantised weights are not supported"),
        (_truncate, r"model-00001-of-\d+\.safetensors is broken or not safetensors"),
        (lambda f: next(f.glob("model-00001-of-*")).unlink(), r"names shards that are missing: model-00001"),
        (_lose_tensor, r"lack \d+ tensors of the index; the first is "),
        (_pickle_only, r"no model\.safetensors .*; pytorch_model\.bin is not read: save it as safetensors"),
        (lambda f: (f / INDEX).unlink(), r"has no model\.safetensors and no model\.safetensors\.index\.json"),
        (lambda f: _edit(f, INDEX, weight_map=["a"]), "weight_map must name the file of each tensor, got list"),
        (lambda f: _edit(f, INDEX, weight_map={}), "names shards that are missing: it names none"),
    ],
)
def test_broken_folder_is_refused(damage: Callable[[Path], Any], message: str, save: Save, tmp_path: Path) -> None:
    save("llama", shard="20KB")
    checkpoints.load(tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        checkpoints.load(tmp_path)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dtype": torch.int8}, ValueError, r"dtype: wanted a floating-point dtype or None, got torch\.int8"),
        ({"dtype": "float16"}, TypeError, r"dtype: wanted a torch\.dtype or None, got 'float16'"),
        ({"device": "mps"}, ValueError, "device: 'mps' is not supported"),
        ({"device": "cpu:3"}, ValueError, "device: 'cpu:3' is not supported"),
        ({"device": "graphics"}, ValueError, "device: 'graphics' is not a device of torch"),
        ({"device": "cuda:99"}, ValueError, "device: 'cuda:99' was asked for"),
    ],
)
def test_bad_arguments_are_named(
    options: dict[str, Any], error: type[Exception], message: str, save: Save, tmp_path: Path
) -> None:
    save("llama")
    with pytest.raises(error, match=message):
        checkpoints.load(tmp_path, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_converted_checkpoint_loads_fast(dtype: torch.dtype, smollm2: checkpoints.Checkpoint) -> None:
    # Seconds of processor, on one thread: others may be at work on the machine.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start = time.process_time()
        found = checkpoints.load("smollm2-135m", dtype=dtype)
        found.tokenizer.encode("a")
        assert time.process_time() - start <= 1.5
    finally:
        torch.set_num_threads(threads)
    assert all(tensor.dtype == dtype for tensor in found.weights.values())


def test_the_end_of_a_turn_is_read_from_the_generation_config(save: Save, tmp_path: Path) -> None:
    theirs = save("qwen2", eos_token_id=1)
    theirs.generation_config.eos_token_id = list(range(61))
    theirs.generation_config.save_pretrained(tmp_path)
    found = checkpoints.load(tmp_path)
    assert found.generation["eos_token_id"] == list(range(61))
    written = generate(DecoderLM.from_checkpoint(found), [2, 3], 5)
    assert len(written) == 3  # whatever comes first ends it
    (tmp_path / "generation_config.json").unlink()
    assert DecoderLM.from_checkpoint(checkpoints.load(tmp_path)).config.eos_ids == (1,)


def test_a_device_that_holds_nothing_is_refused(save: Save, tmp_path: Path) -> None:
    save("llama")
    with pytest.raises(ValueError, match="meta"):
        checkpoints.load(tmp_path, device="meta")


@pytest.mark.parametrize("name", ["a" * 5000, "~nobody-of-that-name/x", "no\0name"])
def test_a_name_that_is_no_path_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="neither a checkpoint"):
        checkpoints.load(name)
