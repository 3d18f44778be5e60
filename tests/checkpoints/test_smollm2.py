"""The pinned checkpoint against its GGUF file, decoded here in another way, and against transformers."""

import contextlib
import filecmp
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from kb import checkpoints, datasets
from kb.checkpoints import Checkpoint, loading
from kb.checkpoints import smollm2 as conversion
from kb.lm import DecoderLM, generate

MEMBER = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    path.write_bytes(datasets.read("smollm2", MEMBER))
    return GGUFReader(path)


def hugging_face_order(heads: int, head_dim: int = 64) -> list[int]:
    """Row of the GGUF file for each row of Hugging Face's: even rows of a head first, then its odd ones."""
    return [head * head_dim + row for head in range(heads) for start in (0, 1) for row in range(start, head_dim, 2)]


def test_every_tensor_equals_the_file(reader: Any, smollm2: Checkpoint) -> None:
    left = dict(smollm2.weights)
    parts = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    parts |= {f"attn_{name}": f"self_attn.{name}_proj" for name in "qkv"} | {"attn_output": "self_attn.o_proj"}
    parts |= {f"ffn_{name}": f"mlp.{name}_proj" for name in ("gate", "up", "down")}
    for tensor in reader.tensors:
        wanted = dequantize(tensor.data, tensor.tensor_type)
        if tensor.name.startswith("blk."):
            _, layer, part, _ = tensor.name.split(".")
            name = f"model.layers.{layer}.{parts[part]}.weight"
            if part in ("attn_q", "attn_k"):
                wanted = wanted[hugging_face_order({"attn_q": 9, "attn_k": 3}[part])]
        else:
            name = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}[
                tensor.name
            ]
        assert np.array_equal(left.pop(name).numpy(), wanted), name
    assert not left


def test_one_row_decoded_by_hand(reader: Any, smollm2: Checkpoint) -> None:
    """Q4_1: per 32 numbers a float16 scale and offset, then 16 bytes whose low halves come first."""
    tensor = next(tensor for tensor in reader.tensors if tensor.name == "blk.3.ffn_gate.weight")
    numbers = []
    for block in np.asarray(tensor.data[5]).reshape(-1, 20):
        scale, offset = (float(value) for value in block[:4].view(np.float16))
        codes = [int(byte) & 15 for byte in block[4:]] + [int(byte) >> 4 for byte in block[4:]]
        numbers += [scale * code + offset for code in codes]
    found = smollm2.weights["model.layers.3.mlp.gate_proj.weight"][5]
    assert torch.equal(found, torch.tensor(numbers, dtype=torch.float32))


def test_config_is_the_model_card(smollm2: Checkpoint) -> None:
    wanted = {
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "rope_theta": 1e5,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
    }
    assert {key: smollm2.config[key] for key in wanted} == wanted
    assert sum(tensor.numel() for tensor in smollm2.weights.values()) == 134_515_008


