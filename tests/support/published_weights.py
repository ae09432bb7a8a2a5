"""Weights files as the publishers make them, with random values: names, prefixes, dtypes, shapes and all that comes
beside the weights. For tests (any small size) and, by `benchmarks/make_published.py`, in full size.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cosmos_ray.models.bundle.convert import write_safetensors
from cosmos_ray.models.bundle.dims import NetworkDims, Qwen2Dims, T5Dims, VaeDims
from cosmos_ray.models.bundle.shapes import dit_shapes, qwen2_shapes, t5_shapes, vae_shapes

_BLOCK = 1 << 22
#: Small sizes at which every name of the published files is there.
SMALL_NETWORK = NetworkDims(model_channels=48, num_blocks=2, num_heads=2, adaln_lora_dim=8, crossattn_emb_channels=16)
SMALL_VAE = VaeDims(dim=4, num_res_blocks=2)
SMALL_T5 = T5Dims(vocab_size=198, d_kv=4, d_ff=32, num_layers=2, num_heads=2)
SMALL_QWEN2 = Qwen2Dims(
    vocab_size=198, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
    intermediate_size=32,
)  # fmt: skip
#: The text tower of nvidia/Cosmos-Reason1-7B.
REASON1_7B = Qwen2Dims(
    vocab_size=152064, hidden_size=3584, num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4,
    intermediate_size=18944,
)  # fmt: skip
#: google-t5/t5-11b, of width 1024.
T5_11B = T5Dims(vocab_size=32128, d_kv=128, d_ff=65536, num_layers=24, num_heads=128)


def random_block(seed: int = 0) -> Tensor:
    """Normal numbers that `random_tensor` repeats: drawing billions would take minutes."""
    return torch.randn(_BLOCK, generator=torch.Generator().manual_seed(seed))


def random_tensor(name: str, shape: tuple[int, ...], dtype: torch.dtype, block: Tensor) -> Tensor:
    """Scaled so that activations keep their size; starts at a place in the block that depends on the name."""
    count = math.prod(shape)
    if len(shape) < 2 or name.endswith(".gamma"):
        scale, shift = (0.02, 0.0) if name.endswith(".bias") else (0.1, 1.0)
    else:
        scale, shift = 1 / math.sqrt(math.prod(shape[1:])), 0.0
    if count >= _BLOCK:
        return (block * scale + shift).to(dtype).repeat(-(-count // _BLOCK))[:count].clone().view(shape)
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little") % (_BLOCK - count)
    return (block[start : start + count] * scale + shift).to(dtype).view(shape)


def dit_state(
    network: NetworkDims,
    dtype: torch.dtype = torch.bfloat16,
    prefixes: Iterable[str] = ("net.",),
    extras: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """A flat checkpoint: the weights under each of `prefixes`, and the other entries of published files."""
    state: dict[str, Any] = {}
    for index, prefix in enumerate(prefixes):
        block = random_block(seed + index)
        for name, shape in dit_shapes(network).items():
            state[prefix + name] = random_tensor(name, shape, dtype, block)
        if extras:
            state |= {prefix + name: value for name, value in dit_extras(network, dtype).items()}
    return state


def dit_extras(network: NetworkDims, dtype: torch.dtype) -> dict[str, Any]:
    """Counters, position buffers of 1 to 7 cameras, and Transformer Engine's states: bytes, or tensors of bytes."""
    extras: dict[str, Any] = {
        f"accum_{name}": torch.tensor(1234, dtype=torch.int64)
        for name in ("video_sample_counter", "image_sample_counter", "iteration")
    }
    extras["accum_train_in_hours"] = torch.tensor(12.5)
    head = network.model_channels // network.num_heads
    spatial, temporal = head // 6, (head - 4 * (head // 6)) // 2
    for cameras in range(1, 8):
        options = f"pos_embedder_options.n_cameras_{cameras}"
        extras[f"{options}.seq"] = torch.arange(network.max_frames).to(dtype)
        extras[f"{options}.dim_spatial_range"] = (torch.arange(spatial) / spatial).to(dtype)
        extras[f"{options}.dim_temporal_range"] = (torch.arange(temporal) / temporal).to(dtype)
    engine = [
        f"blocks.{i}.{b}.{n}_norm" for i in range(network.num_blocks) for b in ("self_attn", "cross_attn") for n in "qk"
    ]
    for index, name in enumerate([*engine, "t_embedding_norm"]):
        extras[f"{name}._extra_state"] = io.BytesIO(b"state") if index % 2 else torch.zeros(5, dtype=torch.uint8)
    return extras


def vae_state(vae: VaeDims, dtype: torch.dtype = torch.float32, seed: int = 1) -> dict[str, Tensor]:
    block = random_block(seed)
    return {name: random_tensor(name, shape, dtype, block) for name, shape in vae_shapes(vae).items()}


def t5_state(dims: T5Dims, width: int, dtype: torch.dtype = torch.float32, decoder: bool = True) -> dict[str, Tensor]:
    """A whole T5 (or its encoder alone): tied tables under all their names, a decoder as large as the encoder."""
    block = random_block(2)
    state = {name: random_tensor(name, shape, dtype, block) for name, shape in t5_shapes(dims, width).items()}
    if decoder:
        for name in [name for name in state if name.startswith("encoder.block.")]:
            copied = name.replace("encoder.", "decoder.").replace("layer.1.", "layer.2.")
            state[copied] = random_tensor(copied, tuple(state[name].shape), dtype, block)
        state["decoder.final_layer_norm.weight"] = torch.ones(width, dtype=dtype)
        for tied in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"):
            state[tied] = state["shared.weight"]
    return state


def t5_config(dims: T5Dims, width: int) -> dict[str, Any]:
    """config.json beside the weights."""
    fixed = {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "feed_forward_proj": "relu",
        "relative_attention_num_buckets": 32,
        "dropout_rate": 0.1,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "is_encoder_decoder": True,
    }
    return dims.model_dump() | {"num_decoder_layers": dims.num_layers, "d_model": width} | fixed


def write_t5_folder(
    folder: Path, dims: T5Dims, width: int, tokenizer: Path, dtype: torch.dtype = torch.float32, decoder: bool = True
) -> None:
    """As google-t5/t5-11b: config.json and pytorch_model.bin (in torch's format of that time), and a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(t5_config(dims, width)))
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "pad_token": "<pad>",
                "eos_token": "</s>",
                "unk_token": "<unk>",
            }
        )
    )
    state = t5_state(dims, width, dtype, decoder)
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


def write_reason1_folder(folder: Path, dims: Qwen2Dims, tokenizer: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """As nvidia/Cosmos-Reason1-7B: config.json, shards with more than the text tower, and a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    config = dims.model_dump() | {
        "model_type": "qwen2_5_vl",
        "vision_config": {"depth": 1},
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    block = random_block(4)
    shapes = {f"model.{name}": shape for name, shape in qwen2_shapes(dims).items()}
    others = {"visual.patch_embed.proj.weight": (8, 8), "lm_head.weight": (dims.vocab_size, 8)}
    names = sorted(shapes)
    where: dict[str, str] = {}
    halves = (names[: len(names) // 2], [*names[len(names) // 2 :], *others])
    for number, part in enumerate(halves, start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        tensors = {name: random_tensor(name, (shapes | others)[name], dtype, block) for name in part}
        write_safetensors(folder / file, tensors, dtype)
        where |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
