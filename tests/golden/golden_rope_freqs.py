"""Writes rope_freqs.gguf: a Llama with scaling of type llama3 as llama.cpp's converter writes it.

    python golden_rope_freqs.py

The model is checkpoints/llama-rope-llama3, so architectures/llama-rope-llama3.json has its numbers.
In GGUF no key tells of this scaling: a tensor holds what each rotary frequency is divided by. Rows
of q and k are in pairs, as everywhere in GGUF files of this architecture.
"""

import json
import math

import gguf
import numpy as np
import torch
from golden_files import HERE, made_by
from safetensors.torch import load_file

FOLDER = HERE / "checkpoints/llama-rope-llama3"
FILE = HERE / "rope_freqs.gguf"
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def frequency_factors(config):
    """Long waves are stretched by the factor, short ones not at all, those between in part: a
    frequency is divided by the result (Llama 3.1's scaling, solved for the divisor)."""
    scaling = config["rope_scaling"]
    length = scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    factors = []
    for i in range(0, config["head_dim"], 2):
        wave = 2 * math.pi * config["rope_theta"] ** (i / config["head_dim"])
        kept = min(max((length / wave - low) / (high - low), 0.0), 1.0)
        factors.append(1.0 / ((1.0 - kept) / scaling["factor"] + kept))
    return np.array(factors, dtype=np.float32)


def in_pairs(weight, heads):
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.transpose(1, 2).reshape(weight.shape)


def gguf_name(name):
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"


def add(writer, name, tensor):
    if tensor.ndim == 1:
        writer.add_tensor(name, tensor.float().numpy())
        return
    halves = tensor.contiguous().view(torch.uint16).numpy().view(np.uint8)
    writer.add_tensor(name, halves, raw_dtype=gguf.GGMLQuantizationType.BF16)


def main():
    config = json.loads((FOLDER / "config.json").read_text())
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    writer = gguf.GGUFWriter(FILE, "llama")
    by = made_by("gguf", "torch", "numpy") | {"script": "tests/golden/golden_rope_freqs.py"}
    writer.add_description(json.dumps(by))
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tensor("rope_freqs.weight", frequency_factors(config))
    for shard in sorted(FOLDER.glob("*.safetensors")):
        for name, tensor in sorted(load_file(shard).items()):
            kind = name.split(".")[-2]
            add(writer, gguf_name(name), in_pairs(tensor, heads[kind]) if kind in heads else tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{FILE.name}: {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