def test_greedy_answer_makes_sense_and_transformers_agrees(smollm2: Checkpoint) -> None:
    model = DecoderLM.from_checkpoint(smollm2, share=True)
    prompt = smollm2.tokenizer.apply_chat_template([{"role": "user", "content": "What is the capital of France?"}])
    answer = generate(model, prompt, 12)[len(prompt) :]
    assert "The capital of France is Paris." in smollm2.tokenizer.decode(answer.tolist())
    theirs = AutoModelForCausalLM.from_pretrained(smollm2.folder)
    assert theirs.dtype == torch.float32
    with torch.inference_mode():
        wanted, found = theirs(torch.tensor([prompt])).logits, model(torch.tensor([prompt]))
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_conversion_after_a_kill(smollm2: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process is killed while it converts; the next one cleans up, and makes the very same files, once."""
    monkeypatch.setenv("KB_CACHE", str(tmp_path))
    monkeypatch.setenv("KB_PROGRESS", "0")
    package, folder = datasets.packages()["smollm2"], tmp_path / "checkpoints"
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / package.filename).symlink_to(smollm2.folder.parents[1] / "packages" / package.filename)
    command = [sys.executable, "-c", "from kb.checkpoints import smollm2; smollm2.converted_folder()"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not list(folder.glob(".*/*.gguf")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
    assert process.communicate()[1] == b""
    stale = list(folder.glob(".*"))
    assert stale

    converted = conversion.converted_folder()
    assert not list(folder.glob(".*"))
    for file in smollm2.folder.iterdir():
        assert filecmp.cmp(converted / file.name, file, shallow=False)
    monkeypatch.setattr(conversion, "_convert", None)
    assert conversion.converted_folder() == converted
    shutil.rmtree(converted)


def test_the_first_load_takes_at_most_8_seconds(
    smollm2: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On two free cores; as others may be at work here, which only adds, the best of three tries counts.

    Of a try, the lesser of its seconds and its seconds of processor: the former count waiting for others, the latter
    count both threads, and alone on the machine it would have taken no longer than either.
    """
    monkeypatch.setenv("KB_PROGRESS", "0")
    package = datasets.packages()["smollm2"]
    taken: list[float] = []
    while len(taken) < 3 and min(taken, default=9.0) > 8:
        cache = tmp_path / str(len(taken))
        monkeypatch.setenv("KB_CACHE", str(cache))
        (cache / "packages").mkdir(parents=True)
        (cache / "packages" / package.filename).symlink_to(smollm2.folder.parents[1] / "packages" / package.filename)
        wall, processor = time.perf_counter(), time.process_time()
        checkpoints.load("smollm2-135m")
        taken.append(min(time.perf_counter() - wall, time.process_time() - processor))
        shutil.rmtree(cache / "checkpoints")
    assert min(taken) <= 8, taken


def test_too_little_space_is_said(tmp_path: Path, smollm2: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets, "fetch", lambda _: None)

    def refuse(*_: Any) -> None:
        raise datasets.DatasetError("too full")

    monkeypatch.setattr(datasets, "require_space", refuse)
    with pytest.raises(datasets.DatasetError, match="too full"):
        checkpoints.load("smollm2-135m")


def test_a_folder_that_lost_a_file_is_made_anew(
    tmp_path: Path, smollm2: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KB_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets, "fetch", lambda _: None)

    def convert(folder: Path) -> None:
        for file in smollm2.folder.iterdir():
            (folder / file.name).write_text("new")

    monkeypatch.setattr(conversion, "_convert", convert)
    folder = conversion.converted_folder()
    (folder / "model.safetensors").unlink()
    (folder / "config.json").write_text("old")
    assert conversion.converted_folder() == folder
    assert {file.read_text() for file in folder.iterdir()} == {"new"}


def test_a_broken_file_of_ours_says_that_it_will_be_made_anew(
    tmp_path: Path, smollm2: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "NAMES", {"smollm2-135m": lambda: tmp_path})
    for file in smollm2.folder.glob("*.json"):
        shutil.copy(file, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ValueError, match="delete it, and it will be made anew"):
        checkpoints.load("smollm2-135m")


def test_a_disk_that_fills_up_while_converting_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets, "fetch", lambda _: None)
    monkeypatch.setattr(datasets, "open_member", lambda *_: contextlib.nullcontext(io.BytesIO(b"GGUF")))
    monkeypatch.setattr(conversion, "_reader", lambda _: SimpleNamespace(fields={}))
    monkeypatch.setattr(conversion, "_tensors", lambda *_: {})

    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(datasets.DatasetError, match=r"filled up.*KB_CACHE"):
        checkpoints.load("smollm2-135m")
    assert not [path for path in (tmp_path / "checkpoints").iterdir() if path.is_dir()]


def test_all_who_share_the_cache_may_read_it(smollm2: Checkpoint) -> None:
    modes = {file.stat().st_mode & 0o777 for file in smollm2.folder.iterdir()}
    assert len(modes) == 1
